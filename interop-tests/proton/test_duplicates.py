"""Duplicate detection: a duplicate is accepted and not queued."""

import uuid

import pytest
from proton import Message, ulong

from client import ACCEPTED, REJECTED, SECOND, Client, text


def bodies(conn, queue):
    """All that is in a queue."""
    receiver = conn.receiver(queue)
    got = receiver.drain(100)
    for message in got:
        message.accept()
    return [message.body for message in got]


@pytest.fixture
def once(queue):
    return "once." + queue


def test_a_duplicate_is_accepted_and_not_queued(conn, once):
    """issue: a duplicate is accepted and not queued."""
    sender = conn.sender(once)
    for body in ["first", "again", "and again"]:
        assert sender.offer(text(body, id="order-1"))[0] == ACCEPTED
    sender.send(text("other", id="order-2"))
    assert bodies(conn, once) == ["first", "other"]


def test_a_pipeline_of_duplicates_is_answered_whole(conn, once):
    """settlement.md, Towards the publisher: every message is answered, duplicates with the first."""
    conn.sender(once).send(*[text(str(n), id=f"id-{n % 10}") for n in range(300)])
    assert bodies(conn, once) == [str(n) for n in range(10)]


def test_message_ids_of_all_types_are_told_apart(conn, once):
    """3.2.11 to 3.2.14: message-id is a ulong, uuid, binary or string; 53 is not "53"."""
    ids = [ulong(53), uuid.UUID(int=53), b"53", "53"]
    sender = conn.sender(once)
    for _ in range(2):
        sender.send(*[text(str(n), id=id) for n, id in enumerate(ids)])
    assert bodies(conn, once) == ["0", "1", "2", "3"]


def test_messages_without_a_message_id_are_never_duplicates(conn, once):
    """config duplicates: messages without the key are never duplicates."""
    conn.sender(once).send("same", "same")
    assert bodies(conn, once) == ["same", "same"]


def test_a_duplicate_of_a_consumed_message_is_one_still(conn, once):
    """config duplicates: whatever became of the first message."""
    sender, receiver = conn.sender(once), conn.receiver(once)
    sender.send(text("x", id="a"), text("y", id="b"))
    receiver.receive().accept()
    receiver.receive().reject("app:bad")
    sender.send(text("x", id="a"), text("y", id="b"))
    assert receiver.drain(10) == []
    conn.receiver(once + "/$deadletter").receive().accept()


def test_a_retry_is_no_duplicate(conn, once):
    """issue: the broker's own retries are exempt."""
    conn.sender(once).send(text("x", id="a"))
    receiver = conn.receiver(once)
    receiver.receive().fail()
    again = receiver.receive()
    assert (again.body, again.count) == ("x", 1)
    again.accept()


def test_the_key_may_be_an_annotation_or_an_application_property(conn):
    """config duplicates: detect = "KEY": the message-annotation or, where there is none, the application-property."""
    sender = conn.sender("once-by-key")
    for key in ["a", "b"]:
        sender.send(text("annotated " + key, annotations={"x-opt-key": key}, id="same"))
        sender.send(text("again", annotations={"x-opt-key": key}, id=key))
        sender.send(text("as a property", properties={"x-opt-key": key}))
    sender.send(text("unkeyed", id="same"), text("unkeyed", id="same"))
    assert bodies(conn, "once-by-key") == ["annotated a", "annotated b", "unkeyed", "unkeyed"]


def test_the_window_ends_in_time(conn):
    """config duplicates: window."""
    sender = conn.sender("once-for-a-moment")
    sender.send(text("1", id="a"))
    receiver = conn.receiver("once-for-a-moment")
    receiver.receive().accept()

    def taken():
        sender.send(text("2", id="a"))
        return receiver.drain(1)

    while not (got := taken()):
        pass
    got[0].accept()


def test_the_window_ends_by_count(conn):
    """config duplicates: count."""
    sender = conn.sender("once-of-two")
    sender.send(*[text(id, id=id) for id in "abc"])
    sender.send(text("again", id="b"), text("again", id="c"), text("again", id="a"))
    assert bodies(conn, "once-of-two") == ["a", "b", "c", "again"]


def test_a_refused_message_may_be_sent_again(conn, client):
    """config duplicates: a message that was refused leaves no id behind; one that was taken is a duplicate, full or not."""
    sender = conn.sender("once-and-full")
    assert sender.offer(text("a", id="a"))[0] == ACCEPTED
    assert sender.offer(text("b", id="b"))[0] == REJECTED
    assert sender.offer(text("a", id="a"))[0] == ACCEPTED
    assert bodies(conn, "once-and-full") == ["a"]
    client.turn(conn, "once-and-full")
    assert sender.offer(text("b", id="b"))[0] == ACCEPTED
    assert bodies(conn, "once-and-full") == ["b"]


def test_the_anonymous_relay_goes_through_it(conn, once):
    """9.3 of the anonymous terminus specification: a message to the relay is one to its `to`."""
    conn.sender(once).send(text("direct", id="a"))
    conn.sender(None).send(text("relayed", id="a", address=once), text("relayed", id="b", address=once))
    assert bodies(conn, once) == ["direct", "relayed"]


@pytest.mark.own_broker
@pytest.mark.parametrize("stop", ["terminate", "kill"])
def test_ids_are_remembered_over_a_restart(start_broker, stop):
    """issue: survives restart; also of a message that was consumed."""
    broker = start_broker()
    client = Client(broker.url)
    conn = client.connect()
    conn.sender("once.x").send(text("consumed", id="a"), text("waiting", id="b"))
    got = conn.receiver("once.x", options=SECOND).receive()
    got.update(ACCEPTED)
    client.wait(lambda: got.delivery.settled, "the broker's settled reply")
    got.delivery.settle()
    client.close()
    getattr(broker, stop)()
    broker.start()
    client = Client(broker.url)
    conn = client.connect()
    conn.sender("once.x").send(text("again", id="a"), text("again", id="b"), text("new", id="c"))
    assert bodies(conn, "once.x") == ["waiting", "new"]
    client.close()


@pytest.mark.own_broker
def test_ids_of_messages_that_are_not_durable_are_kept_over_a_stop(start_broker):
    """config duplicates: ids of durable messages are remembered across crashes, others across stops in good order."""
    broker = start_broker()
    client = Client(broker.url)
    client.connect().sender("once.x").send(Message(body="1", id="a"))
    client.close()
    assert broker.terminate() == 0
    broker.start()
    client = Client(broker.url)
    conn = client.connect()
    conn.sender("once.x").send(Message(body="2", id="a"))
    assert bodies(conn, "once.x") == ["1"]
    client.close()
