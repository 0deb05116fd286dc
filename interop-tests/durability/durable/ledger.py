"""The independent ledger: for every message, where the broker may have it, and whether that was kept.

A message's state is (place, count): nowhere `N`, in the queue `Q`, in the dead letters `D`, gone after an
acceptance `G`. For each message the ledger keeps a *trail*: the states it went through, oldest first, from
the last one the broker confirmed. While the broker lives, the last of the trail is the state. After a
crash any state of the trail may be what was on the disk, and nothing else. What the rules allow:

- sent: N, Q. Acknowledged: N is no longer possible.
- `x-opt-acquired-count` is at least the number of confirmed answers that gave the message back.
- a delivery says which state it is; it must be one that is possible.
- accepted -> G; released -> the same; failed -> Q with count + 1, at the attempt limit D with that count;
  rejected -> D with count + 1. Sent: appended to the trail. Confirmed (settled reply on a second-mode
  link): everything before it is struck out, but for released, which promises nothing. Answers on a
  first-mode link are never confirmed.
- the broker is killed: the possible states are those of the trail. Unsettled deliveries count nothing.
- the client drops a connection while the broker lives: what was sent on it may or may not have been read,
  so both stay possible; and for every consuming link lost, one message of its queue (the oldest there,
  perhaps still on the wire and never seen here) may have count + 1 (crash suspects, settlement.md).
- the broker stops (SIGTERM, a failed disk): it closes one link after the other, and what we answered on a
  closed one may go to another link as if we had not; only what is there after the restart is judged.
- a clean detach: what was unsettled goes back with the same count.
- an audit takes everything out: what cannot be N or G must be found, what is not found is gone for good.

The file written beside it holds every event, and is where a message's history is read from.
"""
import time
import zlib

NOWHERE, GONE = ("N", 0), ("G", 0)
KINDS = {
    "lost": "acked but lost",
    "returned": "confirmed or settled but returned",
    "count": "delivery-count wrong",
    "place": "in both or neither of queue and dead letters",
    "order": "first deliveries out of order",
    "twice": "delivered to two at once",
    "content": "message changed",
    "other": "protocol or process",
}


class Entry:
    """One message. `trail` is a list of (token, set of states)."""

    __slots__ = ("id", "queue", "producer", "trail", "acked", "holder", "base", "seen", "crc", "pending", "tokens", "acquired", "acquired_least")

    def __init__(self, message_id, queue, producer, crc):
        self.id, self.queue, self.producer, self.crc = message_id, queue, producer, crc
        self.trail = [(0, {NOWHERE}), (1, {("Q", 0)})]
        self.acked, self.holder, self.base, self.seen = False, None, None, False
        self.pending, self.tokens = None, 1
        self.acquired = self.acquired_least = 0

    @property
    def now(self):
        return self.trail[-1][1]

    def certain(self):
        """Whether it must be somewhere: found by an audit, or lost."""
        return NOWHERE not in self.now and GONE not in self.now


class Queue:
    """What the ledger knows of one queue: its limit, its open messages, and allowances."""

    def __init__(self, name, max_attempts):
        self.name, self.max_attempts = name, max_attempts
        self.suspects, self.disturbed = 0, False
        self.entries = {}
        # About how many are in the queue itself: what producers go by.
        self.waiting = 0


class Ledger:
    """All messages of all queues. Violations are collected in `violations` as (kind, message id, text)."""

    def __init__(self, path, queues):
        self.path, self.file = path, open(path, "w", buffering=1 << 20)
        self.queues = {name: Queue(name, attempts) for name, attempts in queues.items()}
        self.entries, self.finished = {}, set()
        self.violations, self.next_id = [], 1
        self.totals = dict.fromkeys(("sent", "acked", "refused", "delivered", "settled", "confirmed", "found"), 0)
        self.order = {}
        # While set, answers are noted and promise nothing (see image.py).
        self.deaf = False
        # While set, the broker is stopping and closes links in an order we cannot see.
        self.ending = False
        self.start = time.monotonic()

    def note(self, message_id, text):
        self.file.write(f"{message_id} {time.monotonic() - self.start:.4f} {text}\n")

    def mark(self, text):
        self.note("-", text)

    def violation(self, kind, message_id, text):
        self.violations.append((kind, message_id, text))
        self.note(message_id, f"VIOLATION {kind}: {text}")

    def count(self, kind):
        return sum(1 for v in self.violations if v[0] == kind)

    # ---- publishing -------------------------------------------------------------------------------

    def sent(self, queue, producer, bare):
        entry = Entry(self.next_id, queue, producer, zlib.crc32(bare))
        self.next_id += 1
        self.entries[entry.id] = self.queues[queue].entries[entry.id] = entry
        self.totals["sent"] += 1
        self.queues[queue].waiting += 1
        self.note(entry.id, f"sent to {queue} by {producer}")
        return entry

    def acked(self, entry):
        """The broker said accepted: it must never be nowhere again."""
        if self.deaf:
            self.note(entry.id, "acked after the cut")
            return
        self.totals["acked"] += 1
        entry.acked = True
        self.note(entry.id, "acked")
        self._strike(entry, 1)

    def refused(self, entry, why):
        """The broker said it did not take it."""
        self.totals["refused"] += 1
        self.note(entry.id, f"refused: {why}")
        if entry.seen:
            self.violation("other", entry.id, "refused although it was delivered")
        entry.trail = [(0, {NOWHERE})]
        self.queues[entry.queue].waiting -= 1

    # ---- delivery and settlement ------------------------------------------------------------------

    def delivered(self, link, message, dead):
        """A delivery on `link` of the queue (or of its dead letters). The entry, or None if unknown."""
        self.totals["delivered"] += 1
        place = "D" if dead else "Q"
        state = (place, message.delivery_count)
        entry = self.entries.get(message.message_id)
        if entry is None or entry.queue != link.queue:
            kind = "returned" if message.message_id in self.finished else "other"
            self.violation(kind, message.message_id, f"unexpected delivery from {link.queue} {state}")
            return None
        self.note(entry.id, f"delivered {place} count={message.delivery_count} acquired={message.acquired_count} on {link.name}")
        if zlib.crc32(message.bare) != entry.crc:
            self.violation("content", entry.id, "the bare message is not what was sent")
        if entry.holder is not None and not self.ending:
            self.violation("twice", entry.id, f"delivered on {link.name} while {entry.holder.name} has it")
        if state not in entry.now and (self.ending or self._suspect(entry, state)):
            # Something happened that may not be on the disk yet: what was before stays possible.
            entry.tokens += 1
            entry.trail.append((entry.tokens, {state}))
        else:
            if state not in entry.now:
                self._classify(entry, state)
            entry.trail[-1] = (entry.trail[-1][0], {state})
        if not entry.seen and not dead:
            self._in_order(entry, link)
        if message.acquired_count < entry.acquired_least:
            self.violation("count", entry.id, f"acquired-count {message.acquired_count}, at least {entry.acquired_least} was confirmed")
        entry.acquired = message.acquired_count
        entry.seen = True
        entry.holder, entry.base, entry.pending = link, state, None
        return entry

    def _in_order(self, entry, link):
        """FIFO as one link sees it, as long as nobody gave messages back that we never saw."""
        key = (entry.queue, entry.producer, link.name)
        if not self.queues[entry.queue].disturbed and not self.ending and self.order.get(key, 0) > entry.id:
            self.violation("order", entry.id, f"first delivered on {link.name} after {self.order[key]}")
        self.order[key] = max(entry.id, self.order.get(key, 0))

    def _suspect(self, entry, state):
        """Whether a lost connection explains this count; each explains one."""
        queue = self.queues[entry.queue]
        place, count = state
        before = {(place, count - 1)}
        if place == "D" and count >= queue.max_attempts:
            before.add(("Q", count - 1))
        if queue.suspects > 0 and before & entry.now:
            queue.suspects -= 1
            self.note(entry.id, "counted as a crash suspect")
            return True
        return False

    def _classify(self, entry, state):
        now = entry.now
        if now == {GONE}:
            kind = "returned"
        elif now == {NOWHERE}:
            kind = "other"
        else:
            kind = "count" if any(place == state[0] for place, _ in now) else "place"
        self.violation(kind, entry.id, f"delivered as {state}, possible was {sorted(now)}")

    def settled(self, entry, outcome, link):
        """An answer was sent. The token to confirm it with."""
        self.totals["settled"] += 1
        place, count = entry.base
        self.note(entry.id, f"{outcome} sent on {link.name}")
        if outcome == "accepted":
            after = GONE
        elif outcome == "released":
            after = entry.base
        elif outcome == "failed" and count + 1 < self.queues[entry.queue].max_attempts:
            after = ("Q", count + 1)
        else:
            after = ("D", count + 1)
        if place == "Q" and after[0] != "Q":
            self.queues[entry.queue].waiting -= 1
        entry.tokens += 1
        entry.trail.append((entry.tokens, {after}))
        entry.pending = (link, entry.base)
        entry.holder = None
        return entry.tokens

    def confirmed(self, entry, token, outcome):
        """The broker's settled reply: everything before that answer is past, and it was given back once more."""
        if self.deaf:
            self.note(entry.id, f"confirmed {token} after the cut")
            return
        self.totals["confirmed"] += 1
        self.note(entry.id, f"confirmed {token} {outcome}")
        if outcome in ("released", "failed"):
            entry.acquired_least += 1
        if outcome == "released":
            # No promise about the message itself, which its publisher may not have had an answer for.
            return
        self._strike(entry, token)
        # An older answer's confirmation may come after, on another connection.
        if entry.now == {GONE} and len(entry.trail) == 1 and entry.acked and entry.id in self.entries:
            self._finish(entry)

    def _strike(self, entry, token):
        entry.trail = [step for step in entry.trail if step[0] >= token] or entry.trail[-1:]

    def _finish(self, entry):
        self.finished.add(entry.id)
        del self.entries[entry.id]
        del self.queues[entry.queue].entries[entry.id]

    # ---- the end of links and of brokers ----------------------------------------------------------

    def detached(self, link):
        """A clean end: what the link held is back with its count."""
        self.queues[link.queue].disturbed = True
        for entry in self.queues[link.queue].entries.values():
            if entry.holder is link:
                entry.holder = None

    def lost(self, link):
        """The client dropped the connection while the broker lives."""
        queue = self.queues[link.queue]
        queue.disturbed, queue.suspects = True, queue.suspects + 1
        for entry in queue.entries.values():
            if entry.holder is link:
                entry.holder = None
            elif entry.pending is not None and entry.pending[0] is link:
                entry.trail[-1] = (entry.trail[-1][0], entry.now | {entry.pending[1]})
                entry.pending = None

    def crashed(self):
        """The broker is dead: any state of a trail may be what its disk says."""
        for entry in self.entries.values():
            states = set().union(*(states for _, states in entry.trail))
            entry.trail = [(0, states)]
            entry.tokens = 1
            entry.holder = entry.pending = None
        self.deaf = self.ending = False
        for queue in self.queues.values():
            queue.disturbed = False
            queue.waiting = sum(1 for entry in queue.entries.values() if any(place == "Q" for place, _ in entry.now))
        self.order.clear()
        self.file.flush()

    def audited(self, name):
        """Everything there was has been delivered and taken out; what is left was not there."""
        queue = self.queues[name]
        for entry in list(queue.entries.values()):
            if GONE not in entry.now and NOWHERE not in entry.now:
                kind = "place" if any(place == "D" for place, _ in entry.now) else "lost"
                self.violation(kind, entry.id, f"not found in {name} nor its dead letters, possible was {sorted(entry.now)}")
            self._finish(entry)
        queue.suspects = queue.waiting = 0

    def missing(self, name):
        """How many messages an audit of this queue still has to see."""
        return sum(1 for entry in self.queues[name].entries.values() if entry.certain() and entry.pending is None)

    def history(self, message_id):
        """Every line about one message, and what happened to the broker meanwhile."""
        self.file.flush()
        wanted, found = f"{message_id} ", []
        with open(self.path) as lines:
            for line in lines:
                if line.startswith(wanted) or (found and line.startswith("- ")):
                    found.append(line.rstrip())
        return found
