"""How each client's program is started, and what its receiving link looks like unless a scenario says otherwise.

The programs are built by `scripts/interop frames` under target/frames; `clients/` has their sources.
"""

import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLIENTS = pathlib.Path(__file__).parent / "clients"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
BUILT = TARGET / "frames"
RUN_LIMIT_S = 30


class Program(NamedTuple):
    """One client library."""

    library: str  # with the version that is pinned
    command: list
    needs: pathlib.Path  # what is there once it is built
    attach: str
    credit: int
    environment: dict = {}

    def run(self, scenario, url, queue):
        """Runs one scenario to its end; what the program said, and its exit code."""
        done = subprocess.run([*map(str, self.command), scenario, url, queue], env={**os.environ, **self.environment},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=RUN_LIMIT_S, check=False)
        return done.returncode, done.stdout


def _jms_command():
    classpath = BUILT / "qpid-jms" / "classpath"
    jars = classpath.read_text().strip() if classpath.is_file() else ""
    # Short runs on few cores: no second compiler, no parallel collector.
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]
    return ["java", *quick, "-cp", f"{BUILT / 'qpid-jms'}{os.pathsep}{jars}", "Client"]


# What is absent is the specification's default: mixed and first.
LEFT_OPEN = "snd -, rcv -, default-outcome -, outcomes -"
SPELT_OUT = "snd mixed, rcv first, default-outcome -, outcomes -"
JMS = ("snd unsettled, rcv first, default-outcome modified(delivery-failed=true), "
       "outcomes accepted rejected released modified")

PROGRAMS = {
    "proton": Program("python-qpid-proton 0.40.0, MessagingHandler", [sys.executable, "-B", CLIENTS / "proton_handler.py"],
                      CLIENTS / "proton_handler.py", SPELT_OUT, 10),
    "proton-blocking": Program("python-qpid-proton 0.40.0, BlockingConnection",
                               [sys.executable, "-B", CLIENTS / "proton_blocking.py"],
                               CLIENTS / "proton_blocking.py", SPELT_OUT, 1),
    "fe2o3": Program("fe2o3-amqp 0.18.4", [TARGET / "debug" / "frames-fe2o3"], TARGET / "debug" / "frames-fe2o3",
                     LEFT_OPEN, 200),
    "rhea": Program("rhea 3.0.5", ["node", CLIENTS / "rhea" / "client.js"], BUILT / "rhea" / "node_modules" / "rhea",
                    LEFT_OPEN, 1000, {"NODE_PATH": str(BUILT / "rhea" / "node_modules")}),
    "go-amqp": Program("go-amqp 1.7.0", [BUILT / "go-amqp"], BUILT / "go-amqp", LEFT_OPEN, 1),
    "qpid-jms": Program("Qpid JMS 2.10.0", _jms_command(), BUILT / "qpid-jms" / "Client.class", JMS, 1000),
}
