"""scripts/power-cut: the file system loses everything unflushed, under load, and promises still hold.

The data directory is on an ext4 image that is shut down at a random moment. Half of the cycles let the
broker live on for a moment with a disk that fails: it must not claim anything any more.
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
    scenario.ledger.mark("power cut")
    scenario.image.shut_down()
    if rng.random() < 0.5:
        until = time.monotonic() + rng.uniform(0, 0.3)
        while time.monotonic() < until and load.loop.connections:
            load.step()
    broker.kill()
    load.crashed()
    scenario.image.remount()


def main():
    sys.exit(Scenario("power-cut", arguments(__doc__, 20)).run(cycle, finish, prepare))
