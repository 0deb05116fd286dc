"""Bytes of an AMQP 1.0 connection to frames: just enough of parts 1 and 2 to read what a client sent.

Responsibility: protocol headers, frames, and the typed values in a performative. Invariant: what is on the wire
is what comes out: a field that is absent stays apart from one that is null at the end or false. Deliberately not
the codec of any client under test, nor the broker's.
"""

import struct
from typing import NamedTuple

PERFORMATIVES = {
    0x10: ("open", ["container-id", "hostname", "max-frame-size", "channel-max", "idle-time-out"]),
    0x11: ("begin", ["remote-channel", "next-outgoing-id", "incoming-window", "outgoing-window", "handle-max"]),
    0x12: ("attach", ["name", "handle", "role", "snd-settle-mode", "rcv-settle-mode", "source", "target", "unsettled",
                      "incomplete-unsettled", "initial-delivery-count", "max-message-size"]),
    0x13: ("flow", ["next-incoming-id", "incoming-window", "next-outgoing-id", "outgoing-window", "handle",
                    "delivery-count", "link-credit", "available", "drain", "echo", "properties"]),
    0x14: ("transfer", ["handle", "delivery-id", "delivery-tag", "message-format", "settled", "more",
                        "rcv-settle-mode", "state", "resume", "aborted", "batchable"]),
    0x15: ("disposition", ["role", "first", "last", "settled", "state", "batchable"]),
    0x16: ("detach", ["handle", "closed", "error"]),
    0x17: ("end", ["error"]),
    0x18: ("close", ["error"]),
}
COMPOSITES = {
    0x1D: ("error", ["condition", "description", "info"]),
    0x23: ("received", ["section-number", "section-offset"]),
    0x24: ("accepted", []),
    0x25: ("rejected", ["error"]),
    0x26: ("released", []),
    0x27: ("modified", ["delivery-failed", "undeliverable-here", "message-annotations"]),
    0x28: ("source", ["address", "durable", "expiry-policy", "timeout", "dynamic", "dynamic-node-properties",
                      "distribution-mode", "filter", "default-outcome", "outcomes", "capabilities"]),
    0x30: ("coordinator", ["capabilities"]),
}
KNOWN = {**PERFORMATIVES, **COMPOSITES}
KNOWN.update({f"amqp:{name}:list": (name, fields) for name, fields in KNOWN.values()})


class Symbol(str):
    """A symbol, which is not a string: `x-opt-…` keys and error conditions must be symbols."""


class Composite(NamedTuple):
    """A described list: its name and the fields that are there."""

    name: str
    fields: dict

    def get(self, field, default=None):
        return self.fields.get(field, default)


class Frame(NamedTuple):
    """A performative on a channel; `AMQP` and `SASL` frames that carry none are left out."""

    channel: int
    name: str
    fields: dict

    def get(self, field, default=None):
        return self.fields.get(field, default)


FIXED = {
    0x50: "B", 0x51: "b", 0x52: "B", 0x53: "B", 0x54: "b", 0x55: "b", 0x56: "?",
    0x60: "H", 0x61: "h", 0x70: "I", 0x71: "i", 0x72: "f", 0x73: "I",
    0x80: "Q", 0x81: "q", 0x82: "d", 0x83: "q",
}
CONSTANTS = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0, 0x45: []}


class Reader:
    """Reads values one after another from the bytes of one frame."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        part = self.data[self.at:self.at + size]
        if len(part) < size:
            raise ValueError(f"got {len(part)} bytes at {self.at}, expected {size}")
        self.at += size
        return part

    def unpack(self, form):
        return struct.unpack(f">{form}", self.take(struct.calcsize(f">{form}")))[0]

    def value(self):
        code = self.unpack("B")
        if code != 0x00:
            return self.of(code)
        descriptor = self.value()
        name, fields = KNOWN.get(descriptor, (str(descriptor), None))
        value = self.value()
        if fields is None or not isinstance(value, list):
            return Composite(name, {"value": value})
        return Composite(name, {field: v for field, v in zip(fields, value) if v is not None})

    def of(self, code):
        """A value whose constructor was read already."""
        if code in CONSTANTS:
            return CONSTANTS[code]
        if code in FIXED:
            return self.unpack(FIXED[code])
        if code in (0xA0, 0xB0):
            return self.take(self.unpack("B" if code == 0xA0 else "I"))
        if code in (0xA1, 0xB1):
            return self.take(self.unpack("B" if code == 0xA1 else "I")).decode()
        if code in (0xA3, 0xB3):
            return Symbol(self.take(self.unpack("B" if code == 0xA3 else "I")).decode("ascii"))
        if code == 0x98:
            return self.take(16).hex()
        width = "B" if code in (0xC0, 0xC1, 0xE0) else "I"
        if code not in (0xC0, 0xC1, 0xD0, 0xD1, 0xE0, 0xF0):
            raise ValueError(f"got constructor {code:#04x}, which this reader does not know")
        self.unpack(width)  # the size in bytes
        count = self.unpack(width)
        if code in (0xE0, 0xF0):
            element = self.unpack("B")
            return [self.of(element) for _ in range(count)]
        values = [self.value() for _ in range(count)]
        return values if code in (0xC0, 0xD0) else dict(zip(values[::2], values[1::2]))


def frames(stream):
    """All whole frames in what one side sent."""
    at, found = 0, []
    while len(stream) - at >= 8:
        if stream[at:at + 4] == b"AMQP":
            at += 8
            continue
        size, offset, kind, channel = struct.unpack(">IBBH", stream[at:at + 8])
        if len(stream) - at < size:
            break
        body = stream[at + 4 * offset:at + size]
        at += size
        if kind == 0 and body:
            performative = Reader(body).value()
            found.append(Frame(channel, performative.name, performative.fields))
    return found
