"""The NACK policy: what a failure says of its cause decides what becomes of the message."""

import time

import pytest
from proton import symbol

from broker import Broker


def because(condition, description=None, **more):
    """The message-annotations in which `modified` says why."""
    why = {"x-opt-error-condition": symbol(condition), **more}
    if description:
        why["x-opt-error-description"] = description
    return why


def test_a_parsing_error_is_not_transient_even_when_it_comes_as_failed(conn, queue):
    """settlement.md, NACK policy: shipped default: parse and validation errors are permanent."""
    conditions = ["amqp:decode-error", "amqp:invalid-field", "app:ParseError", "app:validation-failed"]
    conn.sender(queue).send(*conditions)
    receiver = conn.receiver(queue, credit=len(conditions))
    for message in receiver.receive(len(conditions)):
        message.modify(failed=True, annotations=because(message.body, "line 3"))
    letters = conn.receiver(queue + "/$deadletter").receive(len(conditions))
    assert receiver.drain(10) == []
    for letter, condition in zip(letters, conditions):
        marks = letter.annotations
        assert marks["x-opt-dl-reason"] == "policy"
        assert marks["x-opt-dl-condition"] == condition
        assert marks["x-opt-dl-description"] == "line 3"
        assert marks["x-opt-dl-attempts"] == 1
        assert not [key for key in marks if key.startswith("x-opt-error-")], "said of the attempt, not the message"
        assert "rejected" not in letter.instructions, "nobody rejected it"


def test_the_first_rule_that_matches_decides(conn):
    """config rules, delays: a timeout is retried after the named delay, and at the third attempt given up."""
    conn.sender("ruled").send("slow")
    receiver = conn.receiver("ruled")
    for attempt in range(3):
        got = receiver.receive()
        assert got.count == attempt
        failed_at = time.monotonic()
        got.modify(failed=True, annotations=because("db:Timeout"))
        if attempt < 2:
            receiver.inbox = [receiver.receive()]
            # 300 ms less 20 % of jitter; the first retry would be at once without the rule.
            assert time.monotonic() - failed_at >= 0.23
    letter = conn.receiver("ruled/$deadletter").receive()
    assert (letter.annotations["x-opt-dl-reason"], letter.annotations["x-opt-dl-attempts"]) == ("policy", 3)
    letter.accept()


def test_a_rule_may_retry_what_was_rejected_if_it_says_so(conn):
    """config rules: outcome = "rejected" with action = "retry"; any other rejection is final."""
    conn.sender("ruled").send("busy")
    receiver = conn.receiver("ruled")
    receiver.receive().reject("app:busy")
    again = receiver.receive()
    assert (again.body, again.count) == ("busy", 1)
    again.reject("app:broken")
    letter = conn.receiver("ruled/$deadletter").receive()
    assert letter.annotations["x-opt-dl-reason"] == "rejected"
    assert letter.instructions["rejected"].value[0] == "app:broken"
    letter.accept()


def test_a_rule_may_ask_for_an_annotation(conn):
    """config rules: annotation = "NAME=VALUE"; the annotation is the message's from then on, as all are."""
    conn.sender("ruled").send("x")
    conn.receiver("ruled").receive().modify(failed=True, annotations={"x-final": True})
    letter = conn.receiver("ruled/$deadletter").receive()
    assert letter.annotations["x-opt-dl-reason"] == "policy"
    assert letter.annotations["x-final"] is True
    letter.accept()


def test_a_storm_pauses_delivery_and_a_consumer_that_is_well_gets_all(conn, queue):
    """settlement.md, retry-storm breaker: delivery pauses, then probes; told in flows whose properties proton passes over."""
    conn.sender(queue).send(*[f"m{n}" for n in range(30)])
    receiver = conn.receiver(queue, credit=20)
    for message in receiver.receive(20):
        message.fail()
    opened_at = time.monotonic()
    got = []
    while len(got) < 30:
        message = receiver.receive()
        if not got:
            assert time.monotonic() - opened_at >= 0.9, "the pause is a second"
        message.accept()
        got.append(message.body)
    assert sorted(got) == sorted(f"m{n}" for n in range(30))
    assert receiver.drain(10) == []


@pytest.mark.own_broker
def test_a_bad_rule_is_named_and_the_broker_does_not_start(tmp_path):
    """issue: bad rules are configuration errors that name the rule."""
    rule = '{ name = "my rule", condition = "x", action = "retry", delay = "slwo" }'
    broker = Broker(tmp_path, f'[queue-defaults]\ndelays = {{ slow = "1s" }}\nrules = [{rule}]\n')
    with pytest.raises(AssertionError, match="exit code"):
        broker.start()
    assert 'rules "my rule".delay = "slwo": expected the name of one of `delays`: "slow"' in broker.log_tail()
