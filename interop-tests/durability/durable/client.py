"""A small AMQP 1.0 client on one non-blocking socket: one connection, one session, many links.

Exact control is its purpose: nothing is settled, credited or reconnected unless the caller says so, and
what the broker said before it died is still read from the socket. It does no SASL and no threads.
"""
import selectors
import socket
import time

from . import amqp
from .amqp import boolean, composite, field, frame, map_of, string, symbol, ubyte, uint, NULL

WINDOW = 1 << 20
MAX_FRAME = 64 * 1024
OUTCOMES = {
    "accepted": composite(amqp.ACCEPTED),
    "rejected": composite(amqp.REJECTED, composite(amqp.ERROR, symbol("test:refused"), string("by the test"))),
    "released": composite(amqp.RELEASED),
    "failed": composite(amqp.MODIFIED, amqp.TRUE),
    # By the shipped rules a parsing error is permanent, however it comes.
    "poison": composite(amqp.MODIFIED, amqp.TRUE, amqp.FALSE, map_of(("x-opt-error-condition", symbol("amqp:decode-error")))),
}
CODES = {"accepted": amqp.ACCEPTED, "rejected": amqp.REJECTED, "released": amqp.RELEASED, "failed": amqp.MODIFIED, "poison": amqp.MODIFIED}


class Sender:
    """A link we publish on. `on_settled(token, state)` is called for every answer."""

    def __init__(self, connection, handle, address, on_settled):
        self.connection, self.handle, self.address, self.on_settled = connection, handle, address, on_settled
        self.attached, self.detached, self.error = False, False, None
        self.credit, self.delivery_count = 0, 0

    def on_flow(self, fields):
        """Part 2.6.7: link-credit_snd := delivery-count_rcv + link-credit_rcv - delivery-count_snd."""
        limit = field(fields, 5, 0) + field(fields, 6, 0)
        self.credit = max(0, (limit - self.delivery_count) & 0xFFFFFFFF)
        if self.credit > 0x7FFFFFFF:
            self.credit = 0

    def room(self):
        """How many messages may be sent now."""
        return 0 if self.detached else min(self.credit, self.connection.remote_window)

    def send(self, payload, token):
        """Sends one message unsettled, in as many frames as the peer's max-frame-size asks for."""
        c = self.connection
        delivery_id = c.next_delivery_id
        c.next_delivery_id = (delivery_id + 1) & 0xFFFFFFFF
        c.unsettled[delivery_id] = (self, token)
        self.credit -= 1
        self.delivery_count += 1
        chunk = c.remote_max_frame - 64
        tag = amqp.binary(delivery_id.to_bytes(4, "big"))
        for start in range(0, len(payload), chunk):
            more = start + chunk < len(payload)
            head = (uint(self.handle), uint(delivery_id), tag, uint(0), amqp.FALSE) if start == 0 else (uint(self.handle), NULL, NULL, NULL, NULL)
            performative = composite(amqp.TRANSFER, *head, amqp.TRUE if more else NULL)
            c.out += frame(0, performative, payload[start:start + chunk])
            c.next_outgoing_id = (c.next_outgoing_id + 1) & 0xFFFFFFFF
            c.remote_window -= 1


class Receiver:
    """A link we consume from. `on_message(receiver, delivery_id, Message)` for every delivery."""

    def __init__(self, connection, handle, address, second, on_message, on_confirmed):
        self.connection, self.handle, self.address, self.second = connection, handle, address, second
        self.on_message, self.on_confirmed = on_message, on_confirmed
        self.attached, self.detached, self.error, self.detaching = False, False, None, False
        self.credit, self.delivery_count, self.drained = 0, 0, False
        self.partial, self.partial_id = bytearray(), None
        self.awaiting = {}

    def flow(self, credit, drain=False):
        """Sets the credit (absolute) and tells the broker."""
        self.credit, self.drained = credit, False
        self.connection.send_flow(self, drain)

    def on_flow(self, fields):
        """The broker's word on a drain: its delivery-count has eaten the credit (part 2.6.7)."""
        count = field(fields, 5, 0)
        used = (count - self.delivery_count) & 0xFFFFFFFF
        if used <= self.credit:
            self.credit -= used
            self.delivery_count = count
        if self.credit == 0:
            self.drained = True

    def on_transfer(self, fields, payload):
        if self.partial_id is None:
            self.partial_id = field(fields, 1)
        if field(fields, 9, False):
            self.partial_id = None
            self.partial.clear()
            return
        if field(fields, 5, False):
            self.partial += payload
            return
        delivery_id, self.partial_id = self.partial_id, None
        if self.partial:
            payload = bytes(self.partial) + bytes(payload)
            self.partial.clear()
        self.delivery_count = (self.delivery_count + 1) & 0xFFFFFFFF
        self.credit -= 1
        if not self.detaching:
            self.on_message(self, delivery_id, amqp.Message(bytes(payload)))

    def settle(self, first, last, outcome, tokens):
        """One disposition for a range. A second-mode link waits for the broker's settled reply."""
        if self.second:
            for delivery_id, token in zip(range(first, last + 1), tokens):
                self.awaiting[delivery_id] = (token, outcome)
                self.connection.confirming[delivery_id] = self
        performative = composite(amqp.DISPOSITION, amqp.TRUE, uint(first), uint(last), boolean(not self.second), OUTCOMES[outcome])
        self.connection.out += frame(0, performative)

    def detach(self):
        self.detaching = True
        self.connection.out += frame(0, composite(amqp.DETACH, uint(self.handle), amqp.TRUE))


class Connection:
    """The socket and its session. `closed` once the peer is gone; `error` is what it said about it."""

    def __init__(self, loop, port, container):
        self.loop, self.container = loop, container
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.out, self.inbox = bytearray(), bytearray()
        self.closed, self.error, self.opened, self.greeted = False, None, False, False
        self.remote_max_frame, self.remote_window = 512, 0
        self.next_outgoing_id, self.next_incoming_id, self.next_delivery_id = 0, 0, 0
        self.links, self.by_remote, self.by_name = {}, {}, {}
        self.unsettled, self.confirming = {}, {}
        self.out += amqp.PROTOCOL_HEADER
        self.out += frame(0, composite(amqp.OPEN, string(container), string("localhost"), uint(MAX_FRAME), amqp.ushort(0)))
        self.out += frame(0, composite(amqp.BEGIN, NULL, uint(0), uint(WINDOW), uint(WINDOW)))
        loop.add(self)

    def _attach(self, make, role, second, source, target):
        handle = len(self.links)
        link = make(handle)
        name = f"{self.container}-{handle}"
        self.links[handle], self.by_name[name] = link, link
        fields = [string(name), uint(handle), boolean(role), ubyte(0), ubyte(1 if second else 0), source, target]
        if not role:
            fields += [NULL, NULL, uint(0)]
        self.out += frame(0, composite(amqp.ATTACH, *fields))
        return link

    def sender(self, address, on_settled):
        return self._attach(lambda h: Sender(self, h, address, on_settled), False, False,
                            composite(amqp.SOURCE), composite(amqp.TARGET, string(address)))

    def receiver(self, address, second, on_message, on_confirmed=None, target=None):
        return self._attach(lambda h: Receiver(self, h, address, second, on_message, on_confirmed), True, second,
                            composite(amqp.SOURCE, string(address)), composite(amqp.TARGET, *([string(target)] if target else [])))

    def send_flow(self, link, drain):
        fields = [uint(self.next_incoming_id), uint(WINDOW), uint(self.next_outgoing_id), uint(WINDOW)]
        fields += [uint(link.handle), uint(link.delivery_count), uint(link.credit), NULL, boolean(drain)]
        self.out += frame(0, composite(amqp.FLOW, *fields))

    def write(self):
        while self.out and not self.closed:
            try:
                del self.out[:self.sock.send(self.out[:1 << 18])]
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                # The peer is gone; what it said before is still to be read.
                self.out.clear()

    def read(self):
        """Reads what is there; at the end of the stream the connection is closed."""
        try:
            data = self.sock.recv(1 << 18)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.drop()
            return
        self.inbox += data
        self._frames()

    def _frames(self):
        buf, pos = bytes(self.inbox), 0
        if not self.greeted:
            if len(buf) < 8:
                return
            if buf[:8] != amqp.PROTOCOL_HEADER:
                raise ValueError(f"the broker greets with {buf[:8]!r}")
            self.greeted, pos = True, 8
        while pos + 8 <= len(buf):
            size = int.from_bytes(buf[pos:pos + 4], "big")
            if pos + size > len(buf):
                break
            start = pos + buf[pos + 4] * 4
            if start < pos + size:
                performative, end = amqp.decode(buf, start)
                self._handle(performative.code, performative.value, buf, end, pos + size)
            pos += size
        del self.inbox[:pos]

    def _handle(self, code, fields, buf, end, limit):
        if code == amqp.TRANSFER:
            self.next_incoming_id = (self.next_incoming_id + 1) & 0xFFFFFFFF
            self.by_remote[fields[0]].on_transfer(fields, buf[end:limit])
        elif code == amqp.DISPOSITION:
            self._disposition(fields)
        elif code == amqp.FLOW:
            self._flow(fields)
        elif code == amqp.ATTACH:
            link = self.by_name[fields[0]]
            link.attached, self.by_remote[fields[1]] = True, link
            if isinstance(link, Receiver) and link.second and field(fields, 4, 0) != 1:
                raise ValueError("the broker does not honour rcv-settle-mode second")
        elif code == amqp.BEGIN:
            self.next_incoming_id, self.remote_window = field(fields, 1, 0), field(fields, 2, 0)
        elif code == amqp.OPEN:
            self.opened, self.remote_max_frame = True, min(field(fields, 2, 0xFFFFFFFF), MAX_FRAME)
        elif code == amqp.DETACH:
            self._detached(self.by_remote.get(fields[0]), field(fields, 2))
        elif code in (amqp.END, amqp.CLOSE):
            self.error = self.error or field(fields, 0)
            if code == amqp.CLOSE:
                self.out += frame(0, composite(amqp.CLOSE))

    def _detached(self, link, error):
        if link is not None:
            if not getattr(link, "detaching", False):
                self.out += frame(0, composite(amqp.DETACH, uint(link.handle), amqp.TRUE))
            link.detached, link.error = True, error
            self.error = self.error or error

    def _flow(self, fields):
        # Part 2.5.6: what of the window is left after what is still on its way.
        seen = field(fields, 0, 0)
        self.remote_window = (seen + field(fields, 1, 0) - self.next_outgoing_id) & 0xFFFFFFFF
        if self.remote_window > 0x7FFFFFFF:
            self.remote_window = 0
        if field(fields, 4) is not None:
            link = self.by_remote[fields[4]]
            link.on_flow(fields)
            if field(fields, 9, False):
                self.send_flow(link, False)

    def _disposition(self, fields):
        role, first = fields[0], fields[1]
        last, settled, state = field(fields, 2, first), field(fields, 3, False), field(fields, 4)
        for delivery_id in range(first, last + 1):
            if role:
                if settled or state is not None:
                    link, token = self.unsettled.pop(delivery_id, (None, None))
                    if link is not None:
                        link.on_settled(token, state)
            elif settled:
                link = self.confirming.pop(delivery_id, None)
                if link is not None:
                    token, outcome = link.awaiting.pop(delivery_id)
                    link.on_confirmed(link, token, outcome, state)

    def close(self):
        """Says goodbye; the peer's close ends the stream."""
        self.out += frame(0, composite(amqp.CLOSE))

    def drop(self):
        """Gone at once, with whatever was under way: a crash as the broker sees it."""
        if not self.closed:
            self.closed = True
            self.loop.remove(self)
            self.sock.close()


class Loop:
    """Moves bytes for all connections in one thread."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.connections = {}

    def add(self, connection):
        self.connections[connection] = selectors.EVENT_READ
        self.selector.register(connection.sock, selectors.EVENT_READ, connection)

    def remove(self, connection):
        self.connections.pop(connection, None)
        self.selector.unregister(connection.sock)

    def turn(self, timeout_s):
        """One round: write what is pending, wait, read what came."""
        for connection, events in list(self.connections.items()):
            connection.write()
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.out else 0)
            if wanted != events and not connection.closed:
                self.connections[connection] = wanted
                self.selector.modify(connection.sock, wanted, connection)
        if not self.connections:
            return
        for key, events in self.selector.select(timeout_s):
            if events & selectors.EVENT_READ and not key.data.closed:
                key.data.read()

    def run(self, done, limit_s):
        """Turns until `done()`; False when the time is up or nobody is left to talk to."""
        deadline = time.monotonic() + limit_s
        while not done():
            left = deadline - time.monotonic()
            if left <= 0 or not self.connections:
                return done()
            self.turn(min(left, 0.02))
        return True

    def read_to_end(self, limit_s=5):
        """After the broker died: hears what it said before, then closes everything."""
        for connection in list(self.connections):
            connection.out.clear()
        self.run(lambda: not self.connections, limit_s)
        for connection in list(self.connections):
            connection.drop()
