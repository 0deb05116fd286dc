"""AMQP 1.0 types, frames and the sections a test message has (parts 1.6, 2.3, 3.2).

Encodes what this client sends and decodes whatever a peer may send of the primitive types. It trusts its
peer not to attack: malformed input raises, which the caller reports as a failure of the broker.
"""
import struct

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
ERROR, RECEIVED, ACCEPTED, REJECTED, RELEASED, MODIFIED = 0x1D, 0x23, 0x24, 0x25, 0x26, 0x27
SOURCE, TARGET = 0x28, 0x29
HEADER, DELIVERY_ANNOTATIONS, MESSAGE_ANNOTATIONS, PROPERTIES = 0x70, 0x71, 0x72, 0x73
PROTOCOL_HEADER = b"AMQP\x00\x01\x00\x00"

NULL, TRUE, FALSE = b"\x40", b"\x41", b"\x42"


class Described:
    """A described value: numeric (or symbolic) descriptor and the value."""

    __slots__ = ("code", "value")

    def __init__(self, code, value):
        self.code, self.value = code, value

    def __repr__(self):
        return f"<{self.code}: {self.value}>"


# ---- encoding: every function returns bytes -------------------------------------------------------


def uint(n):
    if n == 0:
        return b"\x43"
    return b"\x52" + bytes((n,)) if n < 256 else b"\x70" + n.to_bytes(4, "big")


def ulong(n):
    if n == 0:
        return b"\x44"
    return b"\x53" + bytes((n,)) if n < 256 else b"\x80" + n.to_bytes(8, "big")


def ushort(n):
    return b"\x60" + n.to_bytes(2, "big")


def ubyte(n):
    return b"\x50" + bytes((n,))


def boolean(v):
    return TRUE if v else FALSE


def _variable(short, long, data):
    if len(data) < 256:
        return bytes((short, len(data))) + data
    return bytes((long,)) + len(data).to_bytes(4, "big") + data


def binary(data):
    return _variable(0xA0, 0xB0, data)


def string(text):
    return _variable(0xA1, 0xB1, text.encode())


def symbol(text):
    return _variable(0xA3, 0xB3, text.encode())


def list_of(fields):
    """A list; trailing nulls are left out, as part 1.4 allows."""
    fields = list(fields)
    while fields and fields[-1] == NULL:
        fields.pop()
    if not fields:
        return b"\x45"
    body = b"".join(fields)
    if len(body) < 255 and len(fields) < 256:
        return bytes((0xC0, len(body) + 1, len(fields))) + body
    return b"\xd0" + struct.pack(">II", len(body) + 4, len(fields)) + body


def map_of(*pairs):
    """A small map with symbols as keys."""
    body = b"".join(symbol(key) + value for key, value in pairs)
    return bytes((0xC1, len(body) + 1, 2 * len(pairs))) + body


def described(code, value):
    return b"\x00" + ulong(code) + value


def composite(code, *fields):
    return described(code, list_of(fields))


def frame(channel, performative, payload=b""):
    size = 8 + len(performative) + len(payload)
    return struct.pack(">IBBH", size, 2, 0, channel) + performative + payload


# ---- decoding -------------------------------------------------------------------------------------

_FIXED = {
    0x50: (">B", 1), 0x51: (">b", 1), 0x52: (">B", 1), 0x53: (">B", 1), 0x54: (">b", 1), 0x55: (">b", 1),
    0x56: (">?", 1), 0x60: (">H", 2), 0x61: (">h", 2), 0x70: (">I", 4), 0x71: (">i", 4), 0x72: (">f", 4),
    0x73: (">I", 4), 0x80: (">Q", 8), 0x81: (">q", 8), 0x82: (">d", 8), 0x83: (">q", 8), 0x74: (">4s", 4),
    0x84: (">8s", 8), 0x94: (">16s", 16), 0x98: (">16s", 16),
}
_FIXED = {code: (struct.Struct(fmt).unpack_from, width) for code, (fmt, width) in _FIXED.items()}
_EMPTY = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0}
_U32 = struct.Struct(">I").unpack_from
_TEXT = (0xA1, 0xA3, 0xB1, 0xB3)


def decode(buf, pos):
    """The value at `pos` and the position behind it."""
    code = buf[pos]
    if code == 0:
        descriptor, pos = decode(buf, pos + 1)
        value, pos = decode(buf, pos)
        return Described(descriptor, value), pos
    return _body(buf, pos + 1, code)


def _body(buf, pos, code):
    if code in _EMPTY:
        return _EMPTY[code], pos
    fixed = _FIXED.get(code)
    if fixed:
        return fixed[0](buf, pos)[0], pos + fixed[1]
    if code == 0x45:
        return [], pos
    if code in (0xA0, 0xA1, 0xA3):
        end = pos + 1 + buf[pos]
        data = bytes(buf[pos + 1:end])
        return (data.decode() if code in _TEXT else data), end
    if code in (0xB0, 0xB1, 0xB3):
        end = pos + 4 + _U32(buf, pos)[0]
        data = bytes(buf[pos + 4:end])
        return (data.decode() if code in _TEXT else data), end
    if code in (0xC0, 0xC1, 0xE0):
        return _compound(buf, pos + 2, code, buf[pos + 1], pos + 1 + buf[pos])
    if code in (0xD0, 0xD1, 0xF0):
        return _compound(buf, pos + 8, code, _U32(buf, pos + 4)[0], pos + 4 + _U32(buf, pos)[0])
    raise ValueError(f"unknown type code 0x{code:02x}")


def _compound(buf, pos, code, count, end):
    if code in (0xE0, 0xF0):
        descriptor = None
        item = buf[pos]
        pos += 1
        if item == 0:
            descriptor, pos = decode(buf, pos)
            item = buf[pos]
            pos += 1
        values = []
        for _ in range(count):
            value, pos = _body(buf, pos, item)
            values.append(value if descriptor is None else Described(descriptor, value))
        return values, end
    values = []
    for _ in range(count):
        value, pos = decode(buf, pos)
        values.append(value)
    if pos != end:
        raise ValueError(f"compound value ends at {pos}, its size says {end}")
    if code in (0xC1, 0xD1):
        return dict(zip(values[::2], values[1::2])), end
    return values, end


def field(fields, index, default=None):
    """A field of a composite's list, or its default where it is absent or null."""
    if index < len(fields) and fields[index] is not None:
        return fields[index]
    return default


# ---- messages -------------------------------------------------------------------------------------

DURABLE_HEADER = composite(HEADER, TRUE)


def bare_message(message_id, body, group=None):
    """Properties with the id and perhaps a group, and one data section: what must arrive bit for bit."""
    more = [NULL] * 9 + [string(group)] if group else []
    return composite(PROPERTIES, ulong(message_id), *more) + described(0x75, binary(body))


class Message:
    """A received message: the broker's header fields, annotations, and the bare bytes."""

    __slots__ = ("delivery_count", "acquired_count", "annotations", "delivery_annotations", "message_id", "bare", "durable")

    def __init__(self, payload):
        self.delivery_count, self.annotations, self.delivery_annotations = 0, {}, {}
        self.message_id, self.bare, self.durable = None, b"", False
        pos = 0
        while pos < len(payload):
            start = pos
            section, pos = decode(payload, pos)
            if section.code == HEADER:
                self.durable = field(section.value, 0, False)
                self.delivery_count = field(section.value, 4, 0)
            elif section.code == DELIVERY_ANNOTATIONS:
                self.delivery_annotations = section.value
            elif section.code == MESSAGE_ANNOTATIONS:
                self.annotations = section.value
            else:
                if section.code == PROPERTIES:
                    self.message_id = field(section.value, 0)
                self.bare = bytes(payload[start:])
                break
        self.acquired_count = self.annotations.get("x-opt-acquired-count", 0)
