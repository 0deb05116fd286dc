"""Reply queues and the anonymous relay."""

from proton import Message

from client import ACCEPTED, REJECTED, text


def test_request_and_response_over_a_dynamic_queue(client, queue):
    """Part 3.5.3: dynamic: the broker creates a node and says its address; request/response over it."""
    asking, serving = client.connect(), client.connect()
    replies = asking.receiver(None, dynamic=True)
    assert replies.address
    assert replies.link.remote_source.dynamic
    asking.sender(queue).send(text("2 + 3", reply_to=replies.address, correlation_id="c-1"))

    request = serving.receiver(queue).receive()
    serving.sender(request.message.reply_to).send(
        Message(body="5", correlation_id=request.message.correlation_id))
    request.accept()

    reply = replies.receive()
    assert (reply.body, reply.message.correlation_id) == ("5", "c-1")
    reply.accept()


def test_reply_over_the_anonymous_relay(client, queue):
    """Anonymous terminus: a sender without a target address sends where each message's `to` says."""
    asking, serving = client.connect(), client.connect()
    replies = asking.receiver(None, dynamic=True)
    relay = serving.sender(None)
    assert relay.offer(text("hi", address=replies.address))[0] == ACCEPTED
    assert replies.receive().body == "hi"


def test_dynamic_queues_are_all_different(conn):
    """Part 3.5.3: each dynamic attach creates a node of its own."""
    addresses = {conn.receiver(None, dynamic=True).address for _ in range(10)}
    assert len(addresses) == 10


def test_a_dynamic_queue_ends_with_its_link(client, conn):
    """Part 3.5.10: delete-on-close: the node lives no longer than the link that created it."""
    replies = conn.receiver(None, dynamic=True)
    address = replies.address
    relay = conn.sender(None)
    assert relay.offer(text("x", address=address))[0] == ACCEPTED
    replies.close()
    state, condition = relay.offer(text("x", address=address))
    assert (state, condition.name) == (REJECTED, "amqp:not-found")


def test_a_dynamic_queue_ends_with_its_connection(client, conn):
    """Part 3.5.10: delete-on-close covers lost connections."""
    doomed = client.connect()
    address = doomed.receiver(None, dynamic=True).address
    doomed.close()
    relay = conn.sender(None)
    state, condition = relay.offer(text("x", address=address))
    assert (state, condition.name) == (REJECTED, "amqp:not-found")


def test_a_dynamic_target(conn):
    """Part 3.5.4: a target may be dynamic too."""
    class Dynamic:
        def test(self, link):
            return True

        def apply(self, link):
            link.target.dynamic = True

    sender = conn.sender(None, options=Dynamic())
    address = sender.link.remote_target.address
    assert address
    sender.send("x")
    assert conn.receiver(address).receive().body == "x"


def test_relay_routes_each_message_by_its_to(conn, queue):
    """Anonymous terminus: routed by the `to` property, message by message."""
    first, second = conn.receiver(queue + "-a"), conn.receiver(queue + "-b")
    relay = conn.sender(None)
    relay.send(text("1", address=queue + "-a"), text("2", address=queue + "-b"), text("3", address=queue + "-a"))
    assert [m.body for m in first.receive(2)] == ["1", "3"]
    assert second.receive().body == "2"


def test_relay_without_a_route_rejects_the_message(conn, queue):
    """settlement.md, Towards the publisher: no route: rejected with a condition; the link goes on."""
    relay = conn.sender(None)
    state, condition = relay.offer(text("x", address=queue + "-nobody-ever-attached-here"))
    assert (state, condition.name) == (REJECTED, "amqp:not-found")
    conn.receiver(queue)
    assert relay.offer(text("x", address=queue))[0] == ACCEPTED


def test_relay_without_to_rejects_the_message(conn, queue):
    """settlement.md, Towards the publisher: a refusal is rejected(error with condition), never silence."""
    relay = conn.sender(None)
    state, condition = relay.offer(text("whither?"))
    assert state == REJECTED
    assert condition.name.startswith("amqp:")
    conn.receiver(queue)
    assert relay.offer(text("x", address=queue))[0] == ACCEPTED


def test_the_relay_is_offered_as_a_capability(conn):
    """Anonymous terminus: offered by the connection capability ANONYMOUS-RELAY; JMS clients look for it."""
    assert "ANONYMOUS-RELAY" in list(conn.conn.remote_offered_capabilities or [])
