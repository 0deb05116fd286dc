"""What all scenarios share: a work directory, queues with different limits, and the report at the end.

A scenario that fails keeps its directory and prints the seed, the cycle and the history of every message
the ledger complains about. One that passes removes it.
"""
import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from .broker import Broker, BrokerFailed, find_binary
from .ledger import ALWAYS, KINDS, WITH_FEATURES, Ledger
from .load import audit

# Name and max-attempts; `plain` is not in the configuration, so it has the default of 10.
QUEUES = {"k0": 3, "k1": 1, "k2": 4, "plain": 10}
CONFIG = """\
[[queue]]
name = "k0"
max-attempts = 3
retry-delay = { first = "0ms", initial = "0ms" }

[[queue]]
name = "k1"
max-attempts = 1

[[queue]]
name = "k2"
max-attempts = 4
retry-delay = { first = "0ms", initial = "5ms", max = "20ms" }
"""


class Skipped(Exception):
    """This machine does not permit the scenario; the text says what is missing."""


class Failed(Exception):
    """A check that is not about one message failed."""


def arguments(description, cycles):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--cycles", type=int, default=cycles, help=f"how many (default {cycles})")
    parser.add_argument("--seed", type=int, default=None, help="what all choices come from (default: the time)")
    parser.add_argument("--keep", action="store_true", help="keep the work directory even when all is well")
    args = parser.parse_args()
    if args.seed is None:
        args.seed = int(time.time()) % 1_000_000
    return args


class Scenario:
    """A named run of cycles against one data directory (or one each)."""

    def __init__(self, name, args, data=None, features=None):
        # See features.py; most scenarios do without.
        self.features = features
        self.name, self.args, self.rng = name, args, random.Random(args.seed)
        self.work = Path(tempfile.mkdtemp(prefix=f"verdict-{name}-"))
        self.passed, self.failed, self.cycle = 0, 0, 0
        # Undone before the report, newest first: mounts.
        self.cleanups = []
        self.fresh(data)

    def fresh(self, data=None, more_config=""):
        """A new data directory with a ledger of its own; totals go on."""
        before = getattr(self, "ledger", None)
        self.data = Path(data) if data else self.work / f"data-{self.cycle}"
        queues, traits = QUEUES, {}
        if self.features is not None:
            more_config += self.features.CONFIG
            queues, traits = {**QUEUES, **self.features.QUEUES}, self.features.TRAITS
        self.broker = Broker(find_binary(), self.data, self.work, CONFIG + more_config)
        self.ledger = Ledger(self.work / f"ledger-{self.cycle}.txt", queues, traits)
        if before is not None:
            before.file.close()
            self.ledger.totals = before.totals

    def audit(self, queues, limit_s=20):
        audit(self.ledger, self.broker.port, queues, f"audit{self.cycle}", limit_s)

    def check_directory(self):
        """`verdict check` on the stopped directory must find nothing wrong."""
        code, said = self.broker.check()
        if code != 0:
            raise Failed(f"verdict check exits with {code}:\n{said}")

    def clean(self):
        return not self.ledger.violations

    def run(self, cycle, finish=None, prepare=None):
        """Runs the cycles until one fails; the process's exit code."""
        print(f"{self.name}: seed {self.args.seed}, {self.args.cycles} cycles, {self.broker.binary}", flush=True)
        began = time.monotonic()
        why = None
        try:
            if prepare is not None:
                prepare(self)
            for self.cycle in range(1, self.args.cycles + 1):
                self.ledger.mark(f"cycle {self.cycle}")
                cycle(self)
                if not self.clean():
                    break
                self.passed += 1
                if self.cycle % 20 == 0:
                    print(f"  {self.cycle} cycles, {self.totals()}, {time.monotonic() - began:.0f} s", flush=True)
            if self.clean() and finish is not None:
                finish(self)
        except Skipped as skipped:
            why = skipped
        except Exception as error:  # whatever it is, the run has failed and must say with which seed
            why = f"{type(error).__name__}: {error}"
            if not isinstance(error, (BrokerFailed, Failed)):
                # From the client's decoding: either the broker's mistake or ours, so show where.
                why = traceback.format_exc()
        finally:
            self.broker.kill()
            for cleanup in reversed(self.cleanups):
                cleanup()
        if isinstance(why, Skipped):
            print(f"{self.name}: skipped: {why}")
            return self.end(0)
        return self.report(why, time.monotonic() - began)

    def totals(self):
        t = self.ledger.totals
        more = ""
        if self.ledger.traits:
            more = f", {t['resent']} sent again, {t['replays']} replays ({t['interrupted']} half done when killed, then {t['put back']} more put back)"
            more += f", {t['looked']} looked at, {t['delayed']} retry times compared"
        return f"{t['sent']} sent, {t['acked']} acked, {t['delivered']} delivered, {t['settled']} settled, {t['confirmed']} confirmed{more}"

    def report(self, why, took_s):
        self.failed = 0 if self.clean() and why is None else 1
        # The final audit speaks about all cycles: a run that fails there has not passed its last one.
        self.passed = min(self.passed, self.args.cycles - self.failed)
        if self.failed:
            self.explain(why)
        print(f"  {self.totals()}; {self.broker.starts} starts, slowest {self.broker.slowest_s * 1000:.0f} ms; {took_s:.0f} s")
        for number, (kind, words) in enumerate(KINDS.items()):
            count = self.ledger.count(kind)
            if number < (WITH_FEATURES if self.ledger.traits else ALWAYS) or count:
                print(f"  {words}: {count}")
        print(f"{self.name}: {self.passed} passed, {self.failed} failed", flush=True)
        return self.end(self.failed)

    def explain(self, why):
        print(f"{self.name}: FAILED with --seed {self.args.seed}, cycle {self.cycle}; all is kept in {self.work}")
        if why:
            print(f"  {why}\n  the broker's last words:\n{self.broker.last_words()}")
        for kind, message_id, text in self.ledger.violations[:3]:
            print(f"  {KINDS[kind]}: message {message_id}: {text}")
            for line in self.ledger.history(message_id):
                print(f"    {line}")
        if len(self.ledger.violations) > 3:
            print(f"  and {len(self.ledger.violations) - 3} more violations; all are in {self.ledger.path}")

    def end(self, code):
        self.ledger.file.close()
        if code == 0 and not self.args.keep:
            shutil.rmtree(self.work, ignore_errors=True)
        sys.stdout.flush()
        return code
