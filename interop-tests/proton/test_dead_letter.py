"""The dead-letter tree: how messages get in, what they carry, how they are looked at and taken out."""

import pytest
from proton import Described, symbol
from proton.reactor import Copy

from client import Outcomes, text


def dead(queue):
    return queue + "/$deadletter"


def test_the_third_failure_is_the_last_with_three_attempts(conn):
    """settlement.md, Limit: with max-attempts 3, processed three times, dead-lettered at the third failure."""
    queue = "three-attempts"
    message = text("never works")
    message.annotations = {"x-opt-mine": "kept"}
    conn.sender(queue).send(message)
    receiver = conn.receiver(queue)
    counts = []
    for _ in range(3):
        got = receiver.receive()
        counts.append(got.count)
        got.fail()
    assert counts == [0, 1, 2]
    letter = conn.receiver(dead(queue)).receive()
    assert receiver.drain(10) == []
    assert letter.body == "never works"
    marks = letter.annotations
    assert marks["x-opt-mine"] == "kept"
    assert marks["x-opt-dl-reason"] == "max-attempts"
    assert marks["x-opt-dl-attempts"] == 3
    assert marks["x-opt-ORIG-QUEUE"] == queue
    assert marks["x-first-death-queue"] == queue
    assert marks["x-last-death-queue"] == queue
    assert "rejected" not in letter.instructions, "nobody rejected it"
    letter.accept()


def test_the_publishers_count_counts(conn):
    """settlement.md, Two counters: delivery-count starts at the publisher's value."""
    queue = "three-attempts"
    message = text("old hand")
    message.delivery_count = 2
    conn.sender(queue).send(message)
    receiver = conn.receiver(queue)
    got = receiver.receive()
    assert got.count == 2
    got.fail()
    letter = conn.receiver(dead(queue)).receive()
    assert letter.body == "old hand"
    letter.accept()


def test_rejected_carries_the_consumers_error_whole(conn, queue):
    """settlement.md, The dead-letter tree; part 3.4.2: delivery-annotation `rejected` carries the error."""
    conn.sender(queue).send(text("bad", address="to-x"))
    conn.receiver(queue).receive().reject("app:invalid", "line 3", {symbol("line"): 3})
    letter = conn.receiver(dead(queue)).receive()
    error = letter.instructions["rejected"]
    assert isinstance(error, Described)
    assert error.descriptor in (0x1D, symbol("amqp:error:list"))
    assert list(error.value) == ["app:invalid", "line 3", {"line": 3}]
    marks = letter.annotations
    assert marks["x-opt-dl-reason"] == "rejected"
    assert isinstance(marks["x-opt-dl-reason"], symbol)
    assert marks["x-opt-dl-condition"] == "app:invalid"
    assert isinstance(marks["x-opt-dl-condition"], symbol)
    assert marks["x-opt-dl-description"] == "line 3"
    assert marks["x-opt-dl-attempts"] == 1
    assert marks["x-opt-dl-time"] > 1_700_000_000_000
    assert marks["x-first-death-queue"] == marks["x-last-death-queue"] == queue
    assert marks["x-first-death-reason"] == marks["x-last-death-reason"] == "rejected"
    assert marks["x-opt-ORIG-QUEUE"] == marks["x-opt-ORIG-ADDRESS"] == queue
    assert marks["x-opt-deadletter-source"] == queue


def test_rejected_without_an_error(conn, queue):
    """Part 3.4.2: the error of rejected is optional."""
    conn.sender(queue).send("bad")
    conn.receiver(queue).receive().reject()
    letter = conn.receiver(dead(queue)).receive()
    assert letter.body == "bad"
    assert letter.annotations["x-opt-dl-reason"] == "rejected"
    assert "x-opt-dl-condition" not in letter.annotations


def test_the_bare_message_is_untouched_in_the_dead_letters(conn, queue):
    """settlement.md, The dead-letter tree: the bare message is never changed."""
    message = text({"k": "v"}, id="m", subject="s")
    message.properties = {"p": 1}
    raw = message.encode()
    bare = raw[raw.index(b"\x00\x53\x73"):]
    conn.sender(queue).send(raw)
    conn.receiver(queue).receive().reject("app:bad")
    assert conn.receiver(dead(queue)).receive().raw.endswith(bare)


def test_a_parsing_error_is_not_retried(conn, queue):
    """settlement.md, The three outcomes: rejected with amqp:decode-error is dead-lettered at once."""
    conn.sender(queue).send("{not json")
    conn.receiver(queue).receive().reject("amqp:decode-error", "expected a name")
    assert conn.receiver(dead(queue)).receive().annotations["x-opt-dl-condition"] == "amqp:decode-error"


def test_browsing_changes_nothing(conn, queue):
    """settlement.md: browse (distribution-mode=copy); looking never changes anything."""
    conn.sender(queue).send("1", "2", "3")
    receiver = conn.receiver(queue)
    for message in receiver.receive(3):
        message.reject("app:bad", message.body)
    consumer_view = []
    for _ in range(2):
        browser = conn.receiver(dead(queue), options=Copy())
        seen = browser.receive(3)
        consumer_view.append([(m.body, m.count, m.annotations) for m in seen])
        for message, outcome in zip(seen, ("accept", "reject", "release")):
            getattr(message, outcome)()
        browser.close()
    assert consumer_view[0] == consumer_view[1]
    consumer = conn.receiver(dead(queue))
    taken = consumer.receive(3)
    assert [(m.body, m.count, m.annotations) for m in taken] == consumer_view[0]
    for message in taken:
        message.accept()
    consumer.close()
    assert conn.receiver(dead(queue), options=Copy()).drain(10) == []


def test_a_queue_can_be_browsed_too(conn, queue):
    """Part 3.5.5: distribution-mode copy leaves the message available to others."""
    conn.sender(queue).send("1", "2")
    browser = conn.receiver(queue, options=Copy())
    assert [m.body for m in browser.receive(2)] == ["1", "2"]
    got = conn.receiver(queue).receive(2)
    assert [(m.body, m.annotations) for m in got] == [("1", {}), ("2", {})]


def test_a_browser_sees_what_others_hold(conn, queue):
    """Part 3.5.5: a copy does not depend on the state of the message towards other consumers of the node."""
    conn.sender(queue).send("held")
    holder = conn.receiver(queue)
    got = holder.receive()
    browser = conn.receiver(queue, options=Copy())
    conn.sender(queue).send("free")
    assert "free" in [m.body for m in browser.drain(10)]
    got.accept()


def test_the_other_name_of_the_tree(conn, queue):
    """settlement.md: <queue>/$deadletter also answers <queue>/$deadletterqueue."""
    conn.sender(queue).send("bad")
    conn.receiver(queue).receive().reject()
    other = conn.receiver(queue + "/$deadletterqueue")
    assert other.address == queue + "/$deadletterqueue", "the address is echoed verbatim"
    assert other.receive().body == "bad"


def test_a_dead_letter_released_stays_dead(conn, queue):
    """settlement.md: an ordinary consumer can consume the tree; released puts the message back into it."""
    conn.sender(queue).send("bad")
    conn.receiver(queue).receive().reject()
    consumer = conn.receiver(dead(queue))
    consumer.receive().release()
    assert consumer.receive().body == "bad"
    assert conn.receiver(queue).drain(10) == []


def test_dead_letters_are_never_deleted_by_failing(conn):
    """settlement.md, Limit: never a deletion. A dead letter that fails again and again is still there."""
    queue = "three-attempts-frozen"
    conn.sender(queue).send("bad")
    conn.receiver(queue).receive().reject("app:bad")
    browser = conn.receiver(dead(queue), options=Copy())
    browser.receive().accept()
    browser.close()
    for _ in range(5):
        consumer = conn.receiver(dead(queue))
        consumer.receive().reject("app:bad-again")
        consumer.close()
    assert conn.receiver(dead(queue), options=Copy()).receive().body == "bad"


def test_a_dead_letter_is_sent_back_by_hand(conn, queue):
    """settlement.md, The dead-letter tree: an ordinary client can consume it, and so send the message anew."""
    conn.sender(queue).send(text("fixable", id="m-1"))
    conn.receiver(queue).receive().reject("app:bad", "typo")
    consumer = conn.receiver(dead(queue))
    letter = consumer.receive()
    conn.sender(queue).send(text("fixed", id=letter.message.id))
    letter.accept()
    consumer.close()
    got = conn.receiver(queue).receive()
    assert (got.body, got.count, got.message.id) == ("fixed", 0, "m-1")
    assert conn.receiver(dead(queue)).drain(10) == []


@pytest.mark.parametrize("outcome", ["amqp:accepted:list", "amqp:modified:list"])
def test_an_outcome_that_was_not_asked_for_detaches_the_link(conn, queue, outcome):
    """settlement.md, Attach: a disposition with another outcome gets the link detached with amqp:not-allowed."""
    conn.sender(queue).send("x")
    receiver = conn.receiver(queue, options=Outcomes(outcome))
    receiver.receive().reject("app:bad")
    receiver.wait_closed()
    assert receiver.condition == "amqp:not-allowed"
    got = conn.receiver(queue).receive()
    assert got.body == "x", "the connection is usable and the message is not lost"
