"""A toy broker with switchable faults, so that every check of the harness is known to be able to fail.

Speaks just enough AMQP for `durable.client`, keeps one append-only file. FAKE_FAULT names the mistake it
makes (see FAULTS in fake_store.py); without it, it must pass everything. It is no example of how to build a broker.
"""
import selectors
import signal
import socket
import sys
import time
import tomllib
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from durable import amqp  # noqa: E402
from durable.amqp import FALSE, NULL, TRUE, composite, field, frame, string, symbol, ubyte, uint, ulong  # noqa: E402
from durable.manage import APPLICATION_PROPERTIES, VALUE, encode  # noqa: E402
from fake_store import FAULT, Store, faulty, property_of, segment  # noqa: E402


class Node:
    """A queue: waiting messages in order, and its consumers."""

    def __init__(self, server, name):
        self.server, self.name, self.consumers = server, name, []
        self.messages = server.store.queues.setdefault(name, {})
        self.waiting, self.delayed = deque(), []
        for seq in self.messages:
            self.back(seq) if self.messages[seq][4] > time.time() else self.waiting.append(seq)

    def dispatch(self):
        due = [seq for at, seq in self.delayed if at <= time.time()]
        self.delayed = [pair for pair in self.delayed if pair[1] not in due]
        for seq in due:
            self.back(seq)
        held, failed = [], self.failed_groups()
        for peer, link in self.consumers:
            while self.waiting and link["credit"] > 0:
                seq = self.waiting.popleft()
                if seq not in self.messages:
                    continue
                if failed and failed.get(property_of(self.messages[seq][1], 10), seq) < seq:
                    held.append(seq)
                    continue
                peer.deliver(link, self, seq)
        self.waiting.extendleft(reversed(held))
        for peer, link in self.consumers:
            if link["drain"]:
                link["count"] += link["credit"]
                link["credit"], link["drain"] = 0, False
                peer.flow(link)

    def failed_groups(self):
        """The first failed message of each group, where that matters."""
        failed = {}
        if self.server.settings.get(self.name, {}).get("retry-order") == "group" and FAULT != "overtake":
            for message in self.messages.values():
                if message[2] > 0:
                    group = property_of(message[1], 10)
                    failed[group] = min(message[0], failed.get(group, message[0]))
        return failed

    def back(self, seq):
        if seq in self.messages and self.messages[seq][4] > time.time():
            self.delayed.append((self.messages[seq][4], seq))
            return
        self.waiting = deque(sorted([*self.waiting, seq], reverse=FAULT == "reverse"))


class Peer:
    """One connection."""

    def __init__(self, server, sock):
        self.server, self.sock, self.inbox, self.out = server, sock, bytearray(), bytearray()
        self.links, self.unsettled, self.next_id, self.acks, self.confirms = {}, {}, 0, [], []
        self.seen, self.outgoing, self.greeted, self.partial = 0, 0, False, bytearray()
        self.delivery = None
        self.closing = False

    def read(self):
        data = b""
        try:
            data = self.sock.recv(1 << 18)
        except OSError:
            pass
        if not data:
            self.server.lost(self)
            return
        self.inbox += data
        if not self.greeted:
            self.greeted = True
            del self.inbox[:8]
            self.out += amqp.PROTOCOL_HEADER
        while len(self.inbox) >= 8 and len(self.inbox) >= (size := int.from_bytes(self.inbox[:4], "big")):
            whole = bytes(self.inbox[:size])
            del self.inbox[:size]
            if size > 8:
                performative, end = amqp.decode(whole, 8)
                self.handle(performative.code, performative.value, whole[end:])

    def handle(self, code, f, payload):
        if code == amqp.OPEN:
            self.out += frame(0, composite(amqp.OPEN, string("fake"), NULL, uint(65536)))
        elif code == amqp.BEGIN:
            self.out += frame(0, composite(amqp.BEGIN, amqp.ushort(0), uint(0), uint(1 << 20), uint(1 << 20)))
        elif code == amqp.ATTACH:
            self.attach(f)
        elif code == amqp.FLOW and field(f, 4) is not None:
            link = self.links[f[4]]
            link["credit"] = field(f, 5, 0) + field(f, 6, 0) - link["count"]
            link["drain"] = field(f, 8, False)
        elif code == amqp.TRANSFER:
            self.transfer(f, payload)
        elif code == amqp.DISPOSITION:
            for delivery_id in range(f[1], field(f, 2, f[1]) + 1):
                if delivery_id in self.unsettled:
                    self.settle(delivery_id, field(f, 3, False), f[4].code, field(f[4].value, 2) is not None)
        elif code == amqp.DETACH:
            self.release(self.links[f[0]])
            self.out += frame(0, composite(amqp.DETACH, uint(f[0]), TRUE))
        elif code == amqp.CLOSE:
            for link in self.links.values():
                self.release(link)
            self.out += frame(0, composite(amqp.CLOSE))
            self.closing = True

    def attach(self, f):
        receiver = f[2]
        address = field((f[5] if receiver else f[6]).value, 0)
        node = self.server.node(address)
        link = {"handle": f[1], "node": node, "receiver": receiver, "credit": 0, "count": 0, "drain": False, "received": 0, "limit": 0}
        self.links[f[1]] = link
        base = [string(f[0]), uint(f[1]), FALSE if receiver else TRUE, ubyte(0), ubyte(field(f, 4, 0))]
        base += [composite(amqp.SOURCE, string(address)), composite(amqp.TARGET, string(address))]
        self.out += frame(0, composite(amqp.ATTACH, *base, *([NULL, NULL, uint(0)] if receiver else [])))
        if receiver:
            node.consumers.append((self, link))
        else:
            self.credit(link)

    def credit(self, link):
        link["limit"] = link["received"] + 500
        fields = [uint(self.seen), uint(1 << 20), uint(self.outgoing), uint(1 << 20), uint(link["handle"])]
        self.out += frame(0, composite(amqp.FLOW, *fields, uint(link["received"]), uint(500)))

    def flow(self, link):
        fields = [uint(self.seen), uint(1 << 20), uint(self.outgoing), uint(1 << 20), uint(link["handle"])]
        self.out += frame(0, composite(amqp.FLOW, *fields, uint(link["count"]), uint(link["credit"])))

    def transfer(self, f, payload):
        self.seen += 1
        link = self.links[f[0]]
        if self.delivery is None:
            self.delivery = f[1]
        self.partial += payload
        if field(f, 5, False):
            return
        body, delivery_id = bytes(self.partial), self.delivery
        self.partial.clear()
        self.delivery = None
        link["received"] += 1
        if link["limit"] - link["received"] < 250:
            self.credit(link)
        store, name = self.server.store, link["node"].name
        if name == "$management":
            self.acks.append((delivery_id, None, None, None))
            self.answer(body)
            return
        if store.full:
            self.refuse(delivery_id)
            return
        bare = body[amqp.decode(body, 0)[1]:]
        if name in store.once:
            if property_of(bare, 0) in store.ids:
                self.acks.append((delivery_id, None, None, None))
                return
            store.ids.add(property_of(bare, 0))
        seq, store.next_seq = store.next_seq, store.next_seq + 1
        store.write(("put", name, seq, bare, 0, 0, 0.0, ()))
        self.acks.append((delivery_id, link["node"], seq, [seq, bare, 0, 0, 0.0, ()]))

    def answer(self, request):
        """To a request for $management."""
        sections, pos = {}, 0
        while pos < len(request):
            section, pos = amqp.decode(request, pos)
            sections[section.code] = section.value
        status, body = self.server.manage(sections[APPLICATION_PROPERTIES], sections[VALUE])
        link = next(link for link in self.links.values() if link["node"].name == "$management" and link["receiver"])
        payload = composite(amqp.PROPERTIES, *[NULL] * 5, ulong(sections[amqp.PROPERTIES][0]))
        payload += amqp.described(APPLICATION_PROPERTIES, encode({"statusCode": status})) + amqp.described(VALUE, encode(body))
        self.send(link, payload)

    def refuse(self, delivery_id):
        state = composite(amqp.REJECTED, composite(amqp.ERROR, symbol("amqp:resource-limit-exceeded")))
        self.out += frame(0, composite(amqp.DISPOSITION, TRUE, uint(delivery_id), uint(delivery_id), TRUE, state))

    def deliver(self, link, node, seq):
        message = node.messages[seq]
        self.unsettled[self.next_id] = (link, node, seq)
        bare = message[1]
        if faulty("change", 0.01):
            bare = bare[:-1] + b"!"
        annotations = b"\xc1" + bytes((1 + 22 + 5, 2)) + symbol("x-opt-acquired-count") + b"\x70" + message[3].to_bytes(4, "big")
        payload = composite(amqp.HEADER, TRUE, NULL, NULL, NULL, uint(message[2])) + amqp.described(0x72, annotations) + bare
        self.send(link, payload)
        if faulty("twice", 0.01):
            node.waiting.append(seq)

    def send(self, link, payload):
        delivery_id, self.next_id = self.next_id, self.next_id + 1
        link["credit"] -= 1
        link["count"] += 1
        first = [uint(link["handle"]), uint(delivery_id), amqp.binary(delivery_id.to_bytes(4, "big")), uint(0), FALSE]
        for start in range(0, len(payload), 60000):
            more = TRUE if start + 60000 < len(payload) else NULL
            head = first if start == 0 else [uint(link["handle"]), NULL, NULL, NULL, NULL]
            self.out += frame(0, composite(amqp.TRANSFER, *head, more), payload[start:start + 60000])
            self.outgoing += 1

    def settle(self, delivery_id, settled, state, poison):
        link, node, seq = self.unsettled.pop(delivery_id)
        message, store = node.messages.get(seq), self.server.store
        if message is None:
            return
        message[3] += state != amqp.ACCEPTED
        if state == amqp.RELEASED:
            if not faulty("forget-acquired", 0.1):
                store.write(("count", node.name, seq, *message[2:]))
            node.back(seq)
        elif state == amqp.ACCEPTED:
            del node.messages[seq]
            if not faulty("forget-accept", 0.02):
                store.write(("gone", node.name, seq))
        else:
            self.fail(node, message, state, poison)
        if not settled:
            self.confirms.append((delivery_id, state))

    def fail(self, node, message, state, poison=False):
        store, seq = self.server.store, message[0]
        message[2] += 1
        settings = self.server.settings.get(node.name, {})
        refused = state == amqp.REJECTED and "rules" in settings and message[2] <= 2
        again = refused or state == amqp.MODIFIED and not poison
        if again and message[2] < settings.get("max-attempts", 10):
            message[4] = time.time() + delay_s(settings, message[2]) * (0.5 if FAULT == "early" else 1)
            if not faulty("forget-count", 0.1):
                store.write(("count", node.name, seq, *message[2:]))
            node.back(seq)
            return
        if FAULT == "no-dead-letter" and state == amqp.MODIFIED:
            node.back(seq)
            return
        dead = self.server.node(node.name + "/$deadletter")
        del node.messages[seq]
        if not faulty("both", 0.1):
            store.write(("gone", node.name, seq))
        if not faulty("neither", 0.1):
            store.write(("put", dead.name, seq, *message[1:]))
            dead.messages[seq] = message
            dead.back(seq)

    def release(self, link):
        for delivery_id, (held_by, node, seq) in list(self.unsettled.items()):
            if held_by is link:
                del self.unsettled[delivery_id]
                node.back(seq)
        link["node"].consumers = [pair for pair in link["node"].consumers if pair[1] is not link]

    def committed(self, safe):
        for delivery_id, node, seq, message in self.acks:
            if not safe and node is not None:
                self.refuse(delivery_id)
                continue
            self.out += frame(0, composite(amqp.DISPOSITION, TRUE, uint(delivery_id), NULL, TRUE, composite(amqp.ACCEPTED)))
            if node is not None:
                node.messages[seq] = message
                node.waiting.append(seq)
        for delivery_id, state in self.confirms if safe else ():
            self.out += frame(0, composite(amqp.DISPOSITION, FALSE, uint(delivery_id), NULL, TRUE, composite(state)))
        self.acks.clear()
        if safe:
            self.confirms.clear()

    def write(self):
        try:
            while self.out:
                del self.out[:self.sock.send(self.out)]
        except BlockingIOError:
            return
        except OSError:
            self.out.clear()
        if self.closing:
            self.server.lost(self, clean=True)


def delay_s(settings, failures):
    """What the queue's retry-delay says, in seconds."""
    delay = {key: int(value[:-2]) / 1000 for key, value in settings.get("retry-delay", {}).items() if key != "jitter"}
    return delay.get("first", 0.0) if failures == 1 else min(delay.get("max", 1.0), delay.get("initial", 0.0) * 2 ** (failures - 2))


class Replay:
    """Letters that go back to their queue, one in a turn."""

    def __init__(self, server, queue, name, slow):
        self.server, self.queue, self.name, self.slow = server, queue, name, slow
        self.main, self.dead, self.moved = server.node(queue), server.node(queue + "/$deadletter"), 0
        done = () if FAULT == "replay-again" else (name,)
        self.left = [seq for seq in self.dead.waiting if seq in self.dead.messages and not set(done) & set(self.dead.messages[seq][5])]
        if FAULT == "replay-leaves":
            del self.left[-1:]

    def turn(self):
        for seq in self.left[:1 if self.slow else None]:
            self.left.remove(seq)
            if seq not in self.dead.waiting or seq not in self.dead.messages:
                continue
            store, message = self.server.store, self.dead.messages[seq]
            new = [store.next_seq, message[1], 0, message[3], 0.0, (*message[5], self.name)]
            store.next_seq += 1
            if not faulty("replay-both", 0.2):
                store.write(("gone", self.dead.name, seq))
            store.write(("put", self.main.name, *new))
            del self.dead.messages[seq]
            self.dead.waiting.remove(seq)
            self.main.messages[new[0]] = new
            self.main.back(new[0])
            self.moved += 1


class Server:
    """The loop: read everybody, commit once, then answer and deliver."""

    def __init__(self, port, data, config):
        segment(data).parent.mkdir(parents=True, exist_ok=True)
        self.settings = {queue["name"]: queue for queue in config.get("queue", [])}
        self.store = Store(segment(data), {name for name, queue in self.settings.items() if "duplicates" in queue})
        self.replays = {}
        self.nodes, self.peers, self.selector = {}, {}, selectors.DefaultSelector()
        self.stopping = False
        self.listener = socket.create_server(("127.0.0.1", port))
        self.selector.register(self.listener, selectors.EVENT_READ)

    def node(self, name):
        if name not in self.nodes:
            self.nodes[name] = Node(self, name)
        return self.nodes[name]

    def manage(self, wanted, arguments):
        """What the harness asks of $management: (status, body)."""
        operation, name = wanted["operation"], wanted["name"]
        if operation == "REPLAY":
            self.replays[arguments["id"]] = Replay(self, name, arguments["id"], "rate" in arguments)
            return 201, {}
        if operation == "READ":
            replay = self.replays[name]
            return 200, {"state": "running" if replay.left else "done", "finished": None if replay.left else 1, "replayed": replay.moved, "skipped": 0}
        node = self.node(name if operation == "MESSAGES" else name + "/$deadletter")
        rows = []
        for seq, bare, count, _, due, replays in node.messages.values():
            waits = due > time.time()
            rows.append({"message-id": str(property_of(bare, 0)), "delivery-count": count, "status": "delayed" if waits else "ready",
                         "not-before": int(due * 1000) if waits else None, "replays": [{"id": replay} for replay in replays]})
        return 200, {"messages" if operation == "MESSAGES" else "letters": rows, "next": None}

    def lost(self, peer, clean=False):
        if peer.sock.fileno() < 0:
            return
        self.selector.unregister(peer.sock)
        del self.peers[peer]
        peer.sock.close()
        if not clean and peer.unsettled:
            for link in peer.links.values():
                mine = [entry for entry in peer.unsettled.values() if entry[0] is link]
                if mine:
                    peer.fail(mine[0][1], mine[0][1].messages[mine[0][2]], amqp.MODIFIED)
                    peer.unsettled = {k: v for k, v in peer.unsettled.items() if v is not mine[0]}
        for link in peer.links.values():
            peer.release(link)

    def turn(self):
        for key, _ in self.selector.select(0.01):
            if key.fileobj is self.listener:
                sock, _ = self.listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peer = Peer(self, sock)
                self.peers[peer] = sock
                self.selector.register(sock, selectors.EVENT_READ, peer)
            else:
                key.data.read()
        for replay in self.replays.values():
            replay.turn()
        self.store.compact()
        try:
            safe = self.store.commit()
        except OSError:
            for peer in self.peers:
                peer.out += b"" if peer.greeted else amqp.PROTOCOL_HEADER
                peer.out += frame(0, composite(amqp.CLOSE, composite(amqp.ERROR, symbol("amqp:internal-error"))))
                peer.write()
            sys.exit(1)
        if not safe:
            # Nothing of a batch with new messages is kept; the settlements in it are tried again.
            self.store.pending = [record for record in self.store.pending if record[0] != "put" or record[1].endswith("$deadletter")]
        for peer in list(self.peers):
            peer.committed(safe)
        for node in list(self.nodes.values()):
            node.dispatch()
        for peer in list(self.peers):
            peer.write()


def main():
    if sys.argv[1] == "check":
        Store(segment(sys.argv[2]))
        return
    options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
    config = tomllib.loads(Path(options["--config"]).read_text()) if "--config" in options else {}
    server = Server(int(options["--listen"].split(":")[1]), options["--data"], config)
    signal.signal(signal.SIGTERM, lambda *_: setattr(server, "stopping", True))
    while not server.stopping:
        server.turn()


if __name__ == "__main__":
    main()
