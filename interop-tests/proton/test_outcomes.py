"""Each outcome a consumer can give, and what the next consumer sees of it."""

from proton import Delivery

from client import SECOND, text


def test_accepted_removes(conn, queue):
    """settlement.md, The three settlement outcomes: ACCEPTED removes the message."""
    conn.sender(queue).send("one", "two")
    receiver = conn.receiver(queue)
    receiver.receive().accept()
    receiver.close()
    assert [m.body for m in conn.receiver(queue).drain(10)] == ["two"]


def test_failed_raises_the_delivery_count_each_time(conn):
    """settlement.md: FAILED is modified(delivery-failed=true), delivery-count + 1; the consumer sees 0, 1, 2 ..."""
    queue = "many-attempts"
    conn.sender(queue).send("again")
    receiver = conn.receiver(queue)
    counts = []
    for _ in range(5):
        got = receiver.receive()
        counts.append(got.count)
        got.fail()
    assert counts == [0, 1, 2, 3, 4]
    receiver.receive().accept()


def test_failed_is_retried_by_default(conn, queue):
    """settlement.md, Limit, delay, dead letter: by default the first retry comes at once."""
    conn.sender(queue).send("again")
    receiver = conn.receiver(queue)
    receiver.receive().fail()
    got = receiver.receive()
    assert (got.body, got.count) == ("again", 1)
    assert got.annotations["x-opt-acquired-count"] == 1


def test_rejected_is_not_delivered_again(conn, queue):
    """settlement.md: REJECTED moves the message to the dead-letter tree."""
    conn.sender(queue).send("bad", "good")
    receiver = conn.receiver(queue)
    receiver.receive().reject("app:invalid", "no good")
    assert receiver.receive().body == "good"
    assert [m.body for m in conn.receiver(queue + "/$deadletter").receive(1)] == ["bad"]


def test_released_comes_back_with_its_count_unchanged(conn, queue):
    """settlement.md: released: delivery-count unchanged (MUST NOT), acquired-count + 1; first-acquirer false."""
    message = text("back")
    message.first_acquirer = True
    conn.sender(queue).send(message)
    receiver = conn.receiver(queue)
    first = receiver.receive()
    assert first.message.first_acquirer
    assert "x-opt-acquired-count" not in first.annotations
    first.release()
    second = receiver.receive()
    assert second.count == 0
    assert second.annotations["x-opt-acquired-count"] == 1
    assert not second.message.first_acquirer
    second.release()
    third = receiver.receive()
    assert (third.count, third.annotations["x-opt-acquired-count"]) == (0, 2)


def test_released_goes_back_to_its_place(client, conn, queue):
    """settlement.md: released: back to its original position."""
    conn.sender(queue).send("1", "2", "3", "4")
    receiver = conn.receiver(queue)
    first, second = receiver.receive(2)
    second.release()
    first.release()
    client.turn(conn, queue)  # proton sends credit before outcomes: the outcomes go first this way
    assert [m.body for m in receiver.receive(4)] == ["1", "2", "3", "4"]


def test_modified_without_failure_is_as_released_with_annotations_merged(conn, queue):
    """settlement.md: modified(delivery-failed=false): as released, annotations merged, new value wins."""
    message = text("x")
    message.annotations = {"x-opt-old": "old", "x-opt-kept": 1}
    conn.sender(queue).send(message)
    receiver = conn.receiver(queue)
    receiver.receive().modify(annotations={"x-opt-old": "new", "x-opt-added": 2})
    got = receiver.receive()
    assert got.count == 0
    assert {k: got.annotations[k] for k in ("x-opt-old", "x-opt-kept", "x-opt-added")} == {
        "x-opt-old": "new", "x-opt-kept": 1, "x-opt-added": 2}


def test_failed_with_annotations_merges_them_too(conn, queue):
    """Part 3.4.5: message-annotations of modified are combined with the message's."""
    conn.sender(queue).send("x")
    receiver = conn.receiver(queue)
    receiver.receive().modify(failed=True, annotations={"x-opt-why": "busy"})
    got = receiver.receive()
    assert (got.count, got.annotations["x-opt-why"]) == (1, "busy")


def test_undeliverable_here_goes_to_another_consumer_only(client, conn, queue):
    """settlement.md: modified.undeliverable-here=true: not to this link endpoint again."""
    conn.sender(queue).send("not for me")
    first = conn.receiver(queue)
    first.receive().modify(undeliverable=True)
    assert first.drain(10) == []
    second = conn.receiver(queue)
    got = second.receive()
    assert (got.body, got.count) == ("not for me", 0)
    got.accept()


def test_settled_without_a_state_is_released(conn, queue):
    """settlement.md: settled=true without a state: default-outcome where set, else released. Never a deletion."""
    conn.sender(queue).send("kept")
    receiver = conn.receiver(queue)
    receiver.receive().settle()
    got = receiver.receive()
    assert (got.body, got.count) == ("kept", 0)


def test_a_received_state_changes_nothing(client, conn, queue):
    """settlement.md: a non-terminal state (received) is recorded and changes nothing else."""
    conn.sender(queue).send("mine")
    receiver = conn.receiver(queue)
    got = receiver.receive()
    got.update(Delivery.RECEIVED)
    client.turn(conn, queue)
    assert conn.receiver(queue).drain(10) == [], "it is still handed out"
    got.accept()
    receiver.close()
    assert conn.receiver(queue).drain(10) == []


def test_unsettled_when_its_link_closes_is_released(conn, queue):
    """settlement.md: a delivery still unsettled when its link ends is released; a clean detach is not a crash."""
    conn.sender(queue).send("1", "2")
    receiver = conn.receiver(queue)
    receiver.receive(2)
    receiver.close()
    got = conn.receiver(queue).receive(2)
    assert [(m.body, m.count) for m in got] == [("1", 0), ("2", 0)]


def test_unsettled_when_its_session_ends_is_released(client, conn, queue):
    """Part 2.5.8: ending a session detaches its links; settlement.md: then released."""
    conn.sender(queue).send("1")
    session = conn.session()
    conn.receiver(queue, session=session).receive()
    session.close()
    assert conn.receiver(queue).receive().count == 0


def test_unsettled_when_the_connection_is_lost_comes_back(client, conn, queue):
    """settlement.md, Connection loss: nothing is lost, every unsettled message is delivered again."""
    conn.sender(queue).send("1", "2", "3")
    doomed = client.connect()
    doomed.receiver(queue).receive(3)
    doomed.drop()
    receiver = conn.receiver(queue)
    bodies = []
    for _ in range(3):  # settled one by one: a suspect may come alone on its link
        got = receiver.receive()
        bodies.append(got.body)
        got.accept()
    assert sorted(bodies) == ["1", "2", "3"]


def test_a_suspect_is_redelivered_alone_on_its_link(client, conn, queue):
    """settlement.md, Connection loss: a suspect is redelivered alone, so the message that kills consumers is found."""
    conn.sender(queue).send("1", "2", "3")
    doomed = client.connect()
    doomed.receiver(queue).receive(3)
    doomed.drop()
    client.turn(conn, queue)
    receiver = conn.receiver(queue, credit=10)
    suspect = receiver.receive()
    assert (suspect.body, suspect.count) == ("1", 1)
    client.turn(conn, queue)
    assert not receiver.inbox
    suspect.accept()
    assert [(m.body, m.count) for m in receiver.receive(2)] == [("2", 0), ("3", 0)]


def test_outcomes_in_any_order(client, conn, queue):
    """Part 2.6.12: deliveries are settled individually, in any order."""
    conn.sender(queue).send(*[str(n) for n in range(10)])
    receiver = conn.receiver(queue)
    got = receiver.receive(10)
    for message in reversed(got[::2]):
        message.accept()
    for message in got[1::2]:
        message.release()
    client.turn(conn, queue)
    assert [m.body for m in receiver.receive(5)] == ["1", "3", "5", "7", "9"]


def test_second_mode_the_broker_settles_after_each_outcome(client, conn, queue):
    """settlement.md, Lost NACKs: rcv-settle-mode=second is honoured: the broker's settled reply follows the outcome."""
    conn.sender(queue).send("accept", "fail", "reject", "release")
    receiver = conn.receiver(queue, options=SECOND)
    accepted, failed, rejected, released = receiver.receive(4)
    accepted.update(Delivery.ACCEPTED)
    failed.prepare_modify(failed=True)
    failed.update(Delivery.MODIFIED)
    rejected.prepare_reject("app:bad", "really")
    rejected.update(Delivery.REJECTED)
    released.update(Delivery.RELEASED)
    for got in (accepted, failed, rejected, released):
        client.wait(lambda: got.delivery.settled, f"the broker settling {got.body}")
        got.delivery.settle()
    again = receiver.receive(2)
    assert sorted((m.body, m.count) for m in again) == [("fail", 1), ("release", 0)]
    assert conn.receiver(queue + "/$deadletter").receive().body == "reject"


def test_a_failed_message_holds_up_nobody(conn):
    """settlement.md, Limit, delay: a waiting message holds up nobody else (no head-of-line blocking)."""
    queue = "slow-retry"
    conn.sender(queue).send("waits", "goes on")
    receiver = conn.receiver(queue)
    receiver.receive().fail()
    got = receiver.receive()
    assert got.body == "goes on"
    got.accept()
    assert receiver.drain(10) == []


def test_the_consumer_may_choose_the_delay_of_one_retry(conn):
    """settlement.md: modified(delivery-failed=true, message-annotations={x-opt-delivery-delay: ms})."""
    queue = "slow-retry"
    conn.sender(queue).send("soon")
    receiver = conn.receiver(queue)
    receiver.receive().modify(failed=True, annotations={"x-opt-delivery-delay": 20})
    got = receiver.receive()
    assert (got.body, got.count) == ("soon", 1)
    got.accept()
