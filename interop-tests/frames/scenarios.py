"""What each call of each client library sends, and what becomes of the message: the table that docs/settlement.md
shows to users.

Invariant: every expectation here was captured, never derived; a client that changes its ways in a new version fails
here first, and then the guide is changed. Deliberately has no scenario that needs two consumers or a second
connection: those are in `../proton`.
"""

from typing import NamedTuple

GONE = "gone"


class Scenario(NamedTuple):
    """One call (`client/verb`), told as users write it."""

    client: str
    verb: str
    call: str
    sends: tuple  # dispositions, as `capture` shows them
    becomes: tuple  # for each message; a tuple of texts where it is a matter of timing
    attach: str | None = None  # None: as all of this client's links
    credit: int | None = None
    ending: str | None = None  # what ends the connection; None: not looked at
    message: dict = {}  # fields of the messages on the queue
    published: bool = True  # False: the client's program sends the message itself
    fails: str | None = None  # what the client library says where the call fails

    @property
    def name(self):
        return f"{self.client}/{self.verb}"


def queue(failed, also=""):
    """Back in the queue, with so many failed attempts."""
    return f"queue, delivery-count {failed}{also}"


def dead(reason, failed, also=""):
    """In the dead-letter tree."""
    return f"dead: {reason}, delivery-count {failed}{also}"


ERROR = 'error(condition=app:bad, description="no such customer", info={field: "customer"})'
# The keys of `info` should be symbols (part 2.8.14); two libraries send strings, which Verdict takes all the same.
ERROR_OF_STRINGS = ERROR.replace("{field", '{"field"')
ERROR_KEPT = ", condition app:bad, description no such customer"
REASON = 'x-opt-error-condition: app:parse-error, x-opt-error-description: "line 3: expected a number"'
REASON_TEXTS = REASON.replace("app:parse-error", '"app:parse-error"')
REASON_KEPT = ", condition app:parse-error, description line 3: expected a number"
FAILED = "modified(delivery-failed=true)"
UNDELIVERABLE = "modified(delivery-failed=true, undeliverable-here=true)"


def settled(*states):
    """Each state on a delivery of its own, settled."""
    return tuple(f"{i} settled {state}" for i, state in enumerate(states))


def failed_with(annotations, rest=""):
    return settled(f"modified(delivery-failed=true{rest}, message-annotations={{{annotations}}})")


def proton():
    def row(verb, call, sends, becomes, **more):
        return Scenario("proton", verb, call, sends, becomes, **more)

    no, yes = ", undeliverable-here=false", ", undeliverable-here=true"
    merely = settled(f"modified(delivery-failed=false{no})")
    second = "snd mixed, rcv second, default-outcome -, outcomes -"
    update = "`delivery.update(Delivery.MODIFIED)`, `delivery.settle()`"
    return [
        row("accept", "`self.accept(delivery)`", settled("accepted"), (GONE,)),
        row("reject", "`self.reject(delivery)`", settled("rejected"), (dead("rejected", 1),)),
        row("reject-error", "`delivery.local.condition = Condition(…)`, `self.reject(delivery)`",
            settled(f"rejected(error={ERROR})"), (dead("rejected", 1, ERROR_KEPT),)),
        row("release", "`self.release(delivery)`", merely, (queue(0),)),
        row("release-undelivered", "`self.release(delivery, delivered=False)`", settled("released"), (queue(0),)),
        row("modified", update, merely, (queue(0),)),
        row("failed", f"`delivery.local.failed = True`, {update}", settled(f"modified(delivery-failed=true{no})"),
            (queue(1),)),
        row("failed-undeliverable", f"`local.failed = True`, `local.undeliverable = True`, {update}",
            settled(f"modified(delivery-failed=true{yes})"), (queue(1),)),
        row("annotations", f"`local.failed = True`, `local.annotations = {{symbol('x-note'): 'slow'}}`, {update}",
            failed_with('x-note: "slow"', no), (queue(1, ", x-note slow"),)),
        row("reason", "the same with `x-opt-error-condition` and `x-opt-error-description`", failed_with(REASON, no),
            (dead("policy", 1, REASON_KEPT),)),
        row("delay", "the same with `x-opt-delivery-delay`", failed_with("x-opt-delivery-delay: 300", no),
            (queue(1),)),
        row("settle", "`self.settle(delivery)`", settled("(no state)"), (queue(0),)),
        row("auto-accept", "`auto_accept=True` (the default), handler returns", settled("accepted"), (GONE,)),
        row("auto-accept-raise", "`auto_accept=True`, handler raises any other exception", (), (queue(1),), ending=""),
        row("auto-accept-raise-reject", "`auto_accept=True`, handler raises `proton.handlers.Reject`",
            settled("rejected"), (dead("rejected", 1),)),
        row("auto-accept-raise-release", "`auto_accept=True`, handler raises `proton.handlers.Release`", merely,
            (queue(0),)),
        row("second-accept", "rcv-settle-mode second, `self.accept(delivery)`", settled("accepted"), (GONE,),
            attach=second),
        row("second-update", "rcv-settle-mode second, `delivery.update(Delivery.ACCEPTED)`, `settle()` in `on_settled`",
            ("0 unsettled accepted",), (GONE,), attach=second),
        row("close-link", "`link.close()`, message unsettled", (), (queue(0),), ending="detach close"),
        row("close", "`connection.close()`, message unsettled", (), (queue(0),), ending="close"),
        row("drop", "process ends, two messages unsettled", (), (queue(1), queue(0)), ending=""),
    ]


def proton_blocking():
    def row(verb, call, sends, becomes, **more):
        return Scenario("proton-blocking", verb, call, sends, becomes, **more)

    merely = "modified(delivery-failed=false, undeliverable-here=false)"
    return [
        row("accept", "`receiver.accept()`", settled("accepted"), (GONE,)),
        row("reject", "`receiver.reject()`", settled("rejected"), (dead("rejected", 1),)),
        row("release", "`receiver.release()`", settled(merely), (queue(0),)),
        row("release-undelivered", "`receiver.release(delivered=False)`", settled("released"), (queue(0),)),
        row("failed", "`receiver.fetcher.unsettled[0].local.failed = True`, `receiver.settle(Delivery.MODIFIED)`",
            settled("modified(delivery-failed=true, undeliverable-here=false)"), (queue(1),)),
        row("settle", "`receiver.settle()`", settled("(no state)"), (queue(0),)),
        row("close-link", "`receiver.close()`, message unsettled", (), (queue(0),), ending="detach close"),
        row("close", "`connection.close()`, message unsettled", (), (queue(0),), ending="close"),
        row("drop", "process ends, message unsettled", (), (queue(1),), ending=""),
    ]


def fe2o3():
    def row(verb, call, sends, becomes, **more):
        return Scenario("fe2o3", verb, call, sends, becomes, **more)

    second = "snd -, rcv second, default-outcome -, outcomes -"
    return [
        row("accept", "`receiver.accept(&delivery)`", settled("accepted"), (GONE,)),
        row("reject", "`receiver.reject(&delivery, None)`", settled("rejected"), (dead("rejected", 1),)),
        row("reject-error", "`receiver.reject(&delivery, error)`", settled(f"rejected(error={ERROR})"),
            (dead("rejected", 1, ERROR_KEPT),)),
        row("release", "`receiver.release(&delivery)`", settled("released"), (queue(0),)),
        row("modified", "`receiver.modify(&delivery, modified)`, all fields `None`", settled("modified"), (queue(0),)),
        row("failed", "`modify` with `delivery_failed: Some(true)`", settled(FAILED), (queue(1),)),
        row("failed-undeliverable", "`modify` with `undeliverable_here: Some(true)` too", settled(UNDELIVERABLE),
            (queue(1),)),
        row("annotations", "`modify` with `delivery_failed` and `message_annotations`", failed_with('x-note: "slow"'),
            (queue(1, ", x-note slow"),)),
        row("reason", "the same with `x-opt-error-condition` and `x-opt-error-description`", failed_with(REASON),
            (dead("policy", 1, REASON_KEPT),)),
        row("delay", "the same with `x-opt-delivery-delay`", failed_with("x-opt-delivery-delay: 300"), (queue(1),)),
        row("auto-accept", "`.auto_accept(true)`, `recv()` returns", settled("accepted"), (GONE,)),
        row("second-accept", "`ReceiverSettleMode::Second`, `accept`", ("0 unsettled accepted",), (GONE,),
            attach=second),
        row("second-failed", "`ReceiverSettleMode::Second`, `modify`", (f"0 unsettled {FAILED}",), (queue(1),),
            attach=second),
        row("close-link", "`receiver.close()`, message unsettled", (), (queue(0),), ending="detach end close"),
        row("close", "`connection.close()`, message unsettled", (), (queue(0),), ending="close"),
        row("drop", "process ends, message unsettled", (), (queue(1),), ending=""),
    ]


def rhea():
    def row(verb, call, sends, becomes, **more):
        return Scenario("rhea", verb, call, sends, becomes, **more)

    return [
        row("accept", "`delivery.accept()`", settled("accepted"), (GONE,)),
        row("reject", "`delivery.reject()`", settled("rejected"), (dead("rejected", 1),)),
        row("reject-error", "`delivery.reject({condition, description, info})`", settled(f"rejected(error={ERROR_OF_STRINGS})"),
            (dead("rejected", 1, ERROR_KEPT),)),
        row("release", "`delivery.release()`", settled("released"), (queue(0),)),
        row("release-params", "`delivery.release({delivery_failed: true, undeliverable_here: true})`",
            settled(UNDELIVERABLE), (queue(1),)),
        row("modified", "`delivery.modified()`", settled("modified"), (queue(0),)),
        row("failed", "`delivery.modified({delivery_failed: true})`", settled(FAILED), (queue(1),)),
        row("failed-undeliverable", "`delivery.modified({delivery_failed: true, undeliverable_here: true})`",
            settled(UNDELIVERABLE), (queue(1),)),
        row("annotations", "`delivery.modified({delivery_failed: true, message_annotations: {'x-note': 'slow'}})`",
            failed_with('x-note: "slow"'), (queue(1, ", x-note slow"),)),
        row("reason", "the same with `x-opt-error-condition` and `x-opt-error-description`",
            failed_with(REASON_TEXTS), (dead("policy", 1, REASON_KEPT),)),
        row("delay", "the same with `x-opt-delivery-delay`", failed_with("x-opt-delivery-delay: 300"), (queue(1),)),
        row("settle", "`delivery.update(true)`", settled("(no state)"), (queue(0),)),
        row("auto-accept", "`autoaccept` (the default), handler returns", settled("accepted"), (GONE,)),
        row("auto-accept-reject", "`autoaccept`, handler calls `delivery.reject(error)`",
            (f"0 settled rejected(error={ERROR_OF_STRINGS})",) * 2, (dead("rejected", 1, ERROR_KEPT),)),
        row("auto-accept-reject-later", "`autoaccept`, `delivery.reject(error)` after the handler returned",
            ("0 settled accepted", f"0 settled rejected(error={ERROR_OF_STRINGS})"), (GONE,)),
        row("auto-accept-throw", "`autoaccept`, handler throws, which ends the process", (), (queue(1),), ending=""),
        row("second-accept", "`rcv_settle_mode: 1`, `delivery.accept()`", ("0 unsettled accepted",), (GONE,),
            attach="snd -, rcv second, default-outcome -, outcomes -"),
        row("close-link", "`receiver.close()`, message unsettled", (), (queue(0),), ending="detach close"),
        row("close", "`connection.close()`, message unsettled", (), (queue(0),), ending="close"),
        row("drop", "process ends, message unsettled", (), (queue(1),), ending=""),
    ]


def go_amqp():
    def row(verb, call, sends, becomes, **more):
        return Scenario("go-amqp", verb, call, sends, becomes, **more)

    second = "snd -, rcv second, default-outcome -, outcomes -"
    return [
        row("accept", "`AcceptMessage(ctx, m)`", settled("accepted"), (GONE,)),
        row("reject", "`RejectMessage(ctx, m, nil)`", settled("rejected"), (dead("rejected", 1),)),
        row("reject-error", "`RejectMessage(ctx, m, &amqp.Error{…})`", settled(f"rejected(error={ERROR_OF_STRINGS})"),
            (dead("rejected", 1, ERROR_KEPT),)),
        row("release", "`ReleaseMessage(ctx, m)`", settled("released"), (queue(0),)),
        row("modified", "`ModifyMessage(ctx, m, nil)`", settled("modified"), (queue(0),)),
        row("failed", "`ModifyMessage` with `DeliveryFailed: true`", settled(FAILED), (queue(1),)),
        row("failed-undeliverable", "`ModifyMessage` with `UndeliverableHere: true` too", settled(UNDELIVERABLE),
            (queue(1),)),
        row("annotations", "`ModifyMessage` with `DeliveryFailed` and `Annotations`", failed_with('x-note: "slow"'),
            (queue(1, ", x-note slow"),)),
        row("reason", "the same with `x-opt-error-condition` and `x-opt-error-description`",
            failed_with(REASON_TEXTS), (dead("policy", 1, REASON_KEPT),)),
        row("delay", "the same with `x-opt-delivery-delay`", failed_with("x-opt-delivery-delay: 300"), (queue(1),)),
        row("second-accept", "`ReceiverSettleModeSecond`, `AcceptMessage`", ("0 unsettled accepted",), (GONE,),
            attach=second),
        row("second-release", "`ReceiverSettleModeSecond`, `ReleaseMessage`", ("0 unsettled released",), (queue(0),),
            attach=second),
        row("second-failed", "`ReceiverSettleModeSecond`, `ModifyMessage`", (f"0 unsettled {FAILED}",), (queue(1),),
            attach=second),
        row("close-link", "`receiver.Close(ctx)`, message unsettled", (), (queue(0),), ending="detach close"),
        row("close", "`connection.Close()`, message unsettled", (), (queue(0),), ending="close"),
        row("drop", "process ends, message unsettled", (), (queue(1),), ending=""),
    ]
