"""A TCP proxy on the loopback interface that keeps every byte both sides send.

Invariant: what one side sends reaches the other unchanged and at once; how a side ends (its half of the stream, or
a reset) is passed on and noted. Deliberately knows nothing of AMQP.
"""

import socket
import threading


class Recorder:
    """Listens on a free port; each connection to it is one to `upstream`."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.sent = []  # by connection: what the client sent
        self.answered = []  # by connection: what the broker sent
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = []
        self._spawn(self._listen)

    @property
    def url(self):
        return f"amqp://127.0.0.1:{self.port}"

    def _spawn(self, work, *args):
        thread = threading.Thread(target=work, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _listen(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return  # closed
            broker = socket.create_connection(self.upstream)
            for side in (client, broker):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sent.append(bytearray())
            self.answered.append(bytearray())
            self._spawn(self._pass_on, client, broker, self.sent[-1])
            self._spawn(self._pass_on, broker, client, self.answered[-1])

    @staticmethod
    def _pass_on(source, target, kept):
        try:
            while part := source.recv(65536):
                kept.extend(part)
                target.sendall(part)
        except OSError:
            pass  # a reset, or the other side is gone: the end all the same
        try:
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def finish(self, timeout_s):
        """Waits until every connection has ended on both sides; what is recorded is whole then."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in list(self.threads):
            thread.join(timeout_s)
            if thread.is_alive():
                raise AssertionError(f"a connection had not ended {timeout_s} s after its client did")
