"""The connection itself: headers, open, heartbeats, sessions, and input that is no AMQP."""

import socket

import pytest

from client import text

AMQP, SASL = b"AMQP\x00\x01\x00\x00", b"AMQP\x03\x01\x00\x00"


CLOSE = b"\x00\x53\x18"


def exchange(address, data):
    """Sends bytes and reads until the broker closes: the socket, or the connection by a close performative."""
    with socket.create_connection(address, timeout=10) as sock:
        sock.sendall(data)
        answer = b""
        try:
            while CLOSE not in answer and (part := sock.recv(4096)):
                answer += part
        except ConnectionResetError:
            pass  # closed with our bytes unread: closed all the same
        return answer


@pytest.mark.parametrize("header", [
    b"AMQP\x00\x00\x09\x01", b"AMQP\x01\x01\x00\x00", b"AMQP\x00\x01\x00\x01", b"AMQP\x02\x01\x00\x00",
    b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01"], ids=repr)
def test_a_wrong_protocol_header_is_answered_with_the_right_one(broker, header):
    """Part 2.2: on a header that is not supported: send a supported one, then close the socket."""
    assert exchange(broker.address, header) == SASL


def test_a_header_that_comes_byte_by_byte(broker):
    """Part 2.2: the header is eight bytes, however TCP cuts them."""
    with socket.create_connection(broker.address, timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for n in range(len(SASL)):
            sock.sendall(SASL[n:n + 1])
        assert sock.recv(8, socket.MSG_WAITALL) == SASL


@pytest.mark.parametrize("garbage", [
    b"\x00\x00\x00\x00\x02\x00\x00\x00",  # a frame shorter than its header
    b"\x00\x00\x00\x08\x01\x00\x00\x00",  # doff below 2
    b"\xff\xff\xff\xff\x02\x00\x00\x00",  # longer than any max-frame-size
    b"\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x10\xff",  # an open that is not one
    b"\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x53\x14",  # a transfer before the open
], ids=lambda g: g.hex())
def test_garbage_ends_its_connection_only(broker, client, queue, garbage):
    """Part 2.3 and 2.8.15: framing errors close the connection, and nobody else's."""
    answer = exchange(broker.address, AMQP + garbage)
    assert answer.startswith(AMQP)
    client.connect().sender(queue).send("still serving")


def test_open_says_who_the_broker_is(conn):
    """Part 2.7.1: container-id and properties of the open."""
    assert conn.conn.remote_container
    properties = {str(k): v for k, v in conn.conn.remote_properties.items()}
    assert properties["product"]
    assert properties["version"]
    assert conn.transport.remote_max_frame_size >= 512


def test_the_broker_sends_heartbeats(client):
    """Part 2.4.5: the peer's idle-time-out is honoured by empty frames when there is nothing else to send."""
    conn = client.connect(heartbeat=0.6)
    before = conn.transport.frames_input
    client.wait(lambda: conn.transport.frames_input >= before + 3 or conn.disconnected, "three empty frames")
    assert not conn.disconnected


def test_an_idle_connection_is_kept_open_by_heartbeats(client, queue):
    """Part 2.4.5: with heartbeats both ways the connection outlives several timeouts."""
    conn = client.connect(heartbeat=0.4)
    start = conn.transport.frames_input
    client.wait(lambda: conn.transport.frames_input >= start + 6 or conn.disconnected, "six heartbeats")
    conn.sender(queue).send("alive")


def test_several_sessions(conn, queue):
    """Part 2.5: sessions of one connection are independent; handles and delivery-ids are theirs."""
    sessions = [conn.session() for _ in range(8)]
    for number, session in enumerate(sessions):
        conn.sender(f"{queue}-{number}", session=session).send(str(number))
    for number, session in enumerate(sessions):
        got = conn.receiver(f"{queue}-{number}", session=session).receive()
        assert got.body == str(number)
        got.accept()


def test_the_end_of_a_session_leaves_the_others(client, conn, queue):
    """Part 2.5.8: ending a session ends its links, not the connection."""
    doomed, kept = conn.session(), conn.session()
    sender = conn.sender(queue, session=kept)
    conn.receiver(queue, session=doomed)
    doomed.close()
    sender.send("x")
    assert conn.receiver(queue, session=kept).receive().body == "x"


def test_close_is_answered_with_close(client):
    """Part 2.4.3: each peer sends a close, and then the socket ends."""
    conn = client.connect()
    conn.close()
    assert conn.remotely_closed
    assert conn.conn.remote_condition is None


def test_open_and_close_pipelined(broker, client, queue):
    """Part 2.4.6: a peer may pipeline: header, open and begin before it has read anything."""
    conn = client.connect(wait=False, sasl_enabled=False)
    sender = conn.sender(queue, wait=False)
    conn.wait_open()
    sender.wait_open().send(text("x"))
