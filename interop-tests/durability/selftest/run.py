"""Proves that the harness can fail: runs each scenario against a fake broker with one known fault.

Every fault must be found, with the words expected of it; and without a fault everything must pass.
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parents[2] / "scripts"
# Words of the report (regular expressions), any of which must be there.
LOST, RETURNED, COUNT = "acked but lost: [1-9]", "settled but returned: [1-9]", "delivery-count wrong: [1-9]"
PLACE, ORDER = "in both or neither of queue and dead letters: [1-9]", "first deliveries out of order: [1-9]"
EARLY, DELAY = "delivered before its retry was due: [1-9]", "retry time not kept over a restart: [1-9]"
LEFT, DOUBLED = "left behind by a replay that was done: [1-9]", "put back twice by one replay: [1-9]"
DUPLICATE, GROUP = "duplicate queued: [1-9]", "delivered before a failed one of its group: [1-9]"
TWICE, CONTENT = "delivered to two at once: [1-9]", "message changed: [1-9]"
# fault, scenario, cycles, what must be found.
CASES = [
    ("", "durability", 8, ["durability: 8 passed, 0 failed"]),
    ("", "power-cut", 4, ["power-cut: 4 passed, 0 failed"]),
    ("", "disk-full", 2, ["disk-full: 2 passed, 0 failed"]),
    ("", "fsync-error", 6, ["fsync-error: 6 passed, 0 failed"]),
    ("", "torn-tail", 6, ["torn-tail: 6 passed, 0 failed"]),
    ("ack-early", "durability", 20, [LOST, PLACE]),
    ("confirm-early", "durability", 20, [RETURNED, PLACE, COUNT]),
    ("forget-accept", "durability", 20, [RETURNED]),
    ("forget-count", "durability", 20, [COUNT]),
    ("forget-acquired", "durability", 20, [COUNT]),
    ("count-at-restart", "durability", 20, [COUNT]),
    ("both", "durability", 20, [PLACE, RETURNED]),
    ("neither", "durability", 20, [PLACE]),
    ("no-dead-letter", "durability", 20, [PLACE]),
    ("reverse", "durability", 20, [ORDER]),
    ("twice", "durability", 20, [TWICE, RETURNED, COUNT]),
    ("change", "durability", 20, [CONTENT]),
    ("early", "durability", 20, [EARLY]),
    ("forget-delay", "durability", 20, [EARLY]),
    ("shift-delay", "durability", 20, [DELAY]),
    ("forget-ids", "durability", 20, [DUPLICATE]),
    ("overtake", "durability", 20, [GROUP]),
    ("replay-again", "durability", 30, [DOUBLED]),
    ("replay-both", "durability", 20, [PLACE]),
    ("replay-leaves", "durability", 20, [LEFT]),
    ("no-fsync", "power-cut", 10, [LOST]),
    ("crash-when-full", "disk-full", 1, ["Failed: "]),
    ("refuse-forever", "disk-full", 1, ["Failed: no publishing again by itself"]),
    ("ignore-fsync-error", "fsync-error", 1, ["the broker still serves"]),
    ("cut-silently", "torn-tail", 6, ["NOT all there"]),
    ("drop-tail", "torn-tail", 6, ["NOT all there"]),
]


def run(fault, scenario, cycles, expected):
    env = {**os.environ, "VERDICT_BIN": str(HERE / "fake-broker"), "FAKE_FAULT": fault}
    done = subprocess.run([SCRIPTS / scenario, "--cycles", str(cycles), "--seed", "7"], env=env, capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    if "skipped" in said and done.returncode == 0:
        return "skipped"
    found = any(re.search(words, said) for words in expected) and done.returncode == (1 if fault else 0)
    for line in said.splitlines():
        if "all is kept in" in line and found:
            shutil.rmtree(line.rsplit(" ", 1)[1], ignore_errors=True)
    return "ok" if found else f"NOT FOUND, exit {done.returncode}, it said:\n{said}"


def main():
    wanted = sys.argv[1:]
    results = []
    for fault, scenario, cycles, expected in CASES:
        if wanted and fault not in wanted:
            continue
        result = run(fault, scenario, cycles, expected)
        results.append(result)
        print(f"{fault or 'no fault'} ({scenario}): {result}", flush=True)
    failed = sum(1 for result in results if result not in ("ok", "skipped"))
    print(f"durability-selftest: {len(results) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
