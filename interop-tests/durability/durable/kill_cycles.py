"""scripts/durability: kill -9 under load, restart, and nothing promised is missing.

Each cycle audits one queue in turn (all of them every 20th), then loads all queues until a random moment
and kills the broker; some cycles kill it while it starts, stop it with SIGTERM, lose a client or detach.
Queues with retry delays, rules, groups and duplicate detection are among them, and dead letters are being
replayed (features.py).
"""
import sys
import time

from .load import Load
from . import features
from .scenario import Failed, Scenario, arguments

LOAD_S = (0.05, 1.0)


def run_load(scenario, until_s, most_events=1 << 60, quiet=False):
    """Loads all queues for so long, or until so much was answered; the load, still connected."""
    rng = scenario.rng
    load = Load(scenario.ledger, scenario.broker.port, rng, f"cycle{scenario.cycle}")
    load.mixed(list(scenario.ledger.queues))
    replayer = features.Replayer(scenario, load, until_s) if scenario.features and not quiet else None
    drop_at = rng.uniform(0, until_s) if rng.random() < 0.2 and not quiet else None
    detach_at = rng.uniform(0, until_s) if rng.random() < 0.2 and not quiet else None
    began = time.monotonic()
    while (now := time.monotonic() - began) < until_s and load.events < most_events:
        load.step()
        if replayer is not None:
            replayer.step(now)
        if drop_at is not None and now > drop_at:
            drop_at = load.drop_one()
        if detach_at is not None and now > detach_at:
            detach_at = load.detach_one()
        trouble = load.trouble()
        if trouble or scenario.broker.process.poll() is not None:
            raise Failed(f"under load: {trouble or 'the broker is gone'}")
        if not scenario.clean():
            break
    if replayer is not None and scenario.clean():
        features.retry_times(scenario, load, replayer.manager)
    return load


def killed_at_start(scenario):
    """Recovery may be interrupted as well."""
    scenario.broker.spawn()
    time.sleep(scenario.rng.uniform(0, 0.15))
    scenario.broker.kill()


def cycle(scenario):
    rng, broker, ledger = scenario.rng, scenario.broker, scenario.ledger
    if rng.random() < 0.08:
        killed_at_start(scenario)
    broker.start()
    names = list(ledger.queues)
    names = names if scenario.cycle % 20 == 0 else [names[scenario.cycle % len(names)]]
    features.after_restart(scenario, names)
    if not scenario.clean():
        return
    scenario.audit(names)
    if not scenario.clean():
        return
    most = int(10 ** rng.uniform(1, 4)) if rng.random() < 0.5 else 1 << 60
    load = run_load(scenario, rng.uniform(*LOAD_S), most)
    if rng.random() < 0.1:
        ledger.mark("SIGTERM")
        ledger.ending = True
        broker.terminate()
        load.loop.read_to_end(20)
        broker.stopped()
    else:
        ledger.mark("kill -9")
        broker.kill()
    load.crashed()
    if scenario.cycle % 20 == 0:
        scenario.check_directory()


def finish(scenario):
    """Everything is taken out of everything, and the directory is sound."""
    scenario.ledger.mark("final audit")
    scenario.broker.start()
    if scenario.features:
        features.after_restart(scenario, list(scenario.ledger.queues))
    scenario.audit(list(scenario.ledger.queues))
    scenario.broker.stop()
    scenario.check_directory()


def main():
    scenario = Scenario("durability", arguments(__doc__, 200), features=features)
    sys.exit(scenario.run(cycle, finish))
