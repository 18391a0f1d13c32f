"""A TCP proxy on the loopback that breaks its connections when told to: `up` is what clients say, `down` what the
server answers. One thread; the kernel's buffers are all that a stalled direction holds."""
import socket
import threading
import time

CHUNK = 1 << 16


class _Half:
    """One direction of one connection."""

    def __init__(self, source, sink, name):
        self.source, self.sink, self.name = source, sink, name
        self.waiting = []  # (due, bytes), oldest first
        self.open = True


class TcpProxy:
    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.stalled = set()  # of "up", "down"
        self.delay_s = 0.0
        self.refusing = False
        self.halves = []
        self.lock = threading.Lock()
        self.ended = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def stall(self, *directions):
        """Swallows nothing and passes nothing on: what comes waits in the kernel, as behind a dead switch."""
        self.stalled = set(directions)

    def delay(self, seconds):
        self.delay_s = seconds

    def cut(self):
        """Resets all connections; new ones are refused until heal()."""
        self.refusing = True
        with self.lock:
            for half in self.halves:
                for end in (half.source, half.sink):
                    try:
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                        end.close()
                    except OSError:
                        pass
            self.halves = []

    def half_close(self):
        """The clients' direction ends in good order; the servers' stays open."""
        self.refusing = True
        with self.lock:
            for half in self.halves:
                if half.name == "up" and half.open:
                    half.open = False
                    try:
                        half.sink.shutdown(socket.SHUT_WR)
                    except OSError:
                        pass

    def heal(self):
        self.stalled, self.delay_s, self.refusing = set(), 0.0, False

    def stop(self):
        self.ended = True
        self.thread.join()
        self.cut()
        self.listener.close()

    def _run(self):
        self.listener.settimeout(0)
        while not self.ended:
            self._accept()
            if not self._move():
                time.sleep(0.002)

    def _accept(self):
        try:
            client, _ = self.listener.accept()
        except OSError:
            return
        if self.refusing:
            client.close()
            return
        try:
            server = socket.create_connection(self.target, timeout=2)
        except OSError:
            client.close()
            return
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setblocking(False)
        with self.lock:
            self.halves += [_Half(client, server, "up"), _Half(server, client, "down")]

    def _move(self):
        moved = False
        with self.lock:
            for half in list(self.halves):
                if half.name in self.stalled or not half.open:
                    continue
                try:
                    if sum(len(data) for _, data in half.waiting) < CHUNK * 16:
                        data = half.source.recv(CHUNK)
                        if not data:
                            raise ConnectionError
                        half.waiting.append((time.monotonic() + self.delay_s, data))
                        moved = True
                except BlockingIOError:
                    pass
                except OSError:
                    self._drop(half)
                    continue
                try:
                    while half.waiting and half.waiting[0][0] <= time.monotonic():
                        due, data = half.waiting.pop(0)
                        sent = half.sink.send(data)
                        moved = True
                        if sent < len(data):
                            half.waiting.insert(0, (due, data[sent:]))
                            break
                except BlockingIOError:
                    half.waiting.insert(0, (due, data))
                except OSError:
                    self._drop(half)
        return moved

    def _drop(self, half):
        for end in (half.source, half.sink):
            end.close()
        self.halves = [h for h in self.halves if h.source not in (half.source, half.sink)]
