"""Time to live, priority, and queues that are full."""

import time

from client import ACCEPTED, REJECTED, text


def test_expired_messages_are_dead_lettered(conn, queue):
    """settlement.md: reason `expired`; nobody has to ask for the message for it to expire."""
    letters = conn.receiver(queue + "/$deadletter", credit=1)
    conn.sender(queue).send(text("stale", ttl=0.05), text("fresh", ttl=3600), "eternal")
    letter = letters.receive()
    assert letter.body == "stale"
    marks = letter.annotations
    assert marks["x-opt-dl-reason"] == "expired"
    assert marks["x-first-death-reason"] == "expired"
    assert marks["x-opt-ORIG-QUEUE"] == queue
    assert [m.body for m in conn.receiver(queue).drain(10)] == ["fresh", "eternal"]


def test_a_queue_may_limit_the_time_to_live(conn):
    """config max-ttl: a time to live for messages without one, and the longest that is allowed."""
    letters = conn.receiver("short-lived/$deadletter", credit=2)
    conn.sender("short-lived").send("no ttl", text("long ttl", ttl=3600))
    assert sorted(m.body for m in letters.receive(2)) == ["long ttl", "no ttl"]


def test_a_dead_letter_does_not_expire(conn, queue):
    """settlement.md: never a deletion: a message that expired into the tree stays there."""
    conn.sender(queue).send(text("stale", ttl=0.02))
    letters = conn.receiver(queue + "/$deadletter")
    letters.receive().release()
    assert letters.receive().body == "stale"


def test_a_message_in_a_consumers_hands_does_not_expire(client, conn, queue):
    """settlement.md: an acquired message is its consumer's until it settles; acceptance is final."""
    conn.sender(queue).send(text("mine", ttl=0.1))
    receiver = conn.receiver(queue)
    got = receiver.receive()
    conn.sender(queue).send(text("later", ttl=0.2))
    letters = conn.receiver(queue + "/$deadletter")
    assert letters.receive().body == "later"
    got.accept()
    client.turn(conn, queue)
    assert letters.drain(10) == []


def test_the_time_to_live_goes_down(conn, queue):
    """Part 3.2.1: ttl is relative: what is left of it is sent on."""
    conn.sender(queue).send(text("x", ttl=3600))
    got = conn.receiver(queue).receive()
    assert 0 < got.message.ttl <= 3600


def test_expired_on_arrival_is_refused(conn, queue):
    """settlement.md, Towards the publisher: expired on arrival: rejected(error with condition)."""
    state, condition = conn.sender(queue).offer(text("too late", expiry_time=time.time() - 60))
    assert state == REJECTED
    assert condition.name


def test_higher_priority_comes_first(conn, queue):
    """Part 3.2.1: priority 0 to 9, default 4; equal priorities in order."""
    sent = [("low", 0), ("normal", 4), ("high", 9), ("low again", 0), ("high again", 9)]
    conn.sender(queue).send(*[text(body, priority=priority) for body, priority in sent])
    got = conn.receiver(queue).receive(5)
    assert [m.body for m in got] == ["high", "high again", "normal", "low", "low again"]


def test_a_full_queue_rejects(conn):
    """settlement.md, Towards the publisher: queue full with policy reject: rejected, resource-limit-exceeded."""
    sender = conn.sender("full-rejects")
    sender.send("1", "2")
    state, condition = sender.offer(text("3"))
    assert (state, condition.name) == (REJECTED, "amqp:resource-limit-exceeded")
    receiver = conn.receiver("full-rejects")
    got = receiver.receive()
    state, _ = sender.offer(text("4"))
    assert state == REJECTED, "handed out is not gone"
    got.accept()
    receiver.close()
    # The acceptance has no answer of its own: the broker is asked until it has seen it.
    deadline = time.monotonic() + 5
    while sender.offer(text("5"))[0] != ACCEPTED:
        assert time.monotonic() < deadline, "there is room again, and the queue still rejects"
    assert [m.body for m in conn.receiver("full-rejects").drain(10)] == ["2", "5"]


def test_a_full_queue_blocks(client, conn):
    """config when-full = block: publishers get no credit until there is room."""
    first = conn.sender("full-blocks")
    first.send("1", "2")
    second = conn.sender("full-blocks")
    client.turn(conn, "full-blocks")
    assert second.credit == 0
    receiver = conn.receiver("full-blocks")
    for message in receiver.receive(2):
        message.accept()
    client.wait(lambda: second.credit > 0, "credit after room was made")
    second.send("3")
    assert receiver.receive().body == "3"
