"""Selectors (`apache.org:selector-filter:string`): consuming and browsing a queue and its dead letters."""

import pytest
from proton import Described, symbol, ulong
from proton.reactor import Copy, Filter, Selector

from client import null_source, text

NAME = symbol("apache.org:selector-filter:string")
CODE = ulong(0x0000468C00000004)


def dead(queue):
    return queue + "/$deadletter"


def bodies(received):
    return [incoming.body for incoming in received]


def parcels(conn, queue):
    """Four messages: red 1, blue 2, red 3, and one without a colour."""
    sender = conn.sender(queue)
    for weight, colour in enumerate(["red", "blue", "red", None], 1):
        message = text(f"{colour} {weight}")
        message.properties = {"weight": weight} | ({"colour": colour} if colour else {})
        message.subject = "parcel"
        message.id = f"ID:{weight}"
        sender.send(message)


def filters(link):
    """The filter-set of the attach reply, as a dictionary."""
    data = link.remote_source.filter
    data.rewind()
    return data.get_object() if data.next() else None


@pytest.mark.parametrize("selector, expected", [
    ("colour = 'red'", ["red 1", "red 3"]),
    ("colour <> 'red'", ["blue 2"]),
    ("colour IS NULL", ["None 4"]),
    ("weight BETWEEN 2 AND 3", ["blue 2", "red 3"]),
    ("colour LIKE 'b%' OR weight > 3", ["blue 2", "None 4"]),
    ("colour IN ('blue', 'green') AND NOT weight = 1", ["blue 2"]),
    ("JMSType = 'parcel' AND JMSMessageID = 'ID:3'", ["red 3"]),
    ("amqp.subject = 'parcel' AND weight * 2 - 1 = 1", ["red 1"]),
    ("JMSDeliveryMode = 'NON_PERSISTENT'", []),
    ("", ["red 1", "blue 2", "red 3", "None 4"]),
])
def test_consuming_takes_what_is_selected_and_leaves_the_rest(conn, queue, selector, expected):
    """Part 3.5.8: a message passes if it passes all filters; the others stay for others."""
    parcels(conn, queue)
    receiver = conn.receiver(queue, options=Selector(selector))
    got = receiver.drain(10)
    assert bodies(got) == expected
    for incoming in got:
        incoming.accept()
    assert len(conn.receiver(queue).drain(10)) == 4 - len(expected)


def test_browsing_shows_what_is_selected_and_takes_none(conn, queue):
    """Parts 3.3.2 and 3.5.8 together."""
    parcels(conn, queue)
    browser = conn.receiver(queue, options=[Copy(), Selector("colour = 'red'")])
    assert bodies(browser.drain(10)) == ["red 1", "red 3"]
    parcels(conn, queue)
    assert bodies(browser.drain(10)) == ["red 1", "red 3"]
    assert len(conn.receiver(queue).drain(10)) == 8


@pytest.mark.parametrize("descriptor", [NAME, CODE])
@pytest.mark.parametrize("key", ["jms-selector", "selector", "anything"])
def test_a_selector_is_known_by_either_descriptor_whatever_its_key(conn, queue, descriptor, key):
    """Part 1.2: a descriptor has a symbolic and a numeric form. 3.5.3: the filter in place is told."""
    parcels(conn, queue)
    wanted = {symbol(key): Described(descriptor, "weight = 2"), symbol("other"): Described(symbol("x:other:map"), {})}
    receiver = conn.receiver(queue, options=Filter(wanted))
    told = filters(receiver.link)
    assert list(told) == [key]
    assert (told[key].descriptor, told[key].value) == (descriptor, "weight = 2")
    assert bodies(receiver.drain(10)) == ["blue 2"]


def test_without_a_known_filter_none_is_told(conn, queue):
    """3.5.3: "the sending endpoint sets the filter actually in place"."""
    parcels(conn, queue)
    receiver = conn.receiver(queue, options=Filter({symbol("other"): Described(symbol("x:other:map"), {})}))
    assert filters(receiver.link) is None
    assert len(receiver.drain(10)) == 4


@pytest.mark.parametrize("wrong", ["colour =", "colour = 'red", "colour > 'red'", "1", "a b", "x LIKE y", "((a)"])
def test_a_malformed_selector_refuses_the_link_and_says_where(conn, queue, wrong):
    """A filter that cannot be put in place is not left out silently."""
    receiver = conn.receiver(queue, options=Selector(wrong), wait=False)
    receiver.wait_closed()
    assert null_source(receiver)
    assert receiver.condition == "amqp:invalid-field"
    assert "at character" in receiver.link.remote_condition.description
    conn.sender(queue).send("the connection lives")


def test_a_message_that_nobody_selects_waits_and_new_ones_are_judged(conn, queue):
    """Selecting consumers compete; what is released goes to whoever selects it."""
    reds = conn.receiver(queue, credit=10, options=Selector("colour = 'red'"))
    blues = conn.receiver(queue, credit=10, options=Selector("colour = 'blue'"))
    parcels(conn, queue)
    reds.client.wait(lambda: len(reds.inbox) == 2 and len(blues.inbox) == 1, "what each selects")
    first = reds.take_all()[0]
    first.release()
    again = reds.receive()
    assert (again.body, again.annotations["x-opt-acquired-count"]) == ("red 1", 1)
    assert bodies(conn.receiver(queue).drain(10)) == ["None 4"]


def test_merged_annotations_are_selected_by(conn, queue):
    """settlement.md: annotations of modified are merged into the message's, and a selector sees them."""
    parcels(conn, queue)
    marked = conn.receiver(queue, credit=10, options=Selector("x-opt-mine = 'yes' AND m.x-opt-mine LIKE 'y%'"))
    other = conn.receiver(queue).receive()
    assert marked.inbox == []
    other.modify(annotations={"x-opt-mine": "yes"})
    assert marked.receive().body == "red 1"


def bury(conn, queue):
    """Dead letters: 'ill 0' rejected at once, 'ill 1' rejected at its second attempt, 'weak' failed too often."""
    sender, receiver = conn.sender(queue), conn.receiver(queue)
    sender.send("ill 0")
    receiver.receive().reject("app:bad-date", "no such day")
    sender.send("ill 1")
    receiver.receive().fail()
    receiver.receive().reject("app:bad-name")
    sender.send("weak")
    for _ in range(3):
        receiver.receive().fail()
    receiver.close()


def test_dead_letters_are_browsed_and_consumed_by_their_annotations(conn):
    """settlement.md, The dead-letter tree: an ordinary consumer can browse or consume it, with selectors."""
    queue = "three-attempts"
    bury(conn, queue)
    for selector, expected in [
        ("x-opt-dl-reason = 'rejected' AND x-opt-dl-attempts > 1", ["ill 1"]),
        ("x-opt-dl-reason = 'max-attempts'", ["weak"]),
        ("x-opt-dl-condition LIKE 'app:%'", ["ill 0", "ill 1"]),
        ("\"m.x-opt-dl-condition\" = 'app:bad-date' AND x-opt-dl-description LIKE '%day'", ["ill 0"]),
        ("x-opt-dl-time > 1700000000000 AND x-first-death-reason <> 'rejected'", ["weak"]),
        ("x-opt-dl-attempts IN (1, 3)", ["ill 0", "weak"]),
    ]:
        browser = conn.receiver(dead(queue), options=[Copy(), Selector(selector)])
        assert bodies(browser.drain(10)) == expected, selector
        consumer = conn.receiver(dead(queue), options=Selector(selector))
        assert bodies(consumer.drain(10)) == expected, selector
        consumer.close()
    rejected = "x-opt-dl-reason = 'rejected' AND x-opt-dl-attempts > 1"
    conn.receiver(dead(queue), options=Selector(rejected)).receive().accept()
    rest = conn.receiver(dead(queue)).drain(10)
    assert bodies(rest) == ["ill 0", "weak"]
    for incoming in rest:
        incoming.accept()


def test_a_needle_in_a_long_queue_is_found_and_nobody_waits_for_the_search(conn, queue):
    """The search goes on in turns: another link is served at once, and a drain is answered when all was judged."""
    sender = conn.sender(queue)
    sender.send(*["hay"] * 5000)
    needle = text("needle")
    needle.properties = {"sharp": True}
    sender.send(needle)
    assert bodies(conn.receiver(queue, options=Selector("sharp")).drain(3)) == ["needle"]
    assert conn.receiver(queue, options=[Copy(), Selector("sharp AND FALSE")]).drain(3) == []
