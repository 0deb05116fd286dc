"""scripts/fsync-error: after a failed fsync the broker claims nothing more, says so, and stops.

Odd cycles inject it (VERDICT_FAULT=fsync:N, the Nth fsync of the journal fails); even cycles shut the file
system below it down, which makes every write and fsync fail for real, where mounting is permitted.
"""
import sys
import time

from .broker import BrokerFailed
from .image import Image
from .kill_cycles import finish
from .load import Load
from .scenario import Failed, QUEUES, Scenario, Skipped, arguments

LIMIT_S = 20


def prepare(scenario):
    try:
        scenario.image = Image(scenario, 512)
        scenario.fresh(scenario.image.mount_point / "data")
    except Skipped as skipped:
        scenario.image = None
        print(f"  the real disk failure is skipped: {skipped}", flush=True)


def cycle(scenario):
    rng, real = scenario.rng, scenario.image is not None and scenario.cycle % 2 == 0
    nth = rng.choice((1, 2, 3, rng.randint(4, 100), rng.randint(4, 100)))
    what = "a failing disk" if real else f"fsync number {nth} failing"
    try:
        scenario.broker.start(None if real else {"VERDICT_FAULT": f"fsync:{nth}"})
        load = Load(scenario.ledger, scenario.broker.port, rng, f"cycle{scenario.cycle}")
        load.mixed(list(QUEUES))
        suffer(scenario, load, what, rng.uniform(0.1, 1) if real else None)
    except (BrokerFailed, ConnectionError):
        # So early that it never listened, or not long enough: stopping is all it has to do.
        load = None
    code = scenario.broker.exited(LIMIT_S)
    if code is None or code <= 0:
        raise Failed(f"{what}: the broker's exit code is {code}, expected more than 0")
    if load is None:
        scenario.ledger.crashed()
    else:
        load.crashed()
        judge(load, what)
    if real:
        scenario.image.remount()
    scenario.broker.start()
    scenario.audit(list(QUEUES))
    scenario.broker.stop()
    scenario.check_directory()


def suffer(scenario, load, what, shut_down_after_s):
    """Loads until the broker hangs up on everybody."""
    began = time.monotonic()
    # An injected failure may come at any moment.
    scenario.ledger.ending = shut_down_after_s is None
    while load.loop.connections:
        now = time.monotonic() - began
        if shut_down_after_s is not None and now > shut_down_after_s:
            scenario.broker.freeze()
            scenario.image.shut_down()
            scenario.ledger.ending = True
            scenario.broker.thaw()
            shut_down_after_s = None
        if now > LIMIT_S:
            raise Failed(f"{what}: after {LIMIT_S} s the broker still serves")
        load.step()


def judge(load, what):
    """Those who were connected are told amqp:internal-error on whatever scope, nobody anything else.

    One whose socket was full when the broker ended may have heard nothing; most must have heard it.
    """
    clients = [*load.producers, *load.consumers]
    opened = {client.connection for client in clients if client.connection.opened and client.link.attached}
    told = [c.error.value[0] for c in opened if c.error is not None]
    wrong = sorted({condition for condition in told if condition != "amqp:internal-error"})
    if wrong or len(told) * 2 < len(opened):
        raise Failed(f"{what}: {len(told)} of {len(opened)} connections were told, {wrong or 'nothing else'}; expected amqp:internal-error")


def main():
    sys.exit(Scenario("fsync-error", arguments(__doc__, 10)).run(cycle, finish, prepare))
