"""scripts/disk-full: a full disk refuses new messages, loses none, and recovers by itself.

On a small image: publish until refused with amqp:resource-limit-exceeded; odd cycles then consume while it
is full, publish again, and kill -9; even cycles kill -9 while it is full. Every promise is audited.
"""
import sys
import time

from .image import Image
from .load import Consumer, Load, Producer
from .scenario import Failed, Scenario, arguments

IMAGE_MIB = 48
BODY_BYTES = 32 * 1024
IN_FLIGHT = 50
QUEUE = "plain"
FULL = "amqp:resource-limit-exceeded"


def prepare(scenario):
    scenario.image = Image(scenario, IMAGE_MIB)
    scenario.fresh(scenario.image.mount_point / "data")


def run(scenario, load, done, limit_s, what):
    """Turns the loop until `done()`; says what was waited for when it does not come."""
    def step():
        for consumer in load.consumers:
            consumer.work()
        trouble = load.trouble()
        if trouble or scenario.broker.process.poll() is not None:
            raise Failed(f"while waiting for {what}: {trouble or 'the broker is gone'}")
        return done()
    if not load.loop.run(step, limit_s):
        raise Failed(f"no {what} within {limit_s} s; {scenario.totals()}")


def publish_until(scenario, load, producer, done, limit_s, what):
    def step():
        waiting = len(producer.connection.unsettled)
        if waiting < IN_FLIGHT:
            producer.send(IN_FLIGHT - waiting)
        return done()
    run(scenario, load, step, limit_s, what)


def fill(scenario, load):
    """Publishes until refused, and takes no other condition for it."""
    producer = Producer(load, load.connect("p"), QUEUE, "filler", lambda rng: BODY_BYTES)
    load.producers.append(producer)
    publish_until(scenario, load, producer, lambda: producer.refused, 60, "refusal")
    run(scenario, load, lambda: not producer.connection.unsettled, 20, "answer to every message")
    if set(producer.conditions) != {FULL}:
        raise Failed(f"refused with {producer.conditions}, expected {FULL}")
    return producer


def recover(scenario, load, producer):
    """Consumes on the full disk, and publishes again when that made room."""
    totals = scenario.ledger.totals
    before = totals["confirmed"]
    consumer = Consumer(load, load.connect("c"), QUEUE, False, True, 100)
    consumer.mix = (("accepted", 1),)
    load.consumers.append(consumer)
    queue = scenario.ledger.queues[QUEUE]
    run(scenario, load, lambda: queue.waiting <= 0, 60, "draining of the full queue")
    run(scenario, load, lambda: not consumer.link.awaiting, 20, "confirmation on the full disk")
    print(f"  full: {totals['confirmed'] - before} consumed and confirmed", flush=True)
    acked, began = totals["acked"], time.monotonic()
    publish_until(scenario, load, producer, lambda: totals["acked"] > acked + 200, 60, "publishing again by itself")
    print(f"  200 more accepted {time.monotonic() - began:.1f} s later", flush=True)


def cycle(scenario):
    scenario.broker.start()
    load = Load(scenario.ledger, scenario.broker.port, scenario.rng, f"full{scenario.cycle}")
    before = scenario.ledger.totals["acked"]
    producer = fill(scenario, load)
    print(f"  full after {scenario.ledger.totals['acked'] - before} accepted messages of {BODY_BYTES} bytes", flush=True)
    if scenario.cycle % 2 == 1:
        recover(scenario, load, producer)
    scenario.broker.kill()
    load.crashed()
    scenario.broker.start()
    scenario.audit([QUEUE], 60)
    scenario.broker.stop()
    scenario.check_directory()


def main():
    sys.exit(Scenario("disk-full", arguments(__doc__, 2)).run(cycle, None, prepare))
