"""python-qpid-proton's BlockingConnection: one call for one message, then a clean close.

usage: proton_blocking.py SCENARIO URL QUEUE
"""

import os
import sys

from proton import Delivery
from proton.utils import BlockingConnection


def fail(receiver):
    receiver.fetcher.unsettled[0].local.failed = True
    receiver.settle(Delivery.MODIFIED)


CALLS = {
    "accept": lambda r: r.accept(),
    "reject": lambda r: r.reject(),
    "release": lambda r: r.release(),
    "release-undelivered": lambda r: r.release(delivered=False),
    "failed": fail,
    "settle": lambda r: r.settle(),
    "close": lambda r: None,
    "close-link": lambda r: r.close(),
    "drop": lambda r: os._exit(0),
}

scenario, url, queue = sys.argv[1:]
connection = BlockingConnection(url, timeout=10)
receiver = connection.create_receiver(queue)
receiver.receive()
CALLS[scenario](receiver)
connection.close()
