"""Flow control: credit, drain, windows, fair shares."""

from client import text


def test_drain_returns_the_credit_that_found_no_message(conn, queue):
    """Part 2.6.7: drain: advance the delivery-count until all credit is used; 10 credit, 3 messages."""
    conn.sender(queue).send("1", "2", "3")
    receiver = conn.receiver(queue)
    got = receiver.drain(10)
    assert [m.body for m in got] == ["1", "2", "3"]
    assert receiver.link.credit == 0
    assert receiver.drain(10) == []
    for message in got:
        message.accept()


def test_after_a_drain_the_link_goes_on(conn, queue):
    """Part 2.6.7: drained credit is gone, and new credit works as before."""
    receiver = conn.receiver(queue)
    assert receiver.drain(5) == []
    conn.sender(queue).send("1")
    receiver.flow(1)
    assert receiver.receive().body == "1"


def test_drain_of_less_credit_than_messages(conn, queue):
    """Part 2.6.7: credit is the limit, also in a drain."""
    conn.sender(queue).send(*"12345")
    receiver = conn.receiver(queue)
    assert [m.body for m in receiver.drain(2)] == ["1", "2"]
    assert [m.body for m in receiver.drain(10)] == ["3", "4", "5"]


def test_no_more_than_the_credit_is_ever_sent(client, conn, queue):
    """Part 2.6.7: link-credit bounds the deliveries that may be in flight."""
    conn.sender(queue).send(*[str(n) for n in range(20)])
    receiver = conn.receiver(queue, credit=5)
    client.wait(lambda: len(receiver.inbox) == 5, "as many as the credit")
    client.turn(conn, queue)
    assert len(receiver.inbox) == 5
    for message in receiver.take_all():
        message.accept()
    client.turn(conn, queue)
    assert receiver.inbox == [], "settling gives no credit"
    receiver.flow(3)
    client.wait(lambda: len(receiver.inbox) == 3, "three more")


def test_no_credit_no_message(client, conn, queue):
    """Part 2.6.7: a link starts without credit."""
    conn.sender(queue).send("1")
    receiver = conn.receiver(queue)
    client.turn(conn, queue)
    assert receiver.inbox == []


def test_two_consumers_share(client, queue):
    """architecture.md, The broker core: competing consumers, fair dispatch by credit."""
    receivers = [client.connect().receiver(queue, credit=100) for _ in range(2)]
    sender = client.connect().sender(queue)
    sender.send(*[str(n) for n in range(100)])
    client.wait(lambda: sum(len(r.inbox) for r in receivers) == 100, "all messages, at either of them")
    shares = [len(r.inbox) for r in receivers]
    assert min(shares) >= 25, f"fair would be half and half, got {shares}"
    bodies = sorted(int(m.body) for r in receivers for m in r.inbox)
    assert bodies == list(range(100)), "each message went to exactly one of them"


def test_a_consumer_without_credit_takes_nothing_from_another(client, queue):
    """architecture.md: a slow consumer holds up itself alone."""
    conn = client.connect()
    conn.receiver(queue)  # attached, never any credit
    lazy = conn.receiver(queue, credit=1)
    busy = client.connect().receiver(queue, credit=100)
    conn.sender(queue).send(*[str(n) for n in range(50)])
    client.wait(lambda: len(lazy.inbox) + len(busy.inbox) == 50, "all messages")
    assert len(lazy.inbox) <= 1


def test_a_publisher_gets_credit_again_and_again(conn, queue):
    """Part 2.6.7: the broker tops up a publisher's credit; many more messages than any first grant."""
    sender = conn.sender(queue)
    for _ in range(5):
        sender.send(*[text("x")] * 1000)
    receiver = conn.receiver(queue, credit=5000)
    assert len(receiver.receive(5000, timeout=30)) == 5000


def test_a_small_session_window_still_moves_everything(client, queue):
    """Part 2.5.6: the incoming window of the receiver bounds transfers in flight, and is replenished."""
    conn = client.connect(max_frame_size=512)
    session = conn.conn.session()
    session.incoming_capacity = 4096
    session.open()
    body = b"w" * 3000
    conn.sender(queue).send(*[text(body)] * 40)
    receiver = conn.receiver(queue, credit=40, session=session)
    got = receiver.receive(40, timeout=20)
    assert all(m.body == body for m in got)
