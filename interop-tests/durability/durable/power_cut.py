"""scripts/power-cut: the file system loses everything unflushed, under load, and promises still hold.

The data directory is on an ext4 image that is shut down at a random moment: half of the cycles while the
broker runs; the others while it is stopped, after which it mostly may go on for a moment with a disk that
fails, and must not claim anything any more.
"""
import sys
import time

from .image import Image
from .kill_cycles import finish, run_load
from .scenario import QUEUES, Scenario, arguments

IMAGE_MIB = 512


def prepare(scenario):
    scenario.image = Image(scenario, IMAGE_MIB)
    scenario.image.self_test()
    print("  self-test: unflushed data is dropped, fsynced data stays", flush=True)
    scenario.fresh(scenario.image.mount_point / "data")


def cycle(scenario):
    rng, broker, names = scenario.rng, scenario.broker, list(QUEUES)
    broker.start()
    scenario.audit(names if scenario.cycle % 5 == 0 else [names[scenario.cycle % len(names)]])
    if not scenario.clean():
        return
    load = run_load(scenario, rng.uniform(0.1, 2.0), quiet=True)
    cut(scenario, load)
    broker.kill()
    load.crashed()
    scenario.image.remount()


def cut(scenario, load):
    """In the middle of whatever is being written, or between two system calls with an aftermath."""
    rng, ledger = scenario.rng, scenario.ledger
    if rng.random() < 0.5:
        for _ in range(3):
            load.loop.turn(0)
        ledger.mark("power cut")
        ledger.deaf = ledger.ending = True
        scenario.image.shut_down()
        return
    scenario.broker.freeze()
    ledger.mark("power cut while stopped")
    scenario.image.shut_down()
    if rng.random() < 0.7:
        ledger.ending = True
        scenario.broker.thaw()
        until = time.monotonic() + rng.uniform(0, 0.3)
        while time.monotonic() < until and load.loop.connections:
            load.step()


def main():
    sys.exit(Scenario("power-cut", arguments(__doc__, 20)).run(cycle, finish, prepare))
