"""Lines of settlement.md that a client sees and no other file here shows; docs/settlement-tests.md has the whole table."""

import time

import pytest
from proton import Message, symbol, timestamp, uint
from proton.reactor import Copy

from client import REJECTED, SECOND, Client, text


def dead(queue):
    return queue + "/$deadletter"


def test_a_key_that_is_not_taken_is_skipped_and_nothing_else_happens(conn, queue):
    """settlement.md: a key that the broker will not take is skipped and counted, never a reason to end the session."""
    conn.sender(queue).send("x")
    receiver = conn.receiver(queue)
    forged = {"x-opt-acquired-count": 99, "x-opt-dl-reason": "forged", "x-huge": "h" * 100_000}
    receiver.receive().modify(annotations={**forged, "x-opt-mine": 1})
    got = receiver.receive()
    assert (got.annotations["x-opt-mine"], got.annotations["x-opt-acquired-count"]) == (1, 1)
    assert not {"x-opt-dl-reason", "x-huge"} & set(got.annotations)
    got.accept()


def test_what_every_consumer_has_excluded_is_dead_lettered_as_undeliverable(conn):
    """settlement.md: if every attached consumer has excluded a message for stranded-after, it is dead-lettered."""
    conn.sender("soon-stranded").send("for nobody")
    first, second = conn.receiver("soon-stranded"), conn.receiver("soon-stranded")
    first.receive().modify(undeliverable=True)
    second.receive().modify(undeliverable=True)
    letter = conn.receiver(dead("soon-stranded")).receive()
    assert (letter.body, letter.annotations["x-opt-dl-reason"]) == ("for nobody", "undeliverable")


def test_undeliverable_here_of_an_expired_message_expires_it(conn, queue):
    """settlement.md: if its time to live has passed, it expires instead (Qpid JMS settles its expired messages this way)."""
    conn.sender(queue).send(text("stale", ttl=0.1))
    got = conn.receiver(queue).receive()
    clock = conn.receiver(dead(queue), credit=1)
    conn.sender(queue).send(text("tick", ttl=0.2))
    tick = clock.receive()
    got.modify(failed=True, undeliverable=True)
    letter = clock.receive()
    assert (tick.body, letter.body, letter.annotations["x-opt-dl-reason"]) == ("tick", "stale", "expired")


def test_the_consumer_may_choose_the_time_of_one_retry(conn):
    """settlement.md: modified(delivery-failed=true, message-annotations={x-opt-delivery-time: ts})."""
    queue = "slow-retry"
    conn.sender(queue).send("at a time")
    receiver = conn.receiver(queue)
    at_ms = int(time.time() * 1000) + 200
    receiver.receive().modify(failed=True, annotations={"x-opt-delivery-time": timestamp(at_ms)})
    got = receiver.receive()
    assert (got.body, got.count) == ("at a time", 1)
    assert time.time() * 1000 >= at_ms
    got.accept()


def test_modified_without_failure_does_not_wait(conn):
    """settlement.md: modified(delivery-failed=false): as released; a delay is for retries."""
    queue = "slow-retry"
    conn.sender(queue).send("now")
    receiver = conn.receiver(queue)
    receiver.receive().modify(annotations={"x-opt-delivery-delay": 3_600_000})
    got = receiver.receive()
    assert (got.body, got.count) == ("now", 0)
    got.accept()


def test_only_the_oldest_of_each_lost_link_are_suspects(client, conn):
    """settlement.md, Connection loss: the oldest crash-suspects per link get delivery-count + 1, the rest none."""
    queue = "two-suspects"
    conn.sender(queue).send(*"abcdef")
    doomed = client.connect()
    one, other = doomed.receiver(queue), doomed.receiver(queue)
    held = [[m.body for m in link.receive(3)] for link in (one, other)]
    doomed.drop()
    client.turn(conn, queue)
    seen = {m.body: m.count for m in conn.receiver(queue, options=Copy()).receive(6)}
    assert seen == {body: int(place < 2) for bodies in held for place, body in enumerate(bodies)}


@pytest.mark.own_broker
def test_a_stop_of_the_broker_is_no_crash_of_its_consumers(start_broker):
    """settlement.md: a clean detach is not a crash; nor is it one when the broker closes its connections."""
    broker = start_broker()
    client = Client(broker.url)
    conn = client.connect()
    conn.sender("q").send("1", "2")
    conn.receiver("q").receive(2)
    # The client processes nothing meanwhile: it does not answer the close.
    assert broker.terminate() == 0
    client.close()
    broker.start()
    client = Client(broker.url)
    got = client.connect().receiver("q").receive(2)
    assert [(m.body, m.count, m.annotations["x-opt-acquired-count"]) for m in got] == [("1", 0, 1), ("2", 0, 1)]
    client.close()


def test_another_queue_may_take_the_dead_letters(conn):
    """settlement.md, The dead-letter tree: a queue may name another queue as target instead."""
    conn.sender("buried-elsewhere").send("bad")
    conn.receiver("buried-elsewhere").receive().reject("app:bad", "words")
    letter = conn.receiver("graveyard").receive()
    assert (letter.body, letter.count) == ("bad", 1)
    assert letter.annotations["x-opt-ORIG-QUEUE"] == "buried-elsewhere"
    assert list(letter.instructions["rejected"].value)[:2] == ["app:bad", "words"]
    assert conn.receiver(dead("buried-elsewhere"), options=Copy()).drain(10) == []
    letter.accept()


def test_dead_letter_annotations_have_their_types(conn, queue):
    """settlement.md: message annotations, scalars so that existing tools read them, each with its type."""
    conn.sender(queue).send("bad")
    conn.receiver(queue).receive().reject("app:bad", "words")
    marks = conn.receiver(dead(queue)).receive().annotations
    types = {key: type(value) for key, value in marks.items()}
    own = ["x-opt-ORIG-QUEUE", "x-opt-ORIG-ADDRESS", "x-first-death-queue", "x-first-death-reason", "x-last-death-queue",
           "x-last-death-reason", "x-opt-deadletter-source", "x-opt-dl-description"]
    assert types == {**dict.fromkeys(own, str), "x-opt-dl-reason": symbol, "x-opt-dl-condition": symbol,
                     "x-opt-dl-time": timestamp, "x-opt-dl-attempts": uint, "x-opt-acquired-count": uint}


def test_a_dead_letter_sent_anew_as_it_came_begins_anew(conn, queue):
    """settlement.md, Two counters: x-opt-acquired-count only when > 0; x-opt-dl-* are of this death, not another's."""
    conn.sender(queue).send("bad")
    conn.receiver(queue).receive().reject("app:bad", "words")
    letter = conn.receiver(dead(queue)).receive()
    again = letter.message
    again.ttl, again.delivery_count = 0.1, 0
    conn.sender(queue).send(again)
    letter.accept()
    browsed = conn.receiver(queue, options=Copy()).receive()
    assert (browsed.body, browsed.annotations.get("x-opt-acquired-count")) == ("bad", None)
    expired = conn.receiver(dead(queue)).receive()
    assert expired.annotations["x-opt-dl-reason"] == "expired"
    assert not {"x-opt-dl-condition", "x-opt-dl-description", "x-opt-acquired-count"} & set(expired.annotations)


@pytest.mark.own_broker
def test_the_failure_record_is_durable(start_broker):
    """settlement.md: the failure record, durable, one entry per attempt, with what the consumer said."""
    from test_management import Manager

    broker = start_broker()
    client = Client(broker.url)
    conn = client.connect()
    conn.sender("many-attempts").send(text("x", id="f1"))
    receiver = conn.receiver("many-attempts", name="worker", options=SECOND)
    for n in range(2):
        got = receiver.receive()
        got.prepare_modify(failed=True, annotations={"x-opt-error-condition": symbol(f"app:{n}"), "x-opt-n": n})
        got.update(got.delivery.MODIFIED)
        client.wait(lambda: got.delivery.settled, "the broker's settled reply")
        got.delivery.settle()
    broker.kill()
    client.close()
    broker.start()
    client = Client(broker.url)
    shown = Manager(client.connect())("EXPLAIN", "verdict.queue", "many-attempts", {"message-id": "f1"})
    failures = shown.body["found"][0]["failures"]
    assert [(f["outcome"], f["condition"], f["rule"]) for f in failures] == [
        ("failed", "app:0", "default"), ("failed", "app:1", "default")]
    assert all("/worker" in f["consumer"] and f["time"] for f in failures)
    client.close()


def test_a_message_without_a_route_is_rejected(conn):
    """settlement.md, Towards the publisher: no route: rejected(error with condition)."""
    state, condition = conn.sender(None).offer(text("x", address="never-created-by-anybody"))
    assert (state, condition.name) == (REJECTED, "amqp:not-found")


@pytest.mark.own_broker
def test_a_message_that_is_too_large_is_refused_and_never_queued(start_broker):
    """settlement.md, Towards the publisher: too large; part 2.7.3: "results in a message-size-exceeded link-error"."""
    broker = start_broker('[limits]\nmax-message-size = "10KiB"\n')
    client = Client(broker.url)
    conn = client.connect()
    sender = conn.sender("q")
    sender.push(text("x" * 20_000))
    sender.wait_closed()
    assert sender.condition == "amqp:link:message-size-exceeded"
    conn.sender("q").send(Message(body="small"))
    assert [m.body for m in conn.receiver("q").drain(10)] == ["small"]
    client.close()


def test_what_is_settled_twice_or_never_came_is_ignored(client, conn, queue):
    """settlement.md: a disposition for already settled deliveries: what is known is settled, the rest is ignored."""
    conn.sender(queue).send("1", "2", "3")
    receiver = conn.receiver(queue)
    got = receiver.receive(3)
    got[1].accept()
    client.turn(conn, queue)
    for message in got:
        message.delivery.update(message.delivery.ACCEPTED)
    got[0].settle()
    got[2].settle()
    client.turn(conn, queue)
    receiver.close()
    assert conn.receiver(queue).drain(10) == []
