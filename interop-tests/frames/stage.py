"""One run of one scenario: messages onto a queue, a client's program through the recorder, and what became of them.

Invariant: the client is alone on its queue, and is gone before anyone else looks into it. Deliberately asserts
nothing.
"""

import time
from typing import NamedTuple

from capture import Capture
from client import Client, text
from recorder import Recorder

WAIT_LIMIT_S = 10
# Not the same in every run (how often it was handed out, when it died), told by other means, or the publisher's.
UNTOLD = ("x-opt-jms-", "x-opt-acquired-count", "x-opt-dl-", "x-first-death", "x-last-death", "x-opt-ORIG",
          "x-opt-deadletter-source")


class Run(NamedTuple):
    capture: Capture
    became: list
    exit_code: int
    output: str


def run(broker, program, scenario, queue):
    """Performs the scenario; `queue` is used by nobody else."""
    bodies = [f"m{i}" for i in range(len(scenario.becomes))]
    client = Client(broker.url)
    try:
        sender = client.connect().sender(queue)
        if scenario.published:
            sender.send(*(text(body, **scenario.message) for body in bodies))
        sender.close()
        recorder = Recorder(broker.address)
        try:
            exit_code, output = program.run(scenario.verb, recorder.url, queue)
        finally:
            recorder.finish(WAIT_LIMIT_S)
        became = find(client, queue, bodies, scenario.becomes.count("gone"))
    finally:
        client.close()
    return Run(Capture(recorder.sent, queue), became, exit_code, output)


def find(client, queue, bodies, gone):
    """Where each message is now; those not found are gone, and `gone` of them may be without being waited for."""
    conn = client.connect()
    places = [("queue", conn.receiver(queue)), ("dead", conn.receiver(f"{queue}/$deadletter"))]
    found = {}
    deadline = time.monotonic() + WAIT_LIMIT_S
    while True:
        for place, receiver in places:
            for incoming in receiver.drain(10):
                found[incoming.body] = tell(place, incoming)
                incoming.accept()
        # A message may wait for its retry, or its consumer's end be under way; each drain is a round trip.
        if len(found) >= len(bodies) - gone or time.monotonic() > deadline:
            return [found.get(body, "gone") for body in bodies]


def tell(place, incoming):
    """`queue, delivery-count 1`, `dead: rejected, delivery-count 1, condition app:bad`, and added annotations."""
    marks = incoming.annotations
    parts = [f"dead: {marks.get('x-opt-dl-reason')}" if place == "dead" else place, f"delivery-count {incoming.count}"]
    for name in ("condition", "description"):
        if f"x-opt-dl-{name}" in marks:
            parts.append(f"{name} {marks[f'x-opt-dl-{name}']}")
    parts += [f"{k} {v}" for k, v in sorted(marks.items()) if not k.startswith(UNTOLD)]
    return ", ".join(parts)
