"""Attaching: settle modes, refusals that stay on their link, filters, names."""

import pytest
from proton import UNDESCRIBED, Array, Data, Delivery, Described, symbol
from proton.reactor import AtMostOnce, Filter

from client import PRESETTLED, SECOND, Outcomes, null_source, text


def test_an_unknown_outcome_is_refused_on_the_link(conn, queue):
    """settlement.md, Attach: unknown outcome: attach with a null source, then detach with amqp:not-implemented,
    description "Required Settlement Outcome Not Supported", info {unsupported: [...]}. Never the session."""
    refused = conn.receiver(queue, options=Outcomes("amqp:accepted:list", "example:maybe:list"), wait=False)
    refused.wait_closed()
    assert null_source(refused)
    condition = refused.link.remote_condition
    assert condition.name == "amqp:not-implemented"
    assert condition.description == "Required Settlement Outcome Not Supported"
    assert list(condition.info["unsupported"]) == ["example:maybe:list"]
    conn.sender(queue).send("still here")
    assert conn.receiver(queue).receive().body == "still here"


def test_only_the_outcomes_asked_for_are_in_force(conn, queue):
    """settlement.md, Attach: source.outcomes present: exactly those are in force, and the reply says so."""
    receiver = conn.receiver(queue, options=Outcomes("amqp:accepted:list", "amqp:released:list"))
    data = receiver.link.remote_source.outcomes
    data.rewind()
    assert data.next() is not None
    assert set(data.get_object()) == {"amqp:accepted:list", "amqp:released:list"}


def test_an_unknown_filter_is_not_echoed(conn, queue):
    """Part 3.5.3: the source's filter in the reply is what is really in place; what is not supported is left out."""
    conn.sender(queue).send("all of them")
    receiver = conn.receiver(queue, options=Filter({symbol("odd"): Described(symbol("example:odd-filter:list"), "x")}))
    data = receiver.link.remote_source.filter
    data.rewind()
    in_place = data.get_object() if data.next() is not None else None
    assert not in_place
    assert receiver.receive().body == "all of them"


def test_at_most_once_consumer(conn, queue):
    """Part 2.6.12: snd-settle-mode settled: the broker sends settled, the message is gone."""
    conn.sender(queue).send("1", "2")
    receiver = conn.receiver(queue, options=AtMostOnce())
    got = receiver.receive(2)
    assert [(m.body, m.presettled) for m in got] == [("1", True), ("2", True)]
    receiver.close()
    assert conn.receiver(queue).drain(10) == []


def test_presettled_sender(conn, queue):
    """Part 2.6.12: transfers sent settled need no answer, and are queued as all others."""
    sender = conn.sender(queue, options=PRESETTLED)
    for n in range(10):
        sender.push(text(str(n)), presettled=True)
    got = conn.receiver(queue, credit=10).receive(10)
    assert [m.body for m in got] == [str(n) for n in range(10)]


def test_mixed_sender(conn, queue):
    """Part 2.8.2: snd-settle-mode mixed: each transfer says for itself whether it is settled."""
    sender = conn.sender(queue)
    sender.push(text("1"), presettled=True)
    assert sender.outcome(sender.push(text("2"))) == Delivery.ACCEPTED
    assert [m.body for m in conn.receiver(queue).receive(2)] == ["1", "2"]


def test_second_mode_is_answered_with_second(conn, queue):
    """settlement.md, Lost NACKs: rcv-settle-mode=second is honoured, and the attach says that it will be."""
    receiver = conn.receiver(queue, options=SECOND)
    assert receiver.link.remote_rcv_settle_mode == receiver.link.RCV_SECOND


def test_one_name_in_both_directions(conn, queue):
    """Part 2.6.1: a link is named by its containers and its direction: the same name may go both ways."""
    sender = conn.sender(queue, name="twin")
    receiver = conn.receiver(queue, name="twin")
    sender.send("x")
    got = receiver.receive()
    assert got.body == "x"
    got.accept()
    sender.close()
    conn.sender(queue).send("y")
    assert receiver.receive().body == "y", "closing the one leaves the other"


def test_attach_and_detach_many_times(conn, queue):
    """Part 2.6.3: handles and names are free again after a detach."""
    for n in range(100):
        sender = conn.sender(queue, name="again")
        sender.send(str(n))
        sender.close()
    assert len(conn.receiver(queue).drain(200)) == 100


def test_the_address_is_echoed_verbatim(conn, queue):
    """architecture.md, Addresses: the address is echoed verbatim."""
    for address in (queue, f"queue://{queue}", queue + "/$deadletter"):
        assert conn.receiver(address).address == address
    assert conn.sender(queue).link.remote_target.address == queue


def test_a_queue_prefix_names_the_same_queue(conn, queue):
    """architecture.md, Addresses: queue://x chooses the kind; it is the queue x."""
    conn.sender(f"queue://{queue}").send("x")
    assert conn.receiver(queue).receive().body == "x"


def test_a_link_without_any_address_is_refused_on_the_link(conn, queue):
    """Part 2.6.3: a source that cannot be had: attach with a null source, then detach. The connection goes on."""
    refused = conn.receiver(None, wait=False)
    refused.wait_closed()
    assert null_source(refused)
    assert refused.condition is not None
    conn.sender(queue).send("still here")


@pytest.mark.parametrize("capability", ["queue", [symbol("queue")]], ids=["one", "array"])
def test_capabilities_come_as_one_symbol_or_an_array(conn, queue, capability):
    """Part 1.1 (multiple): a field with multiple=true may be one value or an array of them."""

    class Capability:
        def test(self, link):
            return True

        def apply(self, link):
            value = symbol(capability) if isinstance(capability, str) else Array(UNDESCRIBED, Data.SYMBOL, *capability)
            link.target.capabilities.put_object(value)

    conn.sender(queue, options=Capability()).send("x")


def test_a_message_size_limit_is_announced(conn, queue):
    """Part 2.7.3: max-message-size: what the broker takes on this link, 64 MiB unless configured."""
    assert conn.sender(queue).link.remote_max_message_size == 64 * 1024 * 1024
