"""A small file system of our own on a loop device, which can be shut down as a power cut would.

EXT4_IOC_SHUTDOWN with NOLOGFLUSH drops everything that was not written back: no journal commit, no page.
`self_test` proves on this very machine that unflushed data is gone and fsynced data is there.

An fsync that is under way while the ioctl runs may report success although its metadata was dropped (seen
with a bare append + fsync loop, about 1 in 40). So either nothing is under way (`Broker.freeze`), or what
the broker says after the ioctl began is not taken for a promise (`Ledger.deaf`).
"""
import fcntl
import os
import struct
import subprocess

from .scenario import Failed, Skipped

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2


def _run(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip() or f"{command[0]} failed"


class Image:
    """An ext4 image file and where it is mounted, until the scenario ends."""

    def __init__(self, scenario, size_mib):
        work = scenario.work
        self.file, self.mount_point, self.mounted = work / "disk.img", work / "mnt", False
        if os.geteuid() != 0:
            raise Skipped("mounting an image needs root")
        with open(self.file, "wb") as image:
            image.truncate(size_mib << 20)
        why = _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self.file))
        if why:
            raise Skipped(f"no ext4 image: {why}")
        self.mount_point.mkdir()
        why = self.mount()
        if why:
            raise Skipped(f"loop devices or mount are not permitted here: {why}")
        scenario.cleanups.append(self.unmount)

    def mount(self):
        """Mounts, which replays the file system's journal. Why not, or None."""
        why = _run("mount", "-o", "loop", str(self.file), str(self.mount_point))
        self.mounted = why is None
        return why

    def unmount(self):
        if self.mounted:
            why = _run("umount", str(self.mount_point))
            if why:
                raise Failed(f"umount: {why}")
            self.mounted = False

    def shut_down(self):
        """The power cut: from here on nothing reaches the image, and what was not flushed is gone."""
        directory = os.open(self.mount_point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(directory, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        except OSError as error:
            raise Skipped(f"this kernel's ext4 cannot be shut down: {error}") from None
        finally:
            os.close(directory)

    def remount(self):
        """After a shutdown: off, on again, with the file system's own recovery."""
        self.unmount()
        if self.mount() is not None:
            _run("e2fsck", "-p", str(self.file))
            why = self.mount()
            if why:
                raise Failed(f"the image does not mount after the cut: {why}")

    def self_test(self):
        """Unflushed data must be gone after a cut, fsynced data must be there; else the test tests nothing."""
        flushed, lost = self.mount_point / "flushed", self.mount_point / "lost"
        for path in (flushed, lost):
            fd = os.open(path, os.O_CREAT | os.O_WRONLY)
            os.write(fd, b"x" * 5000)
            if path is flushed:
                os.fsync(fd)
                directory = os.open(self.mount_point, os.O_RDONLY)
                os.fsync(directory)
                os.close(directory)
            os.close(fd)
        fd = os.open(flushed, os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"y" * 5000)
        os.close(fd)
        self.shut_down()
        self.remount()
        size = flushed.stat().st_size if flushed.exists() else -1
        if size != 5000:
            raise Failed(f"self-test: {size} bytes of the file are there, 5000 were fsynced and 5000 more were not")
        if lost.exists() and lost.stat().st_size > 0:
            raise Failed("self-test: data that was never flushed survived the cut")
        flushed.unlink()
