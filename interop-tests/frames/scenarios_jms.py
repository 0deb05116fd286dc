"""The scenarios of Qpid JMS, where what is sent depends on the session's mode and the connection's options.

Those with `prefetch 0` give the message back while the consumer has no credit left: what is given back comes again at
once, and the connection's close would be the next attempt (`default-outcome`).
"""

from scenarios import FAILED, GONE, UNDELIVERABLE, Scenario, dead, queue, settled

PRESETTLED = ("snd settled, rcv first, default-outcome modified(delivery-failed=true), "
              "outcomes accepted rejected released modified")
TYPE = "`setIntProperty(\"JMS_AMQP_ACK_TYPE\", {})`, `acknowledge()`"
POLICY = "`jms.redeliveryPolicy.maxRedeliveries=2`"


def row(verb, call, sends, becomes, **more):
    return Scenario("qpid-jms", verb, call, sends, becomes, **more)


def pulled(verb, call, sends, becomes, **more):
    """With a prefetch of 0."""
    return row(verb, f"{call} (prefetch 0)", sends, becomes, credit=1, **more)


ROWS = [
    row("auto", "AUTO_ACKNOWLEDGE, `receive()` returns", settled("accepted"), (GONE,)),
    row("auto-prefetched", "AUTO_ACKNOWLEDGE, `receive()` one of two, `connection.close()`", settled("accepted"),
        (GONE, queue(1)), ending="close"),
    row("auto-listener-throws", "AUTO_ACKNOWLEDGE, listener throws once, then returns", settled("released", "accepted"),
        (GONE,)),
    row("auto-listener-recovers", "AUTO_ACKNOWLEDGE, listener calls `session.recover()` once, then returns",
        settled("accepted"), (GONE,)),
    row("auto-expired", "AUTO_ACKNOWLEDGE, `receive()` after the prefetched message expired", settled(UNDELIVERABLE),
        (dead("expired", 1),), published=False),
    row("dups-ok", "DUPS_OK_ACKNOWLEDGE, `receive()` twice", settled("accepted", "accepted"), (GONE, GONE)),
    row("dups-ok-listener-throws", "DUPS_OK_ACKNOWLEDGE, listener throws once, then returns",
        settled("released", "accepted"), (GONE,)),
    row("client", "CLIENT_ACKNOWLEDGE, two received, `acknowledge()` on the second", settled("accepted", "accepted"),
        (GONE, GONE)),
    pulled("client-failed", f"CLIENT_ACKNOWLEDGE, {TYPE.format(4)}", settled(FAILED), (queue(1),)),
    row("client-listener-throws", "CLIENT_ACKNOWLEDGE, listener throws, then `connection.close()`", settled(FAILED),
        ((queue(1), queue(2)),)),
    row("client-recover", "CLIENT_ACKNOWLEDGE, `session.recover()`, received again, `acknowledge()`",
        settled("accepted"), (GONE,)),
    pulled("client-recover-close", "CLIENT_ACKNOWLEDGE, `session.recover()`, `connection.close()`", settled(FAILED),
           (queue(1),)),
    row("client-recover-policy", f"CLIENT_ACKNOWLEDGE, {POLICY}, outcome REJECTED, `session.recover()` three times",
        settled("rejected"), (dead("rejected", 1),)),
    pulled("client-close", "CLIENT_ACKNOWLEDGE, `connection.close()` without `acknowledge()`", settled(FAILED),
           (queue(1),), ending="close"),
    pulled("client-close-session", "CLIENT_ACKNOWLEDGE, `session.close()` without `acknowledge()`", settled(FAILED),
           (queue(1),), ending="end close"),
    pulled("client-close-consumer", "CLIENT_ACKNOWLEDGE, `consumer.close()` without `acknowledge()`", settled(FAILED),
           (queue(1),), ending="detach close"),
    row("client-drop", "CLIENT_ACKNOWLEDGE, process ends", (), (queue(1),), ending=""),
    row("individual", "mode 101, two received, `acknowledge()` on the second, `connection.close()`",
        ("1 settled accepted",), (queue(1), GONE)),
    row("individual-accepted", f"mode 101, {TYPE.format(1)}", settled("accepted"), (GONE,)),
    row("individual-rejected", f"mode 101, {TYPE.format(2)}", settled("rejected"), (dead("rejected", 1),)),
    pulled("individual-released", f"mode 101, {TYPE.format(3)}", settled("released"), (queue(0),)),
    pulled("individual-failed", f"mode 101, {TYPE.format(4)}", settled(FAILED), (queue(1),)),
    pulled("individual-failed-undeliverable", f"mode 101, {TYPE.format(5)}", settled(UNDELIVERABLE), (queue(1),)),
    pulled("individual-recover-close", "mode 101, `session.recover()`, `connection.close()`", (), (queue(1),)),
    row("none", "mode 257, `receive()` returns", (), (GONE,), attach=PRESETTLED),
    row("redelivery-policy", f"{POLICY}, message with delivery-count 3", settled(UNDELIVERABLE), (queue(4),),
        message={"delivery_count": 3}),
    row("redelivery-policy-rejected", f"{POLICY}, outcome REJECTED, message with delivery-count 3",
        settled("rejected"), (dead("rejected", 4),), message={"delivery_count": 3}),
    row("redelivery-policy-within", f"{POLICY}, message with delivery-count 2", settled("accepted"), (GONE,),
        message={"delivery_count": 2}),
    row("transacted", "SESSION_TRANSACTED: `createSession` throws", (), (queue(0),),
        fails="transactions are not supported yet [condition = amqp:not-implemented]"),
]
