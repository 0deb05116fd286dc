"""The toy broker's one file: frames of pickles, and the faults it can have in keeping them."""
import os
import pickle
import random
import struct
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from durable import amqp  # noqa: E402
from durable.amqp import field  # noqa: E402

FAULTS = """forget-acquired ack-early forget-accept forget-count count-at-restart both neither reverse twice change
early overtake forget-delay shift-delay forget-ids replay-again replay-both replay-leaves
no-fsync confirm-early no-dead-letter crash-when-full refuse-forever ignore-fsync-error cut-silently drop-tail""".split()
FAULT = os.environ.get("FAKE_FAULT", "")
assert FAULT in ("", *FAULTS), FAULT
RNG = random.Random(os.getpid())


def faulty(name, share=1.0):
    return FAULT == name and RNG.random() < share


MAGIC = b"\xf5VCF"


def segment(data):
    return Path(data) / "journal" / "0000000001.seg"


def framed(body):
    """Laid out like a frame of Verdict's journal, as far as `durable.segments` looks."""
    head = MAGIC + struct.pack("<III", zlib.crc32(body), len(body), 0) + bytes(16)
    return (head + body).ljust(-(-(32 + len(body)) // 8) * 8, b"\0")


def unframe(data, pos):
    """The body of the frame at `pos` and where it ends; (None, pos) where there is no whole one."""
    if len(data) < pos + 32:
        return None, pos
    check, length = struct.unpack_from("<II", data, pos + 4)
    body = data[pos + 32:pos + 32 + length]
    whole = len(body) == length and data[pos + 12:pos + 32] == bytes(20) and zlib.crc32(body) == check
    return (body if whole else None), pos + -(-(32 + length) // 8) * 8


def magics(data, pos):
    while (pos := data.find(MAGIC, pos)) >= 0:
        yield pos
        pos += 4


def property_of(bare, index):
    """A field of a message's properties: 0 is its id, 10 its group."""
    return field(amqp.decode(bare, 0)[0].value, index)


class Store:
    """Frames of pickles with a checksum, appended; `commit` makes what was written safe.

    A message is a list: seq, bare bytes, delivery-count, acquired-count, when it may be tried again, replays.
    """

    def __init__(self, path, once=()):
        self.path, self.queues, self.next_seq = path, {}, 1
        # The queues that remember message-ids, and the ids.
        self.once, self.ids = once, set()
        self.pending, self.fsyncs, self.full = [], 0, False
        self.fail_at = int(os.environ.get("VERDICT_FAULT", "fsync:0").split(":")[1])
        if not path.exists():
            path.write_bytes(bytes(64))
        size = self.recover()
        self.fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.ftruncate(self.fd, size)
        os.lseek(self.fd, 0, os.SEEK_END)

    def recover(self):
        data, pos = self.path.read_bytes(), 64
        while data[pos:pos + 4] == MAGIC:
            body, end = unframe(data, pos)
            if body is None:
                break
            for record in pickle.loads(body):
                self.apply(record)
            pos = end
        if MAGIC in data[pos + 4:] and FAULT != "cut-silently" and any(unframe(data, at)[0] for at in magics(data, pos + 4)):
            sys.exit(f"{self.path} is damaged at {pos}")
        if FAULT == "forget-ids":
            self.ids.clear()
        if FAULT == "drop-tail":
            return self.drop_tail(data)
        for name, queue in self.queues.items():
            messages = list(queue.values())
            if FAULT == "count-at-restart" and messages:
                messages[0][2] += 1
            for message in messages:
                if FAULT in ("forget-delay", "shift-delay") and message[4] > time.time():
                    message[4] = 0.0 if FAULT == "forget-delay" else message[4] + 0.1
            if FAULT == "reverse":
                self.queues[name] = dict(reversed(queue.items()))
        return pos

    def drop_tail(self, data):
        """Forgets the second half of the file."""
        half, pos, self.queues = len(data) // 2, 64, {}
        while pos < half and (found := unframe(data, pos))[0]:
            for record in pickle.loads(found[0]):
                self.apply(record)
            pos = found[1]
        return pos

    def apply(self, record):
        kind, name, seq, *rest = record
        queue = self.queues.setdefault(name, {})
        if kind == "put":
            queue[seq] = [seq, *rest]
            if name in self.once:
                self.ids.add(property_of(rest[0], 0))
            self.next_seq = max(self.next_seq, seq + 1)
        elif kind == "gone":
            queue.pop(seq, None)
        elif kind == "count" and seq in queue:
            queue[seq][2:] = rest

    def write(self, record):
        self.pending.append(record)

    def commit(self):
        """True when all that was written is safe."""
        if not self.pending:
            return True
        later = []
        if FAULT in ("ack-early", "confirm-early"):
            # Only the one kind of promise is made too early; the other kind of record is written at once.
            early = [record for record in self.pending if (record[0] == "put") == (FAULT == "ack-early")]
            if len(early) < 200:
                later = early
                self.pending = [record for record in self.pending if record not in early]
        data = framed(pickle.dumps(self.pending))
        end = os.lseek(self.fd, 0, os.SEEK_CUR)
        try:
            written = os.write(self.fd, data)
            if written < len(data):
                raise OSError(28, "no space")
        except OSError as error:
            if error.errno != 28:
                raise
            if FAULT == "crash-when-full":
                os._exit(70)
            os.ftruncate(self.fd, end)
            os.lseek(self.fd, end, os.SEEK_SET)
            self.full = True
            return False
        self.fsyncs += 1
        if self.fsyncs == self.fail_at:
            if FAULT != "ignore-fsync-error":
                raise OSError(5, "injected")
        if FAULT != "no-fsync":
            os.fsync(self.fd)
        self.pending = later
        return True

    def compact(self):
        """Rewrites the file when it is mostly dead; how the toy gets room back."""
        if not self.full or FAULT == "refuse-forever" or sum(len(m[1]) for q in self.queues.values() for m in q.values()) > 2_000_000:
            return
        live = [("put", name, seq, *m[1:]) for name, q in self.queues.items() for seq, m in q.items()]
        os.ftruncate(self.fd, 64)
        os.lseek(self.fd, 64, os.SEEK_SET)
        os.write(self.fd, framed(pickle.dumps(live)))
        os.fsync(self.fd)
        self.full = False
