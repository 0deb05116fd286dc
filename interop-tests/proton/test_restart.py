"""What is still there after a stop, and after the power of kill -9."""

import pytest
from proton import Delivery, Message

from client import SECOND, Client, text

pytestmark = pytest.mark.own_broker

STOPS = ["terminate", "kill"]


@pytest.fixture(params=STOPS)
def life(request, start_broker):
    """A broker, a client factory, and a restart in the parameter's way."""
    return Life(start_broker(), request.param)


class Life:
    def __init__(self, broker, stop):
        self.broker = broker
        self.stop = stop
        self.client = Client(broker.url)

    def connect(self):
        return self.client.connect()

    def restart(self):
        self.client.close()
        code = getattr(self.broker, self.stop)()
        if self.stop == "terminate":
            assert code == 0, f"a clean stop ends with 0, got {code}"
        self.broker.start()
        self.client = Client(self.broker.url)
        return self.client.connect()


def settle_surely(client, got, state):
    """Outcome in second mode: once the broker has settled, it is on disk."""
    got.update(state)
    client.wait(lambda: got.delivery.settled, "the broker's settled reply")
    got.delivery.settle()


def test_durable_messages_are_still_there(life):
    """settlement.md, Towards the publisher: accepted only when the message is safe."""
    life.connect().sender("q").send(*[str(n) for n in range(100)])
    conn = life.restart()
    assert [m.body for m in conn.receiver("q").receive(100)] == [str(n) for n in range(100)]
    life.client.close()


def test_a_large_message_is_still_there(life):
    """architecture.md, Durability: a message's body survives whatever its size."""
    body = bytes(range(256)) * 12_000
    life.connect().sender("q").send(text(body))
    conn = life.restart()
    assert conn.receiver("q").receive().body == body
    life.client.close()


def test_delivery_counts_are_right(life):
    """settlement.md, Two counters: delivery-count must be right after kill -9; failures confirmed in second mode."""
    conn = life.connect()
    conn.sender("many-attempts").send("often")
    receiver = conn.receiver("many-attempts", options=SECOND)
    for attempt in range(3):
        got = receiver.receive()
        assert got.count == attempt
        got.prepare_modify(failed=True, annotations={"x-opt-attempt": attempt})
        settle_surely(life.client, got, Delivery.MODIFIED)
    conn = life.restart()
    got = conn.receiver("many-attempts").receive()
    assert got.count == 3
    assert got.annotations["x-opt-attempt"] == 2, "merged annotations survive restarts"
    assert got.annotations["x-opt-acquired-count"] >= 3
    life.client.close()


def test_what_was_settled_stays_settled(life):
    """settlement.md: ACCEPTED removes the message, durably, then confirms."""
    conn = life.connect()
    conn.sender("q").send("done", "open")
    got = conn.receiver("q", options=SECOND).receive()
    assert got.body == "done"
    settle_surely(life.client, got, Delivery.ACCEPTED)
    conn = life.restart()
    assert [m.body for m in conn.receiver("q").drain(10)] == ["open"]
    life.client.close()


def test_dead_letters_stay_dead(life):
    """settlement.md, The dead-letter tree: a message is in exactly one of the two, whatever fails in between."""
    conn = life.connect()
    conn.sender("q").send("bad", "good")
    got = conn.receiver("q", options=SECOND).receive()
    got.prepare_reject("app:bad", "typo")
    settle_surely(life.client, got, Delivery.REJECTED)
    conn = life.restart()
    assert [m.body for m in conn.receiver("q").drain(10)] == ["good"]
    letter = conn.receiver("q/$deadletter").receive()
    assert letter.body == "bad"
    assert letter.annotations["x-opt-dl-description"] == "typo"
    assert list(letter.instructions["rejected"].value)[:2] == ["app:bad", "typo"]
    life.client.close()


def test_order_is_kept(life):
    """architecture.md: FIFO, also across a restart, and new messages come after the old ones."""
    life.connect().sender("q").send("1", "2")
    conn = life.restart()
    conn.sender("q").send("3")
    assert [m.body for m in conn.receiver("q").receive(3)] == ["1", "2", "3"]
    life.client.close()


def test_unsettled_deliveries_come_back(start_broker):
    """settlement.md: delivery may run ahead of the commit; what was not settled is delivered again."""
    broker = start_broker()
    client = Client(broker.url)
    conn = client.connect()
    conn.sender("q").send("1", "2")
    conn.receiver("q").receive(2)
    broker.kill()
    client.close()
    broker.start()
    client = Client(broker.url)
    assert sorted(m.body for m in client.connect().receiver("q").receive(2)) == ["1", "2"]
    client.close()


def test_non_durable_messages_are_kept_over_a_clean_restart(start_broker):
    """settlement.md, Towards the publisher: a non-durable message is kept over a clean restart."""
    life = Life(start_broker(), "terminate")
    life.connect().sender("q").send(Message(body="light"), text("heavy"))
    conn = life.restart()
    assert [m.body for m in conn.receiver("q").receive(2)] == ["light", "heavy"]
    life.client.close()


def test_connections_are_closed_at_a_clean_stop(start_broker):
    """Part 2.8.16: amqp:connection:forced: an operator intervened to close the connection."""
    broker = start_broker()
    client = Client(broker.url)
    conn = client.connect()
    conn.receiver("q", credit=1)
    broker.ask_to_stop()
    client.wait(lambda: conn.remotely_closed, "the broker's close")
    assert conn.conn.remote_condition.name == "amqp:connection:forced"
    client.close()
    assert broker.wait_end() == 0


def test_a_client_that_does_not_answer_does_not_hold_up_the_stop(start_broker):
    """issue: SIGTERM drains and stops cleanly, whatever clients do."""
    broker = start_broker()
    client = Client(broker.url)
    conn = client.connect()
    conn.sender("q").send("x")
    assert broker.terminate() == 0, "the client above does not process a single event meanwhile"
    client.close()


def test_many_restarts(start_broker):
    """architecture.md, Durability: after a restart a new segment begins; nothing is lost on the way."""
    broker = start_broker()
    for round_number in range(5):
        client = Client(broker.url)
        client.connect().sender("q").send(str(round_number))
        client.close()
        broker.kill() if round_number % 2 else broker.terminate()
        broker.start()
    client = Client(broker.url)
    assert [m.body for m in client.connect().receiver("q").receive(5)] == list("01234")
    client.close()


def test_a_consumer_and_a_publisher_in_the_middle_of_it(start_broker):
    """settlement.md, Towards the publisher: what was accepted before kill -9 is there; what was accepted by a
    consumer in second mode is gone; nothing is there twice."""
    broker = start_broker()
    client = Client(broker.url)
    conn = client.connect()
    sender, receiver = conn.sender("q"), conn.receiver("q", credit=500, options=SECOND)
    pending = [sender.push(text(str(n))) for n in range(200)]
    client.wait(lambda: len(receiver.inbox) >= 50, "some of the messages")
    for got in receiver.inbox[:50]:
        got.update(Delivery.ACCEPTED)
    client.wait(lambda: sum(got.delivery.settled for got in receiver.inbox) >= 10, "some settled replies")
    done = {got.body for got in receiver.inbox if got.delivery.settled}
    tried = {got.body for got in receiver.inbox[:50]}
    accepted = {str(n) for n, delivery in enumerate(pending) if delivery.remote_state == Delivery.ACCEPTED}
    broker.kill()
    client.close()
    broker.start()
    client = Client(broker.url)
    left = [m.body for m in client.connect().receiver("q").drain(1000)]
    assert len(left) == len(set(left)), "a message twice"
    assert not done & set(left), "confirmed as settled, and back again"
    assert accepted - tried <= set(left), "accepted, and lost"
    client.close()
