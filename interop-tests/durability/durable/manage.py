"""Requests to the node `$management` (docs/management.md) over this harness's own client.

Answers come in any order of turns, so `ask` takes what is to be done with one; `call` waits for it.
"""
from . import amqp
from .amqp import composite, described, string, ulong
from .client import Connection

APPLICATION_PROPERTIES, VALUE = 0x74, 0x77
QUEUE, LETTER, REPLAY = "verdict.queue", "verdict.dead-letter", "verdict.replay"


def encode(value):
    """What requests and the toy broker's answers are made of."""
    if value is None:
        return amqp.NULL
    if isinstance(value, list):
        items = b"".join(map(encode, value))
        return b"\xd0" + (len(items) + 4).to_bytes(4, "big") + len(value).to_bytes(4, "big") + items
    if isinstance(value, dict):
        items = b"".join(string(key) + encode(item) for key, item in value.items())
        return b"\xd1" + (len(items) + 4).to_bytes(4, "big") + (2 * len(value)).to_bytes(4, "big") + items
    if isinstance(value, bool):
        return amqp.boolean(value)
    return string(value) if isinstance(value, str) else ulong(value)


class Unanswered(Exception):
    """No answer, or not the one that was asked for."""


class Manager:
    """A requester with a link for its answers, on a connection of its own."""

    def __init__(self, loop, port, name):
        self.loop, self.name, self.asked, self.later = loop, name, {}, []
        self.connection = Connection(loop, port, name)
        self.sender = self.connection.sender("$management", lambda number, state: None)
        self.receiver = self.connection.receiver("$management", False, self._answer, target=name)
        self.receiver.flow(100)
        self.requests = 0

    def ask(self, operation, kind, name, body, then):
        """`then(status, body)` is called with the answer."""
        self.requests += 1
        self.asked[self.requests] = then
        properties = composite(amqp.PROPERTIES, ulong(self.requests), amqp.NULL, amqp.NULL, amqp.NULL, string(self.name))
        wanted = {"operation": operation, "type": kind, "name": name}
        request = properties + described(APPLICATION_PROPERTIES, encode(wanted)) + described(VALUE, encode(body))
        self.later.append((self.requests, request))
        self.work()

    def work(self):
        """Sends what the credit lets us."""
        while self.later and self.sender.attached and self.sender.room() > 0:
            number, request = self.later.pop(0)
            self.sender.send(request, number)

    def _answer(self, link, delivery_id, message):
        sections, pos = {}, 0
        while pos < len(message.bare):
            section, pos = amqp.decode(message.bare, pos)
            sections[section.code] = section.value
        link.settle(delivery_id, delivery_id, "accepted", [None])
        if link.credit < 50:
            link.flow(100)
        then = self.asked.pop(sections[amqp.PROPERTIES][5])
        then(sections[APPLICATION_PROPERTIES]["statusCode"], sections[VALUE])

    def call(self, operation, kind, name, body, expected=200, limit_s=20):
        """Asks and waits; the answer's body."""
        got = []
        self.ask(operation, kind, name, body, lambda *answer: got.append(answer))

        def done():
            self.work()
            return got
        if not self.loop.run(done, limit_s) or got[0][0] != expected:
            raise Unanswered(f"{operation} of {name}: {got or self.connection.error or 'no answer'}")
        return got[0][1]

    def pages(self, operation, kind, name, key):
        """All of a list that comes in pages."""
        rows, start = [], 0
        while start is not None:
            page = self.call(operation, kind, name, {"from": start, "count": 1000})
            rows += page[key]
            start = page["next"]
        return rows

    def close(self):
        self.connection.close()
        self.loop.run(lambda: self.connection.closed, 5)
