"""A broker under test: one process, one free port, one data directory.

Responsibility: start `verdict serve`, wait until its port accepts, stop it in the two ways the world does
(SIGTERM, SIGKILL), keep its log. Deliberately knows nothing of AMQP.
"""

import os
import pathlib
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_LIMIT_S = 20
STOP_LIMIT_S = 20


def binary():
    """The broker to test: VERDICT_BIN, else the newest of target/release and target/debug."""
    if os.environ.get("VERDICT_BIN"):
        path = pathlib.Path(os.environ["VERDICT_BIN"])
        if not path.is_file():
            raise FileNotFoundError(f"VERDICT_BIN is {path}, which is not a file")
        return path
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [p for p in (target / "release" / "verdict", target / "debug" / "verdict") if p.is_file()]
    if not built:
        raise FileNotFoundError("no broker binary: run `cargo build --release`, or set VERDICT_BIN")
    return max(built, key=lambda p: p.stat().st_mtime)


def free_port():
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """A broker process that can be stopped, killed and started again on the same data."""

    def __init__(self, directory, config=None):
        self.directory = pathlib.Path(directory)
        self.data = self.directory / "data"
        self.log = self.directory / "broker.log"
        self.port = free_port()
        self.process = None
        self.config = None
        if config is not None:
            self.config = self.directory / "verdict.toml"
            self.config.write_text(config)

    @property
    def url(self):
        return f"amqp://127.0.0.1:{self.port}"

    @property
    def address(self):
        return ("127.0.0.1", self.port)

    def start(self):
        """Starts the process and returns once its port accepts."""
        command = [str(binary()), "serve", "--listen", f"127.0.0.1:{self.port}", "--data", str(self.data)]
        if self.config:
            command += ["--config", str(self.config)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            if self.process.poll() is not None:
                raise AssertionError(f"broker ended at start, exit code {self.process.returncode}\n{self.log_tail()}")
            try:
                socket.create_connection(self.address, timeout=1).close()
                return self
            except OSError:
                if time.monotonic() > deadline:
                    raise AssertionError(f"broker does not accept after {START_LIMIT_S} s\n{self.log_tail()}")
                time.sleep(0.005)  # a port cannot be waited on, only asked

    def ask_to_stop(self):
        """SIGTERM, without waiting for what comes of it."""
        self.process.send_signal(signal.SIGTERM)

    def terminate(self):
        """SIGTERM; returns the exit code of the clean stop."""
        self.ask_to_stop()
        return self.wait_end()

    def wait_end(self):
        """Waits until the process has ended; its exit code."""
        return self.process.wait(STOP_LIMIT_S)

    def kill(self):
        """SIGKILL: nothing is flushed, nobody is told."""
        self.process.kill()
        self.process.wait(STOP_LIMIT_S)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def close(self):
        """Whatever happened before: no process is left behind."""
        if self.alive():
            self.kill()

    def log_tail(self, lines=80):
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class ForeignBroker:
    """Some other running broker, from INTEROP_URL: to check the tests themselves, not Verdict."""

    def __init__(self, url):
        self.url = url.rstrip("/")
        host, port = self.url.split("//", 1)[1].split(":")
        self.address = (host, int(port))
        self.port = int(port)

    def alive(self):
        return True

    def close(self):
        pass

    def log_tail(self):
        return "(log of a foreign broker is not ours)"
