"""What the ledger makes of a look at a whole queue and its dead letters through `$management`.

Nobody is connected but the one who looks, so a look is complete: what must be there is, once, in the state
it must be in. Right after a restart it also says what the disk has.
"""
import time

from .ledger import CLOCK_MS, GONE, NOWHERE


class Found:
    """One message as MESSAGES or LIST tell of it. Replays have our numbers as names."""

    def __init__(self, place, summary):
        self.place, self.id = place, int(summary["message-id"])
        self.count, self.status, self.not_before = summary["delivery-count"], summary["status"], summary["not-before"]
        self.replays = [int(replay["id"]) for replay in summary.get("replays") or []]
        self.state = (place, self.count, max(self.replays, default=0))


def looked(ledger, name, found, durable):
    """All that is in one queue and its dead letters. `durable`: nothing has happened since the restart."""
    queue, seen = ledger.queues[name], {}
    for one in found:
        ledger.totals["looked"] += 1
        entry = ledger.entries.get(one.id)
        if entry is None or entry.queue != name:
            ledger.unexpected(one.id, f"found in {name} as {one.state}")
            continue
        ledger.note(one.id, f"found as {one.state} {one.status}, replays {one.replays}")
        if one.id in seen:
            kind = "place" if seen[one.id].place != one.place else "duplicate" if entry.resent else "doubled"
            ledger.violation(kind, one.id, f"found twice, as {seen[one.id].state} and {one.state}")
            continue
        seen[one.id] = one
        _compare(ledger, queue, entry, one)
        if durable:
            entry.trail, entry.tokens = [(0, {one.state})], 1
        else:
            entry.trail[-1] = (entry.trail[-1][0], {one.state})
    for entry in list(queue.entries.values()):
        if entry.id not in seen:
            _absent(ledger, name, entry, durable)
    if durable:
        queue.suspects = 0
        ledger.held_back(queue)


def _compare(ledger, queue, entry, one):
    """Whether a message may be what it was found to be."""
    if len(set(one.replays)) < len(one.replays):
        ledger.violation("doubled", entry.id, f"its replays are {one.replays}")
    if one.state in entry.now:
        return
    # A crash suspect may have died and been put back unseen.
    unseen = queue.suspects > 0 and any(state[:2] == one.state[:2] for state in entry.now)
    if unseen:
        queue.suspects -= 1
    elif one.place == "D" and all(place == "Q" and count == 0 and last > one.state[2] for place, count, last in entry.now):
        ledger.violation("replay", entry.id, f"found as {one.state}, possible was {sorted(entry.now)}")
    elif not ledger.suspect(entry, one.state[:2]):
        ledger.classify(entry, one.state[:2])


def _absent(ledger, name, entry, durable):
    """It is nowhere: was that possible?"""
    left = entry.now & {NOWHERE, GONE}
    if not left:
        kind = "place" if any(state[0] == "D" for state in entry.now) else "lost"
        ledger.violation(kind, entry.id, f"found neither in {name} nor its dead letters, possible was {sorted(entry.now)}")
    elif durable:
        entry.trail, entry.tokens = [(0, left)], 1
    else:
        entry.trail[-1] = (entry.trail[-1][0], left)


def replay_done(ledger, name, number, complete):
    """A replay ended with nobody else about. `complete`: it left no letter out."""
    queue = ledger.queues[name]
    for entry in queue.entries.values():
        moved = {("Q", 0, number) if place == "D" and last < number else (place, count, last) for place, count, last in entry.now}
        if moved != entry.now:
            # Perhaps not on the disk yet.
            entry.tokens += 1
            entry.trail.append((entry.tokens, moved if complete else moved | entry.now))
    queue.campaign, queue.replaying = 0, False


def compare_retry_times(ledger, told, found):
    """"A message waiting for its retry is still waiting, until the same time": `told` is from before the crash."""
    now = time.time() * 1000
    for one in found:
        count, not_before = told.get(one.id, (None, None))
        if one.place != "Q" or one.count != count:
            continue
        ledger.totals["delayed"] += 1
        if one.not_before is None and now < not_before - CLOCK_MS:
            ledger.violation("early", one.id, f"{one.status} {not_before - now:.0f} ms before it was due")
        elif one.not_before not in (None, not_before):
            ledger.violation("delay", one.id, f"waits until {one.not_before}, before the restart until {not_before}")
