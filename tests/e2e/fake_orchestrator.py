"""An orchestrator that only listens: records registrations and heartbeats, replies as told."""

import contextlib
import http.server
import json
import socket
import threading
import time
from dataclasses import dataclass

from support import wait_until


@dataclass
class Call:
    """One request, as it came."""
    method: str
    path: str
    headers: dict
    body: object
    at: float


class FakeOrchestrator:
    """Serves on loopback until stop(); `replies` maps a path's last word to (status, JSON) answers
    that are used up in order, then 200 with {}."""

    def __init__(self, port=0):
        self.calls = []
        self.replies = {}
        self._lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 20

            def serve(self):
                size = int(self.headers.get("Content-Length") or 0)
                text = self.rfile.read(size)
                call = Call(self.command, self.path, {k.lower(): v for k, v in self.headers.items()},
                            json.loads(text) if text else None, time.monotonic())
                status, reply = outer._take(call)
                body = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = serve

            def log_message(self, *_):
                pass

            def setup(self):
                super().setup()
                with outer._lock:
                    outer._open.append(self.connection)

        self._open = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def _take(self, call):
        with self._lock:
            self.calls.append(call)
            waiting = self.replies.get(call.path.rsplit("/", 1)[-1])
            return waiting.pop(0) if waiting else (200, {})

    def answer_next(self, last_word, status, reply=None):
        """The next request to a path that ends in this word gets this answer."""
        with self._lock:
            self.replies.setdefault(last_word, []).append((status, reply or {}))

    def of(self, last_word, method="POST"):
        with self._lock:
            return [call for call in self.calls
                    if call.method == method and call.path.rsplit("/", 1)[-1] == last_word]

    def wait_for(self, last_word, count=1, seconds=15.0, method="POST"):
        """The first `count` requests to a path that ends in this word, or later ones too."""
        return wait_until(lambda: (found := self.of(last_word, method))[count - 1:] and found,
                          f"{count} x {method} …/{last_word}", seconds)

    def stop(self):
        """As a process that ends: its kept-alive connections end with it."""
        self._server.shutdown()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join(10)
