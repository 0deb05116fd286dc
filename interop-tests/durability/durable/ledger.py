"""The independent ledger: for every message, where the broker may have it, and whether that was kept.

A message's state is (place, count, replay): nowhere `N`, in the queue `Q`, in the dead letters `D`, gone after
an acceptance `G`; and the last replay that put it back (0: none; they are numbered as they begin). For each message the ledger keeps a *trail*: the states it went through, oldest first, from
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
- poison (failed with a parsing error, which is permanent by the shipped rules) -> D with count + 1; rejected
  where a rule of the queue retries it -> Q with count + 1.
- a replay puts (D, count, r) back as (Q, 0, its number) if r is an older one; never if it is itself.
- a message sent again under its message-id changes nothing, but for N -> Q where ids are remembered.
- a failed message is not delivered before its delay is over, measured from when we sent the failure.
- retry-order = "group": while a message that surely failed is in the queue, no later one of its group is
  delivered, except those that were out already.
- an audit takes everything out: what cannot be N or G must be found, what is not found is gone for good.

The file written beside it holds every event, and is where a message's history is read from.
"""
import time
import zlib
from collections import deque
from dataclasses import dataclass

NOWHERE, GONE = ("N", 0, 0), ("G", 0, 0)
KINDS = {
    "lost": "acked but lost",
    "returned": "confirmed or settled but returned",
    "count": "delivery-count wrong",
    "place": "in both or neither of queue and dead letters",
    "early": "delivered before its retry was due",
    "delay": "retry time not kept over a restart",
    "replay": "left behind by a replay that was done",
    "doubled": "put back twice by one replay",
    "duplicate": "duplicate queued",
    "group": "delivered before a failed one of its group",
    "order": "first deliveries out of order",
    "twice": "delivered to two at once",
    "content": "message changed",
    "other": "protocol or process",
}


# Their clock and ours are one, but they count whole milliseconds.
CLOCK_MS = 2
# The kinds that every report names, and those it names where the broker has all features on.
ALWAYS, WITH_FEATURES = 4, 10


@dataclass(frozen=True)
class Traits:
    """What a queue does beyond the plain rules."""

    # (first, initial, max) milliseconds before a retry, without jitter.
    delays: tuple = None
    # Up to which attempt a rejected message is tried again.
    rejected_retries: int = 0
    # Messages with the same id are queued once.
    once: bool = False
    grouped: bool = False

    def delay_ms(self, failures):
        first, initial, most = self.delays
        return first if failures == 1 else min(most, initial * 2 ** (failures - 2))


PLAIN = Traits()


class Entry:
    """One message. `trail` is a list of (token, set of states)."""

    __slots__ = ("id", "queue", "producer", "trail", "acked", "holder", "base", "seen", "crc", "pending", "tokens", "acquired", "acquired_least",
                 "group", "bare", "resent", "handed", "due")

    def __init__(self, message_id, queue, producer, crc):
        self.id, self.queue, self.producer, self.crc = message_id, queue, producer, crc
        self.trail = [(0, {NOWHERE}), (1, {("Q", 0, 0)})]
        # The group, the bytes while it may have to be sent again, whether it was, whether this broker process
        # has handed it out, and from when on (milliseconds since 1970) it may be seen with which count.
        self.group, self.bare, self.resent, self.handed, self.due = None, None, False, False, {}
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

    def __init__(self, name, max_attempts, traits=PLAIN):
        self.name, self.max_attempts, self.traits = name, max_attempts, traits
        # The replay that is not known to be done, and whether this process runs it.
        self.campaign, self.replaying = 0, False
        # The newest answers with the bytes they were for, and messages whose answer the publisher lost as it
        # died with the broker: it sends them again, whatever has become of them.
        self.heard, self.forgotten = deque(maxlen=60), []
        # Failed messages by group, each with the connection that heard of it (None: before the last restart).
        self.blockers = {}
        self.suspects, self.disturbed = 0, False
        self.entries = {}
        # About how many are in the queue itself: what producers go by.
        self.waiting = 0


def replayed(states, number):
    """What a replay makes of these: letters that it has not put back before go back, with a fresh count."""
    return {("Q", 0, number) for place, _, last in states if place == "D" and last < number}


def failed(entry):
    """Whether it has surely failed and is in its queue still."""
    return all(place == "Q" and count > 0 for place, count, _ in entry.now) and len(entry.trail) == 1


class Ledger:
    """All messages of all queues. Violations are collected in `violations` as (kind, message id, text)."""

    def __init__(self, path, queues, traits=None):
        self.traits = traits or {}
        self.path, self.file = path, open(path, "w", buffering=1 << 20)
        self.queues = {name: Queue(name, attempts, self.traits.get(name, PLAIN)) for name, attempts in queues.items()}
        self.entries, self.finished = {}, set()
        self.violations, self.next_id = [], 1
        self.totals = dict.fromkeys(("sent", "acked", "refused", "delivered", "settled", "confirmed", "found", "resent", "replays", "interrupted", "put back", "looked", "delayed"), 0)
        self.order, self.campaigns, self.resent_ids = {}, 0, set()
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

    def sent(self, queue, producer, bare, group=None):
        entry = Entry(self.next_id, queue, producer, zlib.crc32(bare))
        self.next_id += 1
        entry.group = group
        if self.queues[queue].traits.once:
            entry.bare = bare
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
        self.totals["acked"] += not entry.acked
        if entry.bare is not None and not entry.acked:
            self.queues[entry.queue].heard.append((entry, entry.bare))
        entry.acked, entry.bare = True, None
        self.note(entry.id, "acked")
        steps = [(token, states - {NOWHERE}) for token, states in entry.trail]
        entry.trail = [step for step in steps if step[1]] or entry.trail[-1:]

    def resent(self, entry):
        """The same message under the same id once more: it is queued if the broker never had it."""
        entry.resent = True
        self.resent_ids.add(entry.id)
        self.totals["resent"] += 1
        self.note(entry.id, "sent again")
        if NOWHERE in entry.now:
            entry.tokens += 1
            entry.trail.append((entry.tokens, {("Q", 0, 0) if state == NOWHERE else state for state in entry.now}))

    def unanswered(self, name):
        """What a publisher of a queue that remembers ids has to send again."""
        queue = self.queues[name]
        known = {**queue.entries, **{entry.id: entry for entry in queue.forgotten}}
        return [entry for entry in known.values() if entry.bare is not None]

    def refused(self, entry, why):
        """The broker said it did not take it."""
        self.totals["refused"] += 1
        self.note(entry.id, f"refused: {why}")
        if entry.seen:
            self.violation("other", entry.id, "refused although it was delivered")
        entry.trail, entry.bare = [(0, {NOWHERE})], None
        self.queues[entry.queue].waiting -= 1

    # ---- delivery and settlement ------------------------------------------------------------------

    def delivered(self, link, message, dead):
        """A delivery on `link` of the queue (or of its dead letters). The entry, or None if unknown."""
        self.totals["delivered"] += 1
        place = "D" if dead else "Q"
        state = (place, message.delivery_count)
        entry = self.entries.get(message.message_id)
        if entry is None or entry.queue != link.queue:
            self.unexpected(message.message_id, f"unexpected delivery from {link.queue} {state}")
            return None
        self.note(entry.id, f"delivered {place} count={message.delivery_count} acquired={message.acquired_count} on {link.name}")
        if zlib.crc32(message.bare) != entry.crc:
            self.violation("content", entry.id, "the bare message is not what was sent")
        if entry.holder is not None and not self.ending:
            self.violation("duplicate" if entry.resent else "twice", entry.id, f"delivered on {link.name} while {entry.holder.name} has it")
        self._observe(entry, state)
        if not dead:
            self._due(entry, state)
            if not entry.seen:
                self._in_order(entry, link)
            if entry.group is not None:
                self._group_order(entry, link)
        if message.acquired_count < entry.acquired_least:
            self.violation("count", entry.id, f"acquired-count {message.acquired_count}, at least {entry.acquired_least} was confirmed")
        entry.acquired = message.acquired_count
        entry.seen = entry.handed = True
        entry.holder, entry.base, entry.pending = link, entry.now, None
        return entry

    def unexpected(self, message_id, text):
        known = "duplicate" if message_id in self.resent_ids else "returned"
        self.violation(known if message_id in self.finished else "other", message_id, text)

    def possible(self, entry):
        """What it may be by now: a replay that runs moves letters without a word."""
        queue = self.queues[entry.queue]
        return entry.now | self._put_back(queue, entry)

    @staticmethod
    def _put_back(queue, entry):
        return replayed(entry.now, queue.campaign) if queue.replaying else set()

    def _observe(self, entry, state):
        """It was seen in this place with this count."""
        queue, possible = self.queues[entry.queue], self.possible(entry)
        matching = {one for one in possible if one[:2] == state}
        if matching and not matching & self._put_back(queue, entry):
            entry.trail[-1] = (entry.trail[-1][0], matching)
        elif matching or self.ending or self.suspect(entry, state):
            # Something happened that may not be on the disk yet: what was before stays possible.
            replays = {one[2] for one in possible} | {queue.campaign}
            entry.tokens += 1
            queue.waiting += bool(matching) and state[0] == "Q"
            entry.trail.append((entry.tokens, matching or {(*state, replay) for replay in replays}))
        else:
            self.classify(entry, state)
            entry.trail[-1] = (entry.trail[-1][0], {(*state, max(one[2] for one in entry.now))})

    def _due(self, entry, state):
        """"A failed message waits": not a moment less than its queue's delay."""
        due, now = entry.due.get(state[1]), time.time() * 1000
        if due is not None and now < due - CLOCK_MS:
            self.violation("early", entry.id, f"delivered with count {state[1]} {due - now:.0f} ms before it was due")

    def held_back(self, queue):
        """After a restart: whoever surely failed holds back its group."""
        queue.blockers = {}
        for entry in queue.entries.values():
            self._blocks(queue, entry, None)

    def _blocks(self, queue, entry, heard):
        """Holds back its group from now on, if it surely failed. A crash suspect may be dead already."""
        last = queue.suspects > 0 and any(count + 1 >= queue.max_attempts for _, count, _ in entry.now)
        if entry.group is not None and failed(entry) and not last:
            queue.blockers.setdefault(entry.group, {})[entry] = heard

    def _group_order(self, entry, link):
        for blocker, heard in self.queues[entry.queue].blockers.get(entry.group, {}).items():
            if blocker.id < entry.id and failed(blocker) and not entry.handed and heard in (None, link.connection):
                self.violation("group", entry.id, f"delivered while {blocker.id} of its group has failed")

    def _in_order(self, entry, link):
        """FIFO as one link sees it, as long as nobody gave messages back that we never saw."""
        queue = self.queues[entry.queue]
        if entry.resent or any(count or last for _, count, last in entry.now) or (queue.suspects and queue.campaign):
            # Not where it was published, or handed out before and lost on its way to us.
            return
        key = (entry.queue, entry.producer, entry.group, link.name)
        if not queue.disturbed and not self.ending and self.order.get(key, 0) > entry.id:
            self.violation("order", entry.id, f"first delivered on {link.name} after {self.order[key]}")
        self.order[key] = max(entry.id, self.order.get(key, 0))

    def suspect(self, entry, state):
        """Whether lost connections explain this count; each explains one, and the same message may be hit again."""
        queue, possible = self.queues[entry.queue], {one[:2] for one in self.possible(entry)}
        place, count = state
        for used in range(1, queue.suspects + 1):
            before = {(place, count - used)}
            if place == "D" and count >= queue.max_attempts:
                before.add(("Q", count - used))
            if count == 0 and queue.campaign:
                # Died of it, and was put back before anybody saw it.
                before.add(("Q", queue.max_attempts - used))
            if before & possible:
                queue.suspects -= used
                self.note(entry.id, f"counted as a crash suspect: {used}")
                return True
        return False

    def classify(self, entry, state):
        now = entry.now
        if now == {GONE}:
            kind = "duplicate" if entry.resent else "returned"
        elif state == ("Q", 0) and any(one[0] == "D" and one[2] == self.queues[entry.queue].campaign > 0 for one in now):
            kind = "doubled"
        elif now == {NOWHERE}:
            kind = "other"
        else:
            kind = "count" if any(one[0] == state[0] for one in now) else "place"
        self.violation(kind, entry.id, f"delivered as {state}, possible was {sorted(now)}")

    def settled(self, entry, outcome, link):
        """An answer was sent. The token to confirm it with."""
        self.totals["settled"] += 1
        self.note(entry.id, f"{outcome} sent on {link.name}")
        queue = self.queues[entry.queue]
        after = {self._after(queue, state, outcome) for state in entry.base}
        for place, count, _ in after:
            if place != "Q" and any(state[0] == "Q" for state in entry.base):
                queue.waiting -= 1
            elif queue.traits.delays and outcome == "failed":
                entry.due[count] = time.time() * 1000 + queue.traits.delay_ms(count)
        entry.tokens += 1
        entry.trail.append((entry.tokens, after))
        entry.pending = (link, entry.base)
        entry.holder = None
        return entry.tokens

    def _after(self, queue, state, outcome):
        place, count, replay = state
        if outcome in ("accepted", "released"):
            return GONE if outcome == "accepted" else state
        again = outcome == "failed" or (outcome == "rejected" and count < queue.traits.rejected_retries)
        return ("Q" if again and count + 1 < queue.max_attempts else "D", count + 1, replay)

    def confirmed(self, entry, token, outcome, connection=None):
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
        self._blocks(self.queues[entry.queue], entry, connection)
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
        self.mark(f"lost {link.name}")
        queue = self.queues[link.queue]
        queue.disturbed, queue.suspects = True, queue.suspects + 1
        # Any of them may be the one that was counted, and be dead now.
        queue.blockers.clear()
        for entry in queue.entries.values():
            if entry.holder is link:
                entry.holder = None
            elif entry.pending is not None and entry.pending[0] is link:
                entry.trail[-1] = (entry.trail[-1][0], entry.now | entry.pending[1])
                entry.pending = None

    def crashed(self):
        """The broker is dead: any state of a trail may be what its disk says."""
        for entry in self.entries.values():
            queue = self.queues[entry.queue]
            states = set().union(*(states for _, states in entry.trail))
            if queue.replaying:
                states |= replayed(states, queue.campaign)
            entry.trail = [(0, states)]
            entry.tokens = 1
            entry.holder, entry.pending, entry.handed = None, None, False
        self.deaf = self.ending = False
        for queue in self.queues.values():
            queue.disturbed = queue.replaying = False
            queue.forgotten = []
            for entry, bare in list(queue.heard)[::3]:
                entry.bare = bare
                queue.forgotten.append(entry)
            queue.heard.clear()
            queue.waiting = sum(1 for entry in queue.entries.values() if any(state[0] == "Q" for state in entry.now))
            self.held_back(queue)
        self.order.clear()
        self.file.flush()

    def audited(self, name):
        """Everything there was has been delivered and taken out; what is left was not there."""
        queue = self.queues[name]
        for entry in list(queue.entries.values()):
            if GONE not in entry.now and NOWHERE not in entry.now:
                kind = "place" if any(state[0] == "D" for state in entry.now) else "lost"
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
