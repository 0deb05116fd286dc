"""Sending and receiving: what arrives is what was sent, in order, of any size."""

import uuid

import pytest
from proton import Message, timestamp

from client import text

BARE_MESSAGE = b"\x00\x53\x73"  # the properties section: the first of the bare message


def test_a_message_is_accepted_and_delivered_once(client, conn, queue):
    """settlement.md, Towards the publisher: accepted when safe; outcome ACCEPTED removes the message."""
    conn.sender(queue).send("hello")
    receiver = conn.receiver(queue)
    got = receiver.receive()
    assert got.body == "hello"
    assert got.count == 0
    got.accept()
    receiver.close()
    assert conn.receiver(queue).drain(10) == []


@pytest.mark.parametrize("body", [
    "", "grüße", b"\x00\xff", 1, -1.5, True, None, [1, "two", None], {"k": [1, 2]},
    uuid.UUID(int=7), timestamp(1_700_000_000_000)], ids=repr)
def test_any_body_comes_back_as_it_went(conn, queue, body):
    """Part 3.2.8: an amqp-value section holds any one AMQP value."""
    conn.sender(queue).send(text(body))
    got = conn.receiver(queue).receive()
    assert got.body == body
    got.accept()


def test_the_bare_message_is_forwarded_bit_for_bit(conn, queue):
    """Part 3.2: the bare message is immutable within the AMQP network."""
    message = text({"a": [1, 2, 3]}, id="m-1", subject="s", correlation_id=7, content_type="x/y", group_id="g")
    message.properties = {"one": 1, "two": "zwei", "three": None}
    raw = message.encode()
    bare = raw[raw.index(BARE_MESSAGE):]
    conn.sender(queue).send(raw)
    got = conn.receiver(queue).receive()
    assert got.raw.endswith(bare)
    got.accept()


def test_header_and_annotations_are_kept(conn, queue):
    """Part 3.2.1 and 3.2.3: durable and priority, and the publisher's message annotations, reach the consumer."""
    message = text("x", priority=7)
    message.annotations = {"x-opt-mine": "kept"}
    conn.sender(queue).send(message)
    got = conn.receiver(queue).receive()
    assert got.message.durable
    assert got.message.priority == 7
    assert got.annotations["x-opt-mine"] == "kept"
    got.accept()


def test_first_acquirer_is_the_publishers_word_at_the_first_delivery(conn, queue):
    """settlement.md, Two counters: first-acquirer = the publisher's value AND acquired-count == 0."""
    said, silent = text("said"), text("silent")
    said.first_acquirer = True
    conn.sender(queue).send(said, silent)
    first, second = conn.receiver(queue).receive(2)
    assert (first.body, first.message.first_acquirer) == ("said", True)
    assert (second.body, second.message.first_acquirer) == ("silent", False)


def test_a_thousand_messages_keep_their_order(conn, queue):
    """Part 2.6.12: transfers on a link are ordered; architecture: FIFO."""
    conn.sender(queue).send(*[str(n) for n in range(1000)])
    receiver = conn.receiver(queue, credit=1000)
    got = receiver.receive(1000)
    assert [m.body for m in got] == [str(n) for n in range(1000)]
    for message in got:
        message.accept()
    receiver.close()
    assert conn.receiver(queue).drain(1) == []


def test_a_consumer_that_waits_gets_what_comes_later(client, conn, queue):
    """Part 2.6.7: credit given earlier is used as messages become available."""
    receiver = conn.receiver(queue, credit=10)
    conn.sender(queue).send("late")
    assert receiver.receive().body == "late"


def test_a_ten_mebibyte_message(conn, queue):
    """Part 2.6.14: a delivery may take any number of transfer frames."""
    body = bytes(range(256)) * (10 * 1024 * 1024 // 256)
    conn.sender(queue).send(text(body))
    got = conn.receiver(queue).receive(timeout=30)
    assert got.body == body
    got.accept()


@pytest.mark.parametrize("frame", [512, 513, 1000, 4096, 65536])
def test_any_max_frame_size(client, queue, frame):
    """Part 2.7.1: max-frame-size 512 and up; no frame larger than the peer's may be sent."""
    conn = client.connect(max_frame_size=frame)
    bodies = [bytes([n % 251]) * size for n, size in enumerate((1, frame - 60, frame, frame + 1, 10 * frame))]
    conn.sender(queue).send(*[text(b) for b in bodies])
    got = conn.receiver(queue, credit=10).receive(len(bodies))
    assert [m.body for m in got] == bodies


def test_an_aborted_delivery_leaves_nothing(client, conn, queue):
    """Part 2.7.5: aborted messages SHOULD be discarded by the recipient; the next one is whole."""
    sender = conn.sender(queue)
    half = sender.begin(text(b"a" * 200_000).encode()[:100_000])
    client.turn(conn, queue)
    half.abort()
    sender.send("whole")
    assert [m.body for m in conn.receiver(queue).drain(10)] == ["whole"]


def test_many_connections_at_once(client, queue):
    """Part 2.4: connections are independent of each other."""
    connections = [client.connect() for _ in range(30)]
    for number, connection in enumerate(connections):
        connection.sender(queue).send(str(number))
    got = {connection.receiver(queue).receive().body for connection in connections}
    assert got == {str(n) for n in range(30)}


def test_a_non_durable_message_is_delivered(conn, queue):
    """settlement.md, Towards the publisher: a non-durable message may be accepted once queued."""
    conn.sender(queue).send(Message(body="light"))
    got = conn.receiver(queue).receive()
    assert (got.body, got.message.durable) == ("light", False)
