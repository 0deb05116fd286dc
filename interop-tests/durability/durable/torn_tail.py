"""scripts/torn-tail: a torn end of the journal is cut, damage before it is reported; nothing vanishes.

A first load is answered in full; its end in the journal is noted. A second lot of messages is written
whose answers nobody hears, so all of it is as good as unacknowledged. Then kill -9, and one of:

- `cut`, `zeros`, `garbage`, `flip-last`: the tail behind the noted end is damaged as a torn write may do;
  the broker must come up with everything acknowledged;
- `index-gone`, `index-garbled`: the sled directory is removed, or blocks of its files are overwritten; the
  journal alone must do;
- `flip-acked`: one bit of an acknowledged frame, with whole frames behind it. The broker must refuse to
  start and say why, or still have everything, or all but one message which it cannot read, keeps, and
  reports (as does `verdict check`). Starting without some of it in silence is the one thing forbidden.
"""
import random
import shutil
import sys

from . import amqp
from .broker import BrokerFailed
from .kill_cycles import run_load
from .load import Load
from .scenario import Failed, QUEUES, Scenario, arguments
from .segments import SEGMENT_HEADER, flip, overwrite, segments

KINDS = ("cut", "flip-acked", "garbage", "index-gone", "zeros", "flip-acked", "flip-last", "index-garbled")
TAIL = ("cut", "garbage", "zeros", "flip-last")
UNHEARD = 300
# A checkpoint behind the tail would prove that it was whole: no torn write looks like that.
NO_CHECKPOINT = """
[store]
checkpoint-interval = "10m"
"""


def acknowledged(scenario, kind):
    """A load that ends with every message answered and every answer confirmed."""
    # Long enough for a checkpoint where there is to be one.
    until_s = scenario.rng.uniform(0.1, 0.6) if kind in TAIL else scenario.rng.uniform(0.3, 2.0)
    load = run_load(scenario, until_s, quiet=True)
    answered = lambda: all(not c.unsettled and not c.confirming for c in load.loop.connections)
    if not load.loop.run(answered, 20):
        raise Failed("not every message was answered within 20 s")
    load.close()


def unheard(scenario):
    """Messages the broker has on disk and whose answers count for nothing. Leaves the broker killed."""
    load = Load(scenario.ledger, scenario.broker.port, scenario.rng, f"unheard{scenario.cycle}")
    link = load.connect("p").sender("plain", lambda *_: None)
    for _ in range(UNHEARD):
        if not load.loop.run(lambda: link.room() > 0, 20):
            raise Failed("no credit to publish with within 20 s")
        bare = amqp.bare_message(scenario.ledger.next_id, random.Random(scenario.cycle).randbytes(100))
        link.send(amqp.DURABLE_HEADER + bare, scenario.ledger.sent("plain", "unheard", bare))
        if scenario.rng.random() < 0.1:
            load.loop.turn(0.001)
    load.loop.run(lambda: not link.connection.unsettled, 20)
    scenario.broker.kill()
    load.crashed()


def damage_tail(rng, kind, last, floor):
    """Damages the last segment somewhere behind `floor`, where its last acknowledged frame ends."""
    at = rng.randrange(floor, last.end)
    if kind == "cut":
        with open(last.path, "r+b") as file:
            file.truncate(at)
    elif kind == "zeros":
        overwrite(last.path, at, bytes(last.end - at))
    elif kind == "garbage":
        overwrite(last.path, at, rng.randbytes(max(last.end - at, rng.choice((1, 100, 4096)))))
    else:
        start, end = last.frames[-1]
        at = rng.randrange(start, end)
        flip(last.path, at, rng.randrange(8))
    return f"{kind} at {at} of {last.path.name} (acknowledged up to {floor}, frames to {last.end})"


def flip_acked(rng, found, noted):
    """One bit in a frame that was acknowledged."""
    frames = [(s.path, frame) for s in found for frame in s.frames if (s.number, frame[1]) <= noted]
    path, (start, end) = rng.choice(frames)
    at = rng.randrange(start, end)
    flip(path, at, rng.randrange(8))
    return f"flip-acked at {at} of {path.name}, frame {start}..{end}"


def damage_index(rng, kind, directory):
    """Takes the index away, or writes noise into its files."""
    if kind == "index-gone":
        shutil.rmtree(directory, ignore_errors=True)
        return kind
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and path.stat().st_size > 0]
    for path in files:
        for _ in range(4):
            overwrite(path, rng.randrange(path.stat().st_size), rng.randbytes(rng.choice((1, 64, 4096))))
    return f"{kind}: {', '.join(path.name for path in files)}"


def damage(scenario, kind, noted):
    """Does what the kind says to the stopped directory; what exactly it was."""
    if kind.startswith("index"):
        return damage_index(scenario.rng, kind, scenario.data / "index")
    found = segments(scenario.data)
    if kind == "flip-acked":
        return flip_acked(scenario.rng, found, noted)
    last = found[-1]
    floor = noted[1] if last.number == noted[0] else SEGMENT_HEADER
    if last.end <= floor:
        raise Failed("the second lot of messages is not in the last segment")
    return damage_tail(scenario.rng, kind, last, floor)


def cycle(scenario):
    """Each cycle has a directory of its own: a damaged one is not used again."""
    kind = KINDS[scenario.cycle % len(KINDS)]
    scenario.fresh(None, NO_CHECKPOINT if kind in TAIL else "")
    scenario.broker.start()
    acknowledged(scenario, kind)
    before = segments(scenario.data)
    if not before:
        raise Failed(f"no journal frames found in {scenario.data}/journal: has the layout changed?")
    noted = (before[-1].number, before[-1].end)
    unheard(scenario)
    what = damage(scenario, kind, noted)
    scenario.ledger.mark(what)
    judge(scenario, kind, what)


def judge(scenario, kind, what):
    try:
        scenario.broker.start()
    except BrokerFailed as refused:
        if kind != "flip-acked" or "exited with" not in str(refused) or "exited with -" in str(refused):
            raise Failed(f"{what}: {refused}") from None
        code, said = scenario.broker.check()
        if code == 0:
            raise Failed(f"{what}: the broker refuses to start, and check finds nothing") from None
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        if not lines:
            raise Failed(f"{what}: verdict check fails without saying why") from None
        print(f"  {what}: refused: {next((line for line in lines if 'damaged' in line), lines[-1])}", flush=True)
        return
    scenario.audit(list(QUEUES))
    scenario.broker.stop()
    if kind == "flip-acked" and len(scenario.ledger.violations) == 1:
        one_unreadable(scenario, what)
        return
    print(f"  {what}: {'all there' if scenario.clean() else 'NOT all there'}", flush=True)


def one_unreadable(scenario, what):
    """The bit was in one message's body, read only when it was to be delivered: that one, and said aloud."""
    (violation, message_id, _), (code, said) = scenario.ledger.violations[0], scenario.broker.check()
    if violation in ("lost", "place") and code != 0 and "damage" in said and "ERROR" in scenario.broker.last_words(40):
        scenario.ledger.violations.clear()
        print(f"  {what}: message {message_id} unreadable, kept and reported by broker and check", flush=True)


def main():
    sys.exit(Scenario("torn-tail", arguments(__doc__, 16)).run(cycle))
