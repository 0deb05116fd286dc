"""Where the frames of a journal are, read from the files as their layout is documented.

`DIR/journal/NNNNNNNNNN.seg`: a header of 64 bytes, then frames (magic F5 'VCF', crc, payload length, ...:
32 bytes, then the payload, padded to 8 bytes), then zeros. Only used to damage journals on purpose.
"""
from pathlib import Path

MAGIC = b"\xf5VCF"
SEGMENT_HEADER, FRAME_HEADER, ALIGN = 64, 32, 8


class Segment:
    """A segment file and the byte ranges of its frames."""

    def __init__(self, path):
        self.path, self.number, self.frames = path, int(path.stem), []
        data, pos = path.read_bytes(), SEGMENT_HEADER
        while data[pos:pos + 4] == MAGIC:
            length = int.from_bytes(data[pos + 8:pos + 12], "little")
            end = pos + -(-(FRAME_HEADER + length) // ALIGN) * ALIGN
            if end > len(data):
                break
            self.frames.append((pos, pos + FRAME_HEADER + length))
            pos = end
        self.size, self.end = len(data), pos


def segments(data):
    """All segments with at least one frame, oldest first."""
    found = [Segment(path) for path in sorted((Path(data) / "journal").glob("*.seg"))]
    return [segment for segment in found if segment.frames]


def overwrite(path, offset, content):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(content)


def flip(path, offset, bit):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes((byte ^ (1 << bit),)))
