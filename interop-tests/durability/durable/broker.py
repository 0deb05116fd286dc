"""The broker under test as a process: start, wait until it listens, kill, stop, check its directory."""
import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

from .amqp import PROTOCOL_HEADER

ROOT = Path(__file__).resolve().parents[3]


class BrokerFailed(Exception):
    """The broker did not do what a process must: come up, stop, or stay alive."""


def find_binary():
    """VERDICT_BIN, else the newest of target/release and target/debug."""
    named = os.environ.get("VERDICT_BIN")
    if named:
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for path in (target / "release/verdict", target / "debug/verdict") if path.exists()]
    if not built:
        raise SystemExit("no verdict binary: run cargo build --release, or set VERDICT_BIN")
    return max(built, key=lambda path: path.stat().st_mtime)


def free_port():
    """A port that nobody has now, outside the range from which outgoing connections get theirs."""
    while True:
        port = random.randrange(12_000, 30_000)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Broker:
    """One data directory and the processes that serve it, one after the other."""

    def __init__(self, binary, data, work, queues=None):
        self.binary, self.data, self.log = binary, Path(data), Path(work) / "broker.log"
        self.config = None
        if queues:
            self.config = Path(work) / "config.toml"
            self.config.write_text(queues)
        self.port, self.process, self.starts, self.slowest_s = free_port(), None, 0, 0.0

    def spawn(self, env=None):
        """Starts the process and does not wait for it."""
        command = [self.binary, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", self.data]
        if self.config:
            command += ["--config", self.config]
        self.starts += 1
        with open(self.log, "ab") as log:
            log.write(f"---- start {self.starts}\n".encode())
            log.flush()
            self.process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})

    def _answers(self):
        """Whether it speaks AMQP: a port can accept while the broker behind it still recovers, or fails to."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as sock:
                sock.sendall(PROTOCOL_HEADER)
                return sock.recv(8) == PROTOCOL_HEADER
        except OSError:
            return False

    def start(self, env=None, limit_s=30):
        """Starts and waits until it answers."""
        began = time.monotonic()
        self.spawn(env)
        while time.monotonic() - began < limit_s:
            if self.process.poll() is not None:
                raise BrokerFailed(f"the broker exited with {self.process.returncode} at start:\n{self.last_words()}")
            if self._answers():
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                return
            time.sleep(0.003)
        raise BrokerFailed(f"the broker does not answer after {limit_s} s:\n{self.last_words()}")

    def kill(self):
        """kill -9, and the process is gone when this returns."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def freeze(self, limit_s=10):
        """SIGSTOP, and every thread has come to rest: a system call under way has returned."""
        self.process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            states = [path.read_text().rsplit(")", 1)[1].split()[0] for path in Path(f"/proc/{self.process.pid}/task").glob("*/stat")]
            if all(state in "TZX" for state in states):
                return
            time.sleep(0.0005)
        raise BrokerFailed(f"not stopped {limit_s} s after SIGSTOP")

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def terminate(self):
        """SIGTERM; `stopped` sees that it ends well."""
        self.process.send_signal(signal.SIGTERM)

    def stopped(self, limit_s=20):
        """Waits for the end that SIGTERM asked for."""
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise BrokerFailed(f"the broker runs on {limit_s} s after SIGTERM") from None
        if code != 0:
            raise BrokerFailed(f"the broker exited with {code} after SIGTERM:\n{self.last_words()}")

    def stop(self):
        self.terminate()
        self.stopped()

    def exited(self, limit_s):
        """Its exit code, or None when it lives on."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return None

    def check(self, limit_s=120):
        """`verdict check` on the stopped directory: (exit code, what it said)."""
        done = subprocess.run([str(self.binary), "check", str(self.data)], capture_output=True, text=True, timeout=limit_s)
        return done.returncode, done.stdout + done.stderr

    def last_words(self, lines=15):
        text = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join("    " + line for line in text[-lines:])
