"""retry-order = "group": a failed message holds back only its own group-id."""

import pytest

from client import Client, text


@pytest.fixture
def grouped(queue):
    return "grouped." + queue


def of(*groups):
    """Messages named for their place, of these groups."""
    return [text(f"{n}{group}", group_id=group) for n, group in enumerate(groups, 1)]


def test_later_messages_of_the_group_wait_and_others_do_not(conn, grouped):
    """issue: a failed message holds back only its own group-id."""
    conn.sender(grouped).send(*of("a", "a", "b", "a", "b"))
    receiver = conn.receiver(grouped)
    receiver.receive().fail()
    others = receiver.receive(2)
    assert [message.body for message in others] == ["3b", "5b"]
    receiver.flow(10)
    again = receiver.receive()
    assert (again.body, again.count) == ("1a", 1)
    assert receiver.inbox == [], "while it is tried again, too"
    again.accept()
    assert [message.body for message in receiver.receive(2)] == ["2a", "4a"]


def test_the_group_goes_on_when_the_message_is_dead(conn, grouped):
    """config retry-order: until it is settled for good (accepted, dead-lettered, expired)."""
    conn.sender(grouped).send(*of("a", "a"))
    receiver = conn.receiver(grouped)
    receiver.receive().fail()
    receiver.receive().fail()
    assert receiver.receive().body == "2a"
    assert conn.receiver(grouped + "/$deadletter").receive().body == "1a"


def test_messages_without_a_group_do_not_wait(conn, grouped):
    """3.2.4: group-id is optional."""
    conn.sender(grouped).send("1", "2")
    receiver = conn.receiver(grouped)
    receiver.receive().fail()
    assert receiver.receive().body == "2"


def test_another_consumer_waits_as_well(conn, grouped):
    """config retry-order: nobody gets a later message of the group."""
    conn.sender(grouped).send(*of("a", "a", "b"))
    first, second = conn.receiver(grouped), conn.receiver(grouped)
    first.receive().fail()
    assert [message.body for message in second.drain(10)] == ["3b"]
    again = first.receive()
    assert again.body == "1a"
    assert second.drain(10) == []
    again.accept()
    assert second.receive().body == "2a"


def test_a_drain_is_answered_though_messages_are_held(conn, grouped):
    """2.6.7: drain uses up the credit when there is nothing to send."""
    conn.sender(grouped).send(*of("a", "a"))
    receiver = conn.receiver(grouped)
    receiver.receive().fail()
    assert receiver.drain(5) == []


@pytest.mark.own_broker
@pytest.mark.parametrize("stop", ["terminate", "kill"])
def test_a_group_is_held_after_a_restart(start_broker, stop):
    """issue: a group held before kill -9 is held after."""
    broker = start_broker()
    client = Client(broker.url)
    conn = client.connect()
    conn.sender("grouped.slow").send(*of("a", "a", "b"))
    receiver = conn.receiver("grouped.slow")
    receiver.receive().fail()
    client.turn(conn, "grouped.slow")
    conn.sender("grouped.slow").send(text("safe now"))
    client.close()
    getattr(broker, stop)()
    broker.start()
    client = Client(broker.url)
    conn = client.connect()
    receiver = conn.receiver("grouped.slow")
    order = [receiver.receive()]
    while order[-1].body != "1a":
        order.append(receiver.receive())
    assert "2a" not in [message.body for message in order]
    assert order[-1].count == 1
    receiver.flow(5)
    order[-1].accept()
    left = {"2a", "3b", "safe now"} - {message.body for message in order}
    assert {message.body for message in receiver.receive(len(left))} == left
    client.close()
