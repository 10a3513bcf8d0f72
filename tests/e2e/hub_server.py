"""A model hub on loopback with faults to order, for the tests of `llorch-pool models download`.

It speaks what the tests need of the Hugging Face hub: GET /api/models/REPO/revision/REV and
GET /REPO/resolve/REV/FILE with Range, If-Range and ETag, by itself or through a second host.
"""

import hashlib
import http.server
import json
import pathlib
import re
import threading
import time
from dataclasses import dataclass, field

PIECE_BYTES = 64 * 1024
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Fault:
    """What goes wrong with one answer; the server uses up one per file request."""
    status: int = 0            # answer this instead of the file
    headers: dict = field(default_factory=dict)
    reset: bool = False        # close the connection without an answer
    cut_after: int = -1        # close the connection after so many body bytes
    pause_after: int = -1      # send so many, then wait for `resume`
    resume: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)


@dataclass
class Repository:
    files: dict                # name → path on disk
    told_sha256: dict = field(default_factory=dict)  # name → a lie about it
    api_status: int = 200
    api_headers: dict = field(default_factory=dict)
    license: str = "apache-2.0"


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


class HubServer:
    """Serves `repositories`; with `cdn`, files are redirected to that second server."""

    def __init__(self, repositories=None, cdn=None, ranges=True, etags=True):
        self.repositories = repositories or {}
        self.cdn = cdn
        self.ranges = ranges
        self.etags = etags
        self.faults = []
        self.requests = []     # (path, headers) of every request
        self.bytes_sent = 0
        self._lock = threading.Lock()
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub._answer(self)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for fault in self.faults:
            fault.resume.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def file_requests(self):
        return [(path, headers) for path, headers in self.requests if "/resolve/" in path]

    def _answer(self, request):
        path = request.path.partition("?")[0]
        with self._lock:
            self.requests.append((path, dict(request.headers)))
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            self._describe(request, match[1])
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._send_file(request, match[1], match[3], path)
        else:
            self._send_status(request, 404)

    def _send_status(self, request, status, headers=None, body=b"{}"):
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _describe(self, request, name):
        repository = self.repositories.get(name)
        if not repository:
            return self._send_status(request, 404)
        if repository.api_status != 200:
            return self._send_status(request, repository.api_status, repository.api_headers)
        siblings = []
        for file, path in repository.files.items():
            sha256 = repository.told_sha256.get(file) or sha256_of(path)
            size = pathlib.Path(path).stat().st_size
            siblings.append({"rfilename": file, "size": size,
                             "lfs": {"sha256": sha256, "size": size, "pointerSize": 134}})
        body = {"id": name, "sha": COMMIT, "cardData": {"license": repository.license},
                "siblings": siblings}
        return self._send_status(request, 200, {"Content-Type": "application/json"},
                                 json.dumps(body).encode())

    def _next_fault(self):
        with self._lock:
            return self.faults.pop(0) if self.faults else Fault()

    def _send_file(self, request, name, file, path):
        if self.cdn:
            return self._send_status(request, 302, {"Location": self.cdn.url + path})
        fault = self._next_fault()
        if fault.reset:
            request.close_connection = True
            return None
        if fault.status:
            return self._send_status(request, fault.status, fault.headers)
        repository = self.repositories.get(name)
        if not repository or file not in repository.files:
            return self._send_status(request, 404)
        return self._send_bytes(request, pathlib.Path(repository.files[file]), fault)

    def _send_bytes(self, request, source, fault):
        size = source.stat().st_size
        etag = f'"{size}-{source.stat().st_mtime_ns}"'
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        same = request.headers.get("If-Range", etag) == etag
        if self.ranges and wanted and same:
            start = int(wanted[1])
            if start >= size:
                return self._send_status(request, 416, {"Content-Range": f"bytes */{size}"})
        request.send_response(206 if start else 200)
        if self.etags:
            request.send_header("ETag", etag)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        request.send_header("Content-Length", str(size - start))
        request.end_headers()
        try:
            self._copy(request, source, start, fault)
        except (BrokenPipeError, ConnectionResetError):
            request.close_connection = True
        return None

    def _copy(self, request, source, start, fault):
        sent = 0
        with open(source, "rb") as file:
            file.seek(start)
            while True:
                room = PIECE_BYTES
                if fault.cut_after >= 0:
                    room = min(room, fault.cut_after - sent)
                if fault.pause_after >= 0 and not fault.reached.is_set():
                    room = min(room, fault.pause_after - sent)
                piece = file.read(room) if room else b""
                request.wfile.write(piece)
                sent += len(piece)
                with self._lock:
                    self.bytes_sent += len(piece)
                if fault.cut_after == sent:
                    request.wfile.flush()
                    request.connection.close()
                    raise ConnectionResetError
                if fault.pause_after == sent:
                    request.wfile.flush()
                    fault.reached.set()
                    fault.resume.wait(60)
                    fault.pause_after = -1
                    continue
                if not piece:
                    return


def wait_for(event, seconds=30):
    """The event, or a failure."""
    deadline = time.monotonic() + seconds
    assert event.wait(max(0, deadline - time.monotonic())), f"not within {seconds} s"
