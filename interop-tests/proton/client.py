"""A small synchronous client on the proton reactor, for tests.

Responsibility: connections, links and deliveries of python-qpid-proton driven by one `wait(condition)`.
Invariant: nothing is settled, credited or closed unless the test says so, and every wait is for an event,
with a limit. Deliberately no convenience that hides the protocol: states and conditions stay visible.
"""

import os
import time

import cproton
from proton import UNDESCRIBED, Array, Condition, Data, Delivery, Endpoint, Handler, Link, Message, Terminus, symbol
from proton.reactor import Container

# A binary inside a map is a view of memory that python-qpid-proton 0.40 has freed by the time it is looked at.
cproton.bytes2py = cproton.bytes2pybytes

WAIT_LIMIT_S = float(os.environ.get("INTEROP_WAIT_S", "10"))

ACCEPTED, REJECTED, RELEASED, MODIFIED = Delivery.ACCEPTED, Delivery.REJECTED, Delivery.RELEASED, Delivery.MODIFIED


class Incoming:
    """A delivery that arrived whole: the message, its bytes, and its settlement."""

    def __init__(self, delivery, raw):
        self.delivery = delivery
        self.raw = raw
        self.message = Message()
        self.message.decode(raw)
        self.presettled = delivery.settled

    @property
    def body(self):
        return self.message.body

    @property
    def count(self):
        """The delivery-count header."""
        return self.message.delivery_count

    @property
    def annotations(self):
        """Message annotations with plain string keys."""
        return {str(k): v for k, v in (self.message.annotations or {}).items()}

    @property
    def instructions(self):
        """Delivery annotations with plain string keys."""
        return {str(k): v for k, v in (self.message.instructions or {}).items()}

    def update(self, state):
        """Sets the outcome without settling: for rcv-settle-mode second."""
        self.delivery.update(state)

    def settle(self, state=None):
        if state is not None:
            self.delivery.update(state)
        self.delivery.settle()

    def accept(self):
        self.settle(ACCEPTED)

    def release(self):
        self.settle(RELEASED)

    def reject(self, name=None, description=None, info=None):
        self.prepare_reject(name, description, info)
        self.settle(REJECTED)

    def prepare_reject(self, name=None, description=None, info=None):
        if name:
            self.delivery.local.condition = Condition(name, description, info)

    def modify(self, failed=False, undeliverable=False, annotations=None):
        self.prepare_modify(failed, undeliverable, annotations)
        self.settle(MODIFIED)

    def prepare_modify(self, failed=False, undeliverable=False, annotations=None):
        self.delivery.local.failed = failed
        self.delivery.local.undeliverable = undeliverable
        if annotations:
            self.delivery.local.annotations = {symbol(k): v for k, v in annotations.items()}

    def fail(self):
        """The FAILED outcome: modified(delivery-failed=true)."""
        self.modify(failed=True)


class LinkEnd:
    """What sender and receiver have in common."""

    def __init__(self, connection, link):
        self.connection = connection
        self.client = connection.client
        self.link = link

    @property
    def name(self):
        return self.link.name

    @property
    def opened(self):
        return not self.link.state & Endpoint.REMOTE_UNINIT

    @property
    def remotely_closed(self):
        return bool(self.link.state & Endpoint.REMOTE_CLOSED)

    @property
    def condition(self):
        """The name of the error the broker closed this link with."""
        return self.link.remote_condition.name if self.link.remote_condition else None

    def wait_open(self):
        self.client.wait(lambda: self.opened, f"attach of {self.name}")
        return self

    def wait_closed(self):
        self.client.wait(lambda: self.remotely_closed, f"broker's detach of {self.name}")
        return self

    def close(self):
        self.link.close()
        self.client.wait(lambda: not self.link.state & Endpoint.REMOTE_ACTIVE, f"closing {self.name}")


class SenderEnd(LinkEnd):
    """A sending link."""

    _tags = 0

    @property
    def credit(self):
        return self.link.credit

    def push(self, message, presettled=False):
        """Sends without waiting for the outcome; waits only for credit."""
        self.client.wait(lambda: self.link.credit > 0, f"credit on {self.name}")
        SenderEnd._tags += 1
        delivery = self.link.delivery(str(SenderEnd._tags))
        self.link.stream(message if isinstance(message, bytes) else message.encode())
        self.link.advance()
        if presettled:
            delivery.settle()
        return delivery

    def begin(self, part):
        """Starts a delivery that is not complete yet."""
        self.client.wait(lambda: self.link.credit > 0, f"credit on {self.name}")
        SenderEnd._tags += 1
        delivery = self.link.delivery(str(SenderEnd._tags))
        self.link.stream(part)
        return delivery

    def outcome(self, delivery):
        """Waits until the broker settled, settles too, returns the broker's state."""
        self.client.wait(lambda: delivery.settled, f"outcome on {self.name}")
        state = delivery.remote_state
        delivery.settle()
        return state

    def offer(self, message):
        """Sends one message and returns (state, condition) of the broker's answer."""
        delivery = self.push(message)
        self.client.wait(lambda: delivery.settled, f"outcome on {self.name}")
        answer = (delivery.remote_state, delivery.remote.condition)
        delivery.settle()
        return answer

    def send(self, *messages):
        """Sends messages in a pipeline; all must be accepted."""
        pending = [self.push(m if isinstance(m, (Message, bytes)) else text(m)) for m in messages]
        for delivery in pending:
            state = self.outcome(delivery)
            assert state == ACCEPTED, f"the broker answered {state}"


class ReceiverEnd(LinkEnd):
    """A receiving link; its messages arrive in `inbox`."""

    def __init__(self, connection, link):
        super().__init__(connection, link)
        self.inbox = []
        self.parts = []  # deliveries of one link are never interleaved (part 2.6.14)

    @property
    def address(self):
        return self.link.remote_source.address

    def flow(self, credit):
        self.link.flow(credit)
        return self

    def drain(self, credit):
        """Gives credit with drain and returns what came once the broker used or gave back all of it."""
        self.link.drain(credit)
        self.client.wait(lambda: self.link.credit == 0, f"drain of {self.name}")
        self.link.drain_mode = False
        return self.take_all()

    def take_all(self):
        taken, self.inbox = self.inbox, []
        return taken

    def receive(self, count=None, timeout=WAIT_LIMIT_S):
        """One message, or a list of `count`. Gives credit only if there is none left to bring them."""
        wanted = count or 1
        missing = wanted - len(self.inbox) - self.link.credit
        if missing > 0:
            self.link.flow(missing)
        self.client.wait(lambda: len(self.inbox) >= wanted, f"message {wanted} on {self.name}", timeout)
        taken, self.inbox = self.inbox[:wanted], self.inbox[wanted:]
        return taken if count else taken[0]


class _Events(Handler):
    """Collects what arrives on one connection."""

    def __init__(self, connection):
        super().__init__()
        self.connection = connection

    def on_delivery(self, event):
        delivery = event.delivery
        end = self.connection.ends.get(delivery.link.name, None) if delivery.link.is_receiver else None
        if end is None or not delivery.readable:
            return
        # Drained on every event, so that a message larger than any window can arrive.
        part = delivery.link.recv(delivery.pending)
        end.parts.append(part or b"")
        if not delivery.partial:
            whole, end.parts = b"".join(end.parts), []
            delivery.link.advance()
            end.inbox.append(Incoming(delivery, whole))

    def on_transport_error(self, event):
        self.connection.transport_condition = event.transport.condition

    def on_transport_closed(self, event):
        self.connection.disconnected = True


class ConnectionEnd:
    """A connection and its links."""

    def __init__(self, client, url, **options):
        self.client = client
        self.ends = {}
        self.disconnected = False
        self.transport_condition = None
        self.links = 0
        self.conn = client.container.connect(url, handler=_Events(self), reconnect=False, **options)

    @property
    def transport(self):
        return self.conn.transport

    @property
    def opened(self):
        return not self.conn.state & Endpoint.REMOTE_UNINIT

    @property
    def remotely_closed(self):
        return bool(self.conn.state & Endpoint.REMOTE_CLOSED)

    def wait_open(self):
        self.client.wait(lambda: self.opened or self.disconnected, "open")
        if not self.opened:
            raise ConnectionRefused(self.transport_condition)
        return self

    def session(self):
        session = self.conn.session()
        session.open()
        return session

    def _name(self, address):
        """A name no other link of this connection has; proton's own would repeat for one address."""
        self.links += 1
        return f"{address}-{self.links}"

    def sender(self, address, name=None, options=None, session=None, wait=True):
        link = self.client.container.create_sender(
            session or self.conn, address, name=name or self._name(address), options=options)
        end = SenderEnd(self, link)
        return end.wait_open() if wait else end

    def receiver(self, address, credit=0, name=None, options=None, session=None, dynamic=False, wait=True):
        link = self.client.container.create_receiver(
            session or self.conn, address, name=name or self._name(address), options=options, dynamic=dynamic)
        end = self.ends[link.name] = ReceiverEnd(self, link)
        if credit:
            link.flow(credit)
        return end.wait_open() if wait else end

    def close(self):
        self.conn.close()
        self.client.wait(lambda: self.remotely_closed or self.disconnected, "close")

    def drop(self):
        """Loses the connection: no end, no close, just the end of the stream."""
        self.transport.close_head()
        self.transport.close_tail()
        self.client.wait(lambda: self.disconnected, "end of the socket")


class ConnectionRefused(Exception):
    """The broker let us not in; the reason is the transport's condition."""

    def __init__(self, condition):
        super().__init__(str(condition))
        self.condition = condition.name if condition else None


class Client:
    """One reactor, any number of connections; close() drops what is left."""

    def __init__(self, url):
        self.url = url
        self.container = Container()
        self.container.start()
        self.connections = []

    def connect(self, wait=True, **options):
        connection = ConnectionEnd(self, self.url, **options)
        self.connections.append(connection)
        return connection.wait_open() if wait else connection

    def wait(self, condition, what, timeout=WAIT_LIMIT_S):
        """Processes events until the condition holds; fails with `what` after the limit."""
        deadline = time.monotonic() + timeout
        while not condition():
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"waited {timeout} s in vain for: {what}")
            self.container.timeout = left
            self.container.process()

    def turn(self, connection, address):
        """A round trip through the broker: what it had to say before has arrived now."""
        connection.receiver(address).close()

    def close(self):
        for connection in self.connections:
            if not connection.disconnected and not connection.transport_condition:
                connection.conn.close()
        try:
            self.wait(lambda: all(c.disconnected or c.remotely_closed or c.transport_condition for c in self.connections), "closing", 5)
        finally:
            for connection in self.connections:
                if connection.transport:
                    connection.transport.close_tail()
            self.container.timeout = 0
            self.container.process()
            self.container.stop()


class Outcomes:
    """Link option: source.outcomes, an array of symbols."""

    def __init__(self, *symbols):
        self.symbols = symbols

    def test(self, link):
        return link.is_receiver

    def apply(self, link):
        link.source.outcomes.put_object(Array(UNDESCRIBED, Data.SYMBOL, *[symbol(s) for s in self.symbols]))


class SettleModes:
    """Link option: the two settle modes, as asked."""

    def __init__(self, snd=None, rcv=None):
        self.snd, self.rcv = snd, rcv

    def test(self, link):
        return True

    def apply(self, link):
        if self.snd is not None:
            link.snd_settle_mode = self.snd
        if self.rcv is not None:
            link.rcv_settle_mode = self.rcv


SECOND = SettleModes(snd=Link.SND_UNSETTLED, rcv=Link.RCV_SECOND)
PRESETTLED = SettleModes(snd=Link.SND_SETTLED)


def text(body, **fields):
    """A durable message."""
    message = Message(body=body, **fields)
    message.durable = True
    return message


def null_source(end):
    """True if the broker answered the attach with a null source: the announcement of a refusal."""
    return end.link.remote_source.type == Terminus.UNSPECIFIED
