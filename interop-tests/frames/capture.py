"""What a client sent for one queue, as short lines that a person can read and a table can hold.

Invariant: a field is shown exactly if it was on the wire; strings are in quotes and symbols are not, since the two
are not the same to a peer. Deliberately says nothing of what the broker made of it.
"""

from wire import Composite, Symbol, frames

SENDER_MODES = {0: "unsettled", 1: "settled", 2: "mixed"}
RECEIVER_MODES = {0: "first", 1: "second"}


def show(value):
    """A value of a performative."""
    if isinstance(value, Composite):
        inner = ", ".join(f"{field}={show(v)}" for field, v in value.fields.items())
        return f"{value.name}({inner})" if inner else value.name
    if isinstance(value, Symbol):
        return str(value)
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        # Sorted: some clients send a map's pairs in another order each time.
        return "{" + ", ".join(f"{show(k)}: {show(v)}" for k, v in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(show(v) for v in value) + "]"
    return str(value)


def show_disposition(frame):
    """`0 settled released`, `0-2 unsettled accepted`: deliveries, whether settled, the state."""
    first = frame.get("first")
    last = frame.get("last", first)
    which = str(first) if first == last else f"{first}-{last}"
    state = show(frame.get("state")) if frame.get("state") is not None else "(no state)"
    return f"{which} {'settled' if frame.get('settled') else 'unsettled'} {state}"


def show_attach(frame):
    """The settle modes, and what the source says of outcomes; `-` where the client left it to the broker."""
    source = frame.get("source") or Composite("source", {})
    outcomes = source.get("outcomes")
    if outcomes is not None and not isinstance(outcomes, list):
        outcomes = [outcomes]  # one symbol stands for an array of one (part 1.4)
    parts = {
        "snd": SENDER_MODES.get(frame.get("snd-settle-mode"), "-"),
        "rcv": RECEIVER_MODES.get(frame.get("rcv-settle-mode"), "-"),
        "default-outcome": show(source.get("default-outcome")) if source.get("default-outcome") else "-",
        "outcomes": " ".join(o.split(":")[1] for o in outcomes) if outcomes else "-",
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items())


class Capture:
    """The frames of one run, of which only those about the queue's receiving link are told."""

    def __init__(self, streams, queue):
        self.frames = [frame for stream in streams for frame in frames(bytes(stream))]
        links = {
            (frame.channel, frame.get("handle")): frame
            for frame in self.frames
            if frame.name == "attach" and frame.get("role") and _address(frame) == queue
        }
        of_link = [f for f in self.frames if (f.channel, f.get("handle")) in links]
        self.attach = next((show_attach(frame) for frame in links.values()), None)
        self.credit = next((f.get("link-credit") for f in of_link if f.name == "flow"), None)
        self.dispositions = [
            show_disposition(f) for f in self.frames if f.name == "disposition" and f.get("role")]
        self.ending = [f.name for f in self.frames if f.name in ("end", "close") or f.name == "detach" and f in of_link]

    def __str__(self):
        return "\n".join(f"{f.channel} {show(Composite(f.name, f.fields))}" for f in self.frames)


def _address(attach):
    source = attach.get("source")
    return source.get("address") if isinstance(source, Composite) else None
