"""Producers and consumers with a seeded mind, and the audit that takes everything out.

A `Load` lives as long as one broker process. All it does and hears goes into the ledger; it settles in
ranges or one by one, holds some deliveries back, detaches and drops connections as the seed says.
"""
import random

from . import amqp
from .client import CODES, Connection, Loop

# Kept below the shares at which a retry-storm breaker may step in (settlement.md): fewer than half failing.
MIX = (("accepted", 63), ("failed", 14), ("poison", 3), ("rejected", 6), ("released", 9), ("held", 5))
DEAD_MIX = (("accepted", 70), ("released", 10), ("held", 20))
BACKLOG = 600
# Per producer, where messages have groups.
GROUPS = 7


class Consumer:
    """One consuming link, its undecided deliveries, and its name in the ledger."""

    def __init__(self, load, connection, queue, dead, second, credit):
        self.load, self.queue, self.dead, self.credit = load, queue, dead, credit
        self.connection, self.batch = connection, []
        self.name = f"{connection.container}/{len(connection.links)}/{queue}{'!' if dead else ''}{'/second' if second else ''}"
        address = queue + "/$deadletter" if dead else queue
        self.link = connection.receiver(address, second, self.on_message, self.on_confirmed)
        self.mix = DEAD_MIX if dead else MIX
        self.started = False

    def on_message(self, link, delivery_id, message):
        entry = self.load.ledger.delivered(self, message, self.dead)
        self.load.events += 1
        if entry is not None:
            self.batch.append((delivery_id, entry, self.choose(message)))

    def choose(self, message):
        outcomes, weights = zip(*self.mix)
        outcome = self.load.rng.choices(outcomes, weights)[0]
        # The default retry delays grow to seconds, and an audit does not wait for what may not be there.
        slow = self.queue not in self.load.quick and message.delivery_count > 0
        return "accepted" if outcome == "failed" and slow else outcome

    def on_confirmed(self, link, token, outcome, state):
        entry, number = token
        self.load.events += 1
        if state is not None and state.code != CODES[outcome]:
            self.load.ledger.violation("other", entry.id, f"{outcome} was confirmed as {state}")
        self.load.ledger.confirmed(entry, number, outcome, self.connection)

    def work(self):
        """Answers what came, neighbours with one outcome in one disposition, and tops up the credit."""
        if not self.link.attached or self.link.detached or self.connection.closed:
            return
        if not self.started or self.link.credit < self.credit // 2:
            self.started = True
            self.link.flow(self.credit)
        run, batch, self.batch = [], self.batch, []
        for delivery_id, entry, outcome in batch + [(None, None, None)]:
            if run and (outcome != run[0][2] or delivery_id != run[-1][0] + 1):
                self._settle(run)
                run = []
            if outcome is not None and outcome != "held":
                run.append((delivery_id, entry, outcome))

    def _settle(self, run):
        outcome = run[0][2]
        tokens = [(entry, self.load.ledger.settled(entry, outcome, self)) for _, entry, _ in run]
        self.link.settle(run[0][0], run[-1][0], outcome, tokens)


class Producer:
    """One publishing link with a stable name, so that order holds over restarts too."""

    def __init__(self, load, connection, queue, name, sizes):
        self.load, self.queue, self.name, self.sizes = load, queue, name, sizes
        self.connection = connection
        self.refused, self.conditions = 0, {}
        # What it had no answer for before the broker died; one of a queue's producers sends that again.
        self.again = []
        self.link = connection.sender(queue, self.on_settled)

    def on_settled(self, entry, state):
        self.load.events += 1
        if state is not None and state.code == amqp.ACCEPTED:
            self.load.ledger.acked(entry)
            return
        error = amqp.field(state.value, 0) if state is not None and state.code == amqp.REJECTED else None
        condition = amqp.field(error.value, 0) if error is not None else repr(state)
        self.refused += 1
        self.conditions[condition] = self.conditions.get(condition, 0) + 1
        self.load.ledger.refused(entry, condition)

    def send(self, count):
        """Sends up to so many, within the credit and window. How many it was."""
        if not self.link.attached or self.connection.closed:
            return 0
        self.send_again()
        count = min(count, self.link.room())
        traits = self.load.ledger.queues[self.queue].traits
        for sent in range(count):
            if self.link.room() <= 0:
                return sent
            size = self.sizes(self.load.rng)
            message_id = self.load.ledger.next_id
            group = f"{self.name}/{message_id % GROUPS}" if traits.grouped else None
            bare = amqp.bare_message(message_id, (message_id * 2654435761 % (1 << 32)).to_bytes(4, "big") * (size // 4 + 1), group)
            entry = self.load.ledger.sent(self.queue, self.name, bare, group)
            self.link.send(amqp.DURABLE_HEADER + bare, entry)
            if traits.once and self.load.rng.random() < 0.05:
                # An impatient publisher does not wait for the crash.
                self.again.append(entry)
        return count

    def send_again(self):
        while self.again and self.link.attached and self.link.room() > 0:
            entry = self.again.pop()
            if entry.bare is not None:
                self.load.ledger.resent(entry)
                self.link.send(amqp.DURABLE_HEADER + entry.bare, entry)


def mixed_sizes(rng):
    """Mostly small, now and then several frames long."""
    roll = rng.random()
    return rng.randrange(8, 64) if roll < 0.7 else rng.randrange(64, 4096) if roll < 0.995 else rng.randrange(70_000, 200_000)


class Load:
    """All clients of one broker process."""

    def __init__(self, ledger, port, rng, name):
        self.ledger, self.port, self.rng, self.name = ledger, port, rng, name
        self.loop, self.events = Loop(), 0
        self.producers, self.consumers = [], []
        # Queues whose retry delays are configured to be short.
        self.quick = {"k0", "k1", "k2", *ledger.traits}

    def connect(self, kind):
        return Connection(self.loop, self.port, f"{self.name}-{kind}{len(self.loop.connections)}")

    def mixed(self, queues):
        """Every queue with one or two producers and one to three consumers, on a few connections."""
        rng = self.rng
        publishing = [self.connect("p") for _ in range(rng.randint(1, 2))]
        consuming = [self.connect("c") for _ in range(rng.randint(2, 4))]
        for queue in queues:
            for number in range(rng.randint(1, 2)):
                self.producers.append(Producer(self, rng.choice(publishing), queue, f"{queue}-p{number}", mixed_sizes))
                self.producers[-1].again = self.ledger.unanswered(queue) if number == 0 else []
            for _ in range(rng.randint(1, 3)):
                self.consumers.append(Consumer(self, rng.choice(consuming), queue, False, rng.random() < 0.6, rng.choice((10, 50, 200))))
            if rng.random() < 0.6:
                self.consumers.append(Consumer(self, rng.choice(consuming), queue, True, rng.random() < 0.6, 20))

    def step(self):
        """One round of publishing, listening and answering."""
        for producer in self.producers:
            waiting = self.ledger.queues[producer.queue].waiting
            if waiting < BACKLOG and self.rng.random() < 0.6:
                producer.send(self.rng.randint(1, 40))
        self.loop.turn(0.005)
        for consumer in self.consumers:
            consumer.work()

    def trouble(self):
        """What a broker that was not killed said or did to us that it should not have."""
        for client in [*self.producers, *self.consumers]:
            connection = client.connection
            if connection.error is not None or client.link.error is not None:
                return f"{connection.container}: {connection.error or client.link.error}"
            if connection.closed and not getattr(connection, "dropped", False):
                return f"{connection.container}: closed by the broker without a word"
        return None

    def drop_one(self):
        """Loses a consuming connection, as if its process had crashed."""
        connections = sorted({c.connection for c in self.consumers if not c.connection.closed}, key=lambda c: c.container)
        if not connections:
            return
        victim = self.rng.choice(connections)
        victim.dropped = True
        victim.drop()
        for consumer in self.consumers:
            if consumer.connection is victim:
                self.ledger.lost(consumer)
        self.consumers = [c for c in self.consumers if c.connection is not victim]

    def detach_one(self):
        """Ends a link in good order; what it held goes back."""
        links = [c for c in self.consumers if c.link.attached and not c.link.detached and not c.connection.closed]
        if not links:
            return
        consumer = self.rng.choice(links)
        consumer.work()
        consumer.link.detach()
        self.ledger.detached(consumer)
        self.consumers.remove(consumer)

    def crashed(self):
        """The broker is gone: hear its last words, then tell the ledger."""
        self.loop.read_to_end()
        self.ledger.crashed()

    def close(self, limit_s=10):
        """Ends all connections in good order; what still comes over another one meanwhile is not looked at."""
        for consumer in self.consumers:
            consumer.link.detaching = True
            self.ledger.detached(consumer)
        for connection in list(self.loop.connections):
            connection.close()
        for client in [*self.producers, *self.consumers]:
            client.connection.dropped = True
        self.loop.run(lambda: not self.loop.connections, limit_s)
        self.loop.read_to_end(0.1)


def audit(ledger, port, queues, name, limit_s=20):
    """Takes everything out of these queues and their dead letters with confirmed acceptances.

    Nobody else may be connected. Waits for what the ledger knows to be there; then a drain shows that
    nothing else is. A message on neither side by then is lost.
    """
    load = Load(ledger, port, random.Random(0), name)
    connection = load.connect("a")
    for queue in queues:
        for dead in (False, True):
            consumer = Consumer(load, connection, queue, dead, True, 500)
            consumer.mix = (("accepted", 1),)
            load.consumers.append(consumer)

    def turn(done, limit_s):
        def step():
            for consumer in load.consumers:
                consumer.work()
            return done()
        return load.loop.run(step, limit_s)

    progress = [-1]
    while True:
        missing = sum(ledger.missing(queue) for queue in queues)
        if missing == 0 or missing == progress[0] or connection.closed:
            break
        progress[0] = missing
        turn(lambda: sum(ledger.missing(queue) for queue in queues) == 0, limit_s / 2)
    turn(lambda: all(c.link.attached or c.link.detached for c in load.consumers), limit_s)
    for consumer in load.consumers:
        consumer.credit = 0
        consumer.link.flow(10_000, drain=True)
    drained = turn(lambda: all(c.link.drained for c in load.consumers), limit_s)
    confirmed = turn(lambda: all(not c.link.awaiting for c in load.consumers), limit_s)
    trouble = load.trouble()
    if trouble or not drained or not confirmed:
        ledger.violation("other", 0, f"audit of {queues}: {trouble or ('drain' if not drained else 'settlement') + ' not answered'}")
    for queue in queues:
        ledger.audited(queue)
    load.close()
