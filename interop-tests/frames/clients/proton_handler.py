"""python-qpid-proton's MessagingHandler: one call for one message, then a clean close.

usage: proton_handler.py SCENARIO URL QUEUE
"""

import os
import sys

from proton import Condition, Delivery, symbol
from proton.handlers import MessagingHandler, Reject, Release
from proton.reactor import Container, LinkOption


class Second(LinkOption):
    """rcv-settle-mode second."""

    def apply(self, link):
        link.rcv_settle_mode = 1


def modify(delivery, failed=False, undeliverable=False, annotations=None):
    delivery.local.failed = failed
    delivery.local.undeliverable = undeliverable
    delivery.local.annotations = annotations
    delivery.update(Delivery.MODIFIED)
    delivery.settle()


def reject_with_error(handler, delivery):
    delivery.local.condition = Condition("app:bad", "no such customer", {symbol("field"): "customer"})
    handler.reject(delivery)


REASON = {
    symbol("x-opt-error-condition"): symbol("app:parse-error"),
    symbol("x-opt-error-description"): "line 3: expected a number",
}


def throw(error):
    raise error


CALLS = {
    "accept": lambda h, d: h.accept(d),
    "reject": lambda h, d: h.reject(d),
    "reject-error": reject_with_error,
    "release": lambda h, d: h.release(d),
    "release-undelivered": lambda h, d: h.release(d, delivered=False),
    "settle": lambda h, d: h.settle(d),
    "modified": lambda h, d: modify(d),
    "failed": lambda h, d: modify(d, failed=True),
    "failed-undeliverable": lambda h, d: modify(d, failed=True, undeliverable=True),
    "annotations": lambda h, d: modify(d, failed=True, annotations={symbol("x-note"): "slow"}),
    "reason": lambda h, d: modify(d, failed=True, annotations=REASON),
    "delay": lambda h, d: modify(d, failed=True, annotations={symbol("x-opt-delivery-delay"): 300}),
    "second-accept": lambda h, d: h.accept(d),
    "second-update": lambda h, d: d.update(Delivery.ACCEPTED),
    "close-link": lambda h, d: d.link.close(),
    "close": lambda h, d: None,
    "drop": lambda h, d: os._exit(0),
    "auto-accept": lambda h, d: None,
    "auto-accept-raise": lambda h, d: throw(RuntimeError("the handler failed")),
    "auto-accept-raise-reject": lambda h, d: throw(Reject()),
    "auto-accept-raise-release": lambda h, d: throw(Release()),
}


class Receiver(MessagingHandler):
    def __init__(self, scenario, url, queue):
        super().__init__(auto_accept=scenario.startswith("auto-accept"))
        self.scenario, self.url, self.queue = scenario, url, queue
        self.done = False

    def on_start(self, event):
        self.connection = event.container.connect(self.url, reconnect=False)
        options = [Second()] if self.scenario.startswith("second") else None
        event.container.create_receiver(self.connection, self.queue, options=options)

    def on_message(self, event):
        if self.done:
            return  # what was given back may come again before the connection is closed
        self.done = True
        if self.scenario != "second-update":
            # Proton sends what the handler did after the handler returns: the disposition, then the close.
            event.container.schedule(0, self)
        CALLS[self.scenario](self, event.delivery)

    def on_timer_task(self, event):
        self.connection.close()

    def on_settled(self, event):
        event.delivery.settle()
        self.connection.close()


try:
    Container(Receiver(*sys.argv[1:])).run()
except RuntimeError as error:
    sys.exit(0 if "the handler failed" in str(error) else str(error))
