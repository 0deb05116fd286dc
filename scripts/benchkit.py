"""What scripts/bench measures with: the broker as a child process, load generators, a tiny AMQP client.

Invariant: everything started here is stopped by `Children.stop_all`, whatever happens, and every wait has an
end. Only the standard library. Deliberately no measuring here: see scripts/bench.
"""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A part could not be measured."""


class Children:
    """Processes that this run started, by their handle."""

    def __init__(self):
        self._all = []

    def start(self, args, **options):
        child = subprocess.Popen([str(a) for a in args], **options)
        self._all.append(child)
        return child

    def stop(self, child, sig=signal.SIGTERM, wait_s=30):
        if child.poll() is None:
            child.send_signal(sig)
            try:
                child.wait(wait_s)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(10)
        if child in self._all:
            self._all.remove(child)
        return child.returncode

    def stop_all(self):
        for child in list(self._all):
            self.stop(child, wait_s=5)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    """A broker on a free loopback port, with its own data directory."""

    def __init__(self, children, program, data, config=None):
        self.children, self.program, self.data, self.config = children, program, Path(data), config
        self.port, self.child, self.log = None, None, None

    def start(self, wait=True):
        self.port = free_port()
        self.data.parent.mkdir(parents=True, exist_ok=True)
        args = [self.program, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", self.data]
        if self.config:
            args += ["--config", self.config]
        self.log = open(self.data.parent / "broker.log", "ab")
        self.child = self.children.start(args, stdout=self.log, stderr=self.log)
        if wait:
            self.connect(60).close()
        return self

    def connect(self, wait_s):
        """A socket to it, as soon as it listens."""
        end = time.monotonic() + wait_s
        while True:
            try:
                s = socket.create_connection(("127.0.0.1", self.port), timeout=wait_s)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return s
            except OSError as error:
                if self.child.poll() is not None:
                    raise Failed(f"the broker ended with code {self.child.returncode}: {self.last_words()}") from error
                if time.monotonic() > end:
                    raise Failed(f"the broker does not listen after {wait_s} s: {self.last_words()}") from error
                time.sleep(0.001)

    def last_words(self):
        lines = (self.data.parent / "broker.log").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "(nothing logged)"

    def stop(self, sig=signal.SIGTERM):
        if self.child:
            code = self.children.stop(self.child, sig)
            self.child = None
            self.log.close()
            if sig == signal.SIGTERM and code != 0:
                raise Failed(f"the broker stopped with code {code}: {self.last_words()}")

    def clear(self):
        shutil.rmtree(self.data, ignore_errors=True)

    def __enter__(self):
        return self if self.child else self.start()

    def __exit__(self, kind, value, trace):
        if self.child:
            if kind is None:
                self.stop()
            else:
                self.children.stop(self.child, wait_s=5)
                self.log.close()
                self.child = None

    def cpu_s(self):
        """User and system time so far."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    def rss_mb(self, peak=False):
        name = "VmHWM:" if peak else "VmRSS:"
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024 / 1e6
        return float("nan")


class Load:
    """A load generator: lg, or `verdict bench`; both give the same fields."""

    def __init__(self, children, lg, verdict):
        self.children, self.lg, self.verdict = children, lg, verdict

    def run(self, broker, address, *, send=0, receive=0, size, conns=1, window=1000, credit=1000, rate=None, limit_s=300):
        if self.lg:
            args = [self.lg, "--json", "--port", broker.port, "--addr", address, "--naddr", conns, "--size", size]
            args += ["--window", window, "--credit", credit, "--send", send, "--recv", receive]
            args += ["--P", conns, "--C", conns] + (["--rate", rate] if rate else [])
        else:
            args = [self.verdict, "bench", "--json", "--url", f"amqp://127.0.0.1:{broker.port}", "--address", address]
            args += ["--size", size, "--window", window, "--credit", credit, "--count", send or receive]
            args += ["--senders", conns if send else 0, "--receivers", conns if receive else 0]
            args += ["--addresses", conns] if "%d" in address else []
            args += ["--rate", rate] if rate else []
        child = self.children.start(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            out, err = child.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"the load did not end within {limit_s} s") from error
        finally:
            self.children.stop(child, wait_s=5)
        if child.returncode != 0:
            last = err.strip().splitlines()[-1:] or [out.strip()]
            raise Failed(f"the load generator ended with code {child.returncode}: {last[0]}")
        got = json.loads(out.strip().splitlines()[-1])
        return {
            "send_per_s": got.get("send_per_s", got.get("send_rate")),
            "receive_per_s": got.get("receive_per_s", got.get("recv_rate")),
            "e2e_us": got["e2e_us"],
            "ack_us": got["ack_us"],
            "load_cpu_s": got["cpu_s"],
        }


class Wire:
    """Just enough of an AMQP client to time one message: no SASL, one session, one link."""

    OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15

    def __init__(self, sock, name):
        self.sock, self.buffer = sock, b""
        text = self.text(name)
        out = b"AMQP\x00\x01\x00\x00"
        out += self.frame(self.OPEN, text)
        # remote-channel null, next-outgoing-id 0, windows of 1000
        out += self.frame(self.BEGIN, b"\x40\x43" + b"\x70\x00\x00\x03\xe8" * 2)
        self.sock.sendall(out)

    @staticmethod
    def text(value):
        data = value.encode()
        return b"\xa1" + bytes([len(data)]) + data

    @staticmethod
    def described(code, fields):
        count = len(Wire.split(fields))
        return b"\x00\x53" + bytes([code]) + b"\xc0" + bytes([len(fields) + 1, count]) + fields

    @staticmethod
    def split(fields):
        """The values of a list, for those encodings that are used here."""
        values, at = [], 0
        while at < len(fields):
            start = at
            at = Wire.skip(fields, at)
            values.append(fields[start:at])
        return values

    @staticmethod
    def skip(data, at):
        code = data[at]
        if code == 0x00:
            return Wire.skip(data, Wire.skip(data, at + 1))
        kind = code >> 4
        if kind in (0x4, 0x5, 0x6, 0x7, 0x8, 0x9):
            return at + 1 + {4: 0, 5: 1, 6: 2, 7: 4, 8: 8, 9: 16}[kind]
        if kind in (0xA, 0xC, 0xE):
            return at + 2 + data[at + 1]
        return at + 5 + struct.unpack_from(">I", data, at + 1)[0]

    def frame(self, code, fields, payload=b""):
        body = self.described(code, fields) + payload
        return struct.pack(">IBBH", len(body) + 8, 2, 0, 0) + body

    def attach(self, address, receiver):
        node = self.text(address)
        source, target = (node, b"") if receiver else (b"", node)
        fields = self.text("link") + b"\x43" + (b"\x41" if receiver else b"\x42") + b"\x40\x40"
        fields += self.described(0x28, source) + self.described(0x29, target)
        fields += b"" if receiver else b"\x40\x40\x43"
        self.sock.sendall(self.frame(self.ATTACH, fields))

    def credit(self, n):
        # next-incoming-id 0, incoming-window 1000, next-outgoing-id 0, outgoing-window 1000, handle 0,
        # delivery-count 0, link-credit n
        window = b"\x70\x00\x00\x03\xe8"
        self.sock.sendall(self.frame(self.FLOW, b"\x43" + window + b"\x43" + window + b"\x43\x43" + b"\x52" + bytes([n])))

    def send(self, body):
        """One durable message."""
        payload = b"\x00\x53\x70\xc0\x02\x01\x41" + b"\x00\x53\x75\xa0" + bytes([len(body)]) + body
        self.sock.sendall(self.frame(self.TRANSFER, b"\x43\x43\xa0\x01\x00\x43\x42", payload))

    def wait_for(self, code, wait_s=60):
        """Reads until that performative; its fields as bytes."""
        self.sock.settimeout(wait_s)
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            if self.buffer[:4] == b"AMQP":
                self.buffer = self.buffer[8:]
            size = struct.unpack(">I", self.buffer[:4])[0] if len(self.buffer) >= 8 else None
            if size is not None and len(self.buffer) >= size:
                body, self.buffer = self.buffer[self.buffer[4] * 4 : size], self.buffer[size:]
                if not body:
                    continue
                if body[2] == code:
                    return body[3:]
                if body[2] in (0x16, 0x17, 0x18):
                    raise Failed(f"the broker refused: {body!r}")
                continue
            data = self.sock.recv(1 << 16)
            if not data:
                raise Failed("the broker closed the connection")
            self.buffer += data
        raise Failed(f"no performative {code:#x} within {wait_s} s")
