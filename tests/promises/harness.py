"""What the promise scripts share: worker processes, raw HTTP over asyncio, figures against targets.

Only the standard library, so that a script runs with any Python 3.11. Every wait has a limit, every
child is ended by its pid, every connection stays on the loopback interface.
"""

import argparse
import asyncio
import contextlib
import json
import math
import os
import pathlib
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
READY_S = 120  # a cold page cache on two busy cores
REPLY_S = 60
EXIT_S = 60
DONE = "[DONE]"  # the last event of a stream of /v1


class Missing(Exception):
    """A program, a model or a right that this machine lacks: the promise cannot be tried here."""


# Figures


class Report:
    """Prints each figure against its target as it is known, and remembers the misses."""

    def __init__(self, promise):
        self.promise = promise
        self.misses = 0
        self.figures = 0

    def figure(self, what, value, target, ok):
        self.figures += 1
        self.misses += not ok
        shown = f"{value:.1f}" if isinstance(value, float) else str(value)
        print(f"{self.promise:<7} {what:<52} {shown:>16}  {target:<16} {'ok' if ok else 'MISS'}",
              flush=True)

    def at_most(self, what, value, limit, unit=""):
        self.figure(what, _with_unit(value, unit), f"<= {limit}{unit and ' ' + unit}", value <= limit)

    def exactly(self, what, value, wanted):
        self.figure(what, value, f"= {wanted}", value == wanted)

    def note(self, text):
        print(f"{self.promise:<7} {text}", flush=True)


def _with_unit(value, unit):
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return f"{text} {unit}" if unit else text


def percentile(values, share):
    """The smallest value that at least `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def slope(values):
    """The least-squares rise from one value to the next."""
    n = len(values)
    mean_x, mean_y = (n - 1) / 2, sum(values) / n
    spread = sum((x - mean_x) ** 2 for x in range(n))
    return sum((x - mean_x) * (y - mean_y) for x, y in enumerate(values)) / spread


class Plan:
    """One run: its scale, its seed and the random source made of it."""

    def __init__(self, scale, seed):
        self.scale = scale
        self.seed = seed
        self.random = random.Random(seed)

    def pick(self, ci, full, soak):
        return {"ci": ci, "full": full, "soak": soak}[self.scale]


def run_script(promise, measure):
    """The main of a promise script: measure(report, plan) → exit status 0, 1 (a miss) or 77 (skipped)."""
    parser = argparse.ArgumentParser(description=f"Tries promise {promise} (docs/promises.md).")
    parser.add_argument("--scale", choices=("ci", "full", "soak"), default="full")
    parser.add_argument("--seed", type=int, default=None, help="replays a random run")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    raise_file_limit()
    report = Report(promise)
    report.note(f"scale {options.scale}, seed {seed}")
    try:
        asyncio.run(measure(report, Plan(options.scale, seed)))
    except Missing as missing:
        report.note(f"skipped: {missing}")
        sys.exit(77)
    sys.exit(1 if report.misses or not report.figures else 0)


def raise_file_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# Programs and the model


def bin_dir():
    return pathlib.Path(os.environ.get("LLORCH_BIN_DIR") or REPOSITORY / "build/bin").resolve()


def program(name):
    path = bin_dir() / name
    if not path.exists():
        raise Missing(f"no {name} in {bin_dir()}: make build")
    return path


def fake_worker_program():
    """The worker's HTTP over an engine without a model: beside the programs, else the dev build's.

    Releases do not ship it, and never another preset's: a sanitizer's memory and time are not ours.
    """
    if given := os.environ.get("LLORCH_FAKE_WORKER"):
        return pathlib.Path(given).resolve()
    for build in (bin_dir().parent, REPOSITORY / "build/dev"):
        path = build / "tests/llorch-fake-worker"
        if path.exists():
            return path
    raise Missing("no llorch-fake-worker: cmake --build build/dev --target llorch-fake-worker")


def model_path():
    if given := os.environ.get("LLORCH_TEST_MODEL"):
        return pathlib.Path(given).resolve()
    if found := catalog_model(REPOSITORY):
        return found
    raise Missing("no smollm2: LLORCH_TEST_MODEL=FILE, or llorch-pool models download smollm2")


def catalog_model(root):
    """The file of smollm2 in this root's catalog; None when it is not there."""
    catalog = root / ".test-models/catalog.json"
    if not catalog.exists():
        return None
    for model in json.loads(catalog.read_text(encoding="utf-8"))["models"]:
        path = root / model["path"]  # relative ones are below the root, absolute ones stay
        if model["id"] == "smollm2" and path.is_file():
            return path
    return None


def environment(**more):
    """This environment without settings of llorch, so that every machine is the same."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LLORCH_")}
    return kept | {name: str(value) for name, value in more.items()}


async def exit_status(process, seconds=EXIT_S):
    """None when it still runs after the limit."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return process.returncode


class Worker:
    """One worker process on a free port: async with Worker.real("--slots", 8) as worker: …"""

    LISTENING = re.compile(rb"listening on http://127\.0\.0\.1:(\d+)")

    def __init__(self, path, arguments, log=None, **variables):
        self.command = [str(path), "--port", "0", *(str(part) for part in arguments)]
        self.variables = variables
        self.log = log
        self.port = 0
        self.process = None

    @classmethod
    def real(cls, *arguments, model=None, **more):
        given = ("--model", model or model_path(), "--model-id", "smollm2", *arguments)
        return cls(program("llorch-candled"), given, **more)

    @classmethod
    def fake(cls, *arguments, slots, step_us, **more):
        more = {"LLORCH_FAKE_SLOTS": slots, "LLORCH_FAKE_STEP_US": step_us} | more
        return cls(fake_worker_program(), ("--model", "fake", *arguments), **more)

    async def __aenter__(self):
        self.home = tempfile.TemporaryDirectory(prefix="llorch-promise-")
        self.log = self.log or pathlib.Path(self.home.name) / "worker.log"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                env=environment(LLORCH_ROOT=self.home.name, **self.variables))
        os.set_blocking(self.process.stdout.fileno(), False)
        try:
            await self._wait_ready()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, kind, *_):
        if kind:  # what went wrong here may have begun there
            print(f"the worker's exit status: {self.process.poll()}; the end of its log:\n"
                  f"{self.last_log()[-1000:]}", file=sys.stderr, flush=True)
        await self.stop()

    async def _wait_ready(self):
        deadline = time.monotonic() + READY_S
        said = b""
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"worker exited {self.process.returncode}: {self.last_log()}")
            if not self.port:
                said += self.process.stdout.read() or b""
                found = self.LISTENING.search(said)
                self.port = int(found[1]) if found else 0
            elif await self._says_ready():
                return
            await asyncio.sleep(0.02)
        raise RuntimeError(f"worker not ready within {READY_S} s: {self.last_log()}")

    async def _says_ready(self):
        with contextlib.suppress(OSError, EOFError):  # it may be on its way out: the exit says why
            return (await request(self.port, "GET", "/ready"))[0] == 200
        return False

    def last_log(self):
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")[-2000:]
        return ""

    async def exited(self, seconds=EXIT_S):
        return await exit_status(self.process, seconds)

    async def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGTERM)  # no drain wanted
        if await self.exited(10) is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.home.cleanup()

    async def health(self):
        return json.loads((await request(self.port, "GET", "/health"))[2])

    async def idle(self, seconds=30):
        """Waits until no slot is busy and nothing waits; False after the limit."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            health = await self.health()
            if health["slots_busy"] == 0 and health["queue_depth"] == 0:
                return True
            await asyncio.sleep(0.01)
        return False

    async def busy(self, slots, queued=0, seconds=60):
        """Waits until so many slots are busy and so many jobs wait; False after the limit."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            health = await self.health()
            if health["slots_busy"] >= slots and health["queue_depth"] >= queued:
                return True
            await asyncio.sleep(0.02)
        return False

    def rss_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    async def rss_beside_snapshots(self, seconds=30):
        """What prompts computed before take has a limit of its own, --kv-ram-mib. Read once it grows
        no more, or after the limit: the pages of empty cells come when no job runs."""
        deadline = time.monotonic() + seconds
        rss, before = self.rss_bytes(), 0
        while rss - before > 64 * 1024 and time.monotonic() < deadline:
            await asyncio.sleep(0.3)
            rss, before = self.rss_bytes(), rss
        text = (await request(self.port, "GET", "/metrics"))[2].decode()
        return rss - int(float(re.search(r"^worker_kv_snapshot_bytes (\S+)", text, re.M)[1]))

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    async def open_files_settled(self, wanted, seconds=30):
        """Open files once they are at most `wanted`, or after the limit: closing takes a moment."""
        deadline = time.monotonic() + seconds
        while self.open_files() > wanted and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return self.open_files()


# HTTP by hand: what a client library would smooth over is what is tried here


def head(method, path, body=b"", **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def message(method, path, body=None, **headers):
    """The bytes of a whole request; a body that is no bytes becomes JSON."""
    if body is None:
        body = b""
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
    return head(method, path, body, **headers) + body


def job(prompt="Hello", job_id=None, **fields):
    """The body of a POST /execute."""
    return {"job_id": job_id or uuid.uuid4().hex, "prompt": prompt} | fields


class Connection:
    """A socket to a worker. Closing it resets the connection when `abort` is set."""

    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port, receive_bytes=None):
        with socket.socket() as sock:
            sock.setblocking(False)
            if receive_bytes:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            reader, writer = await asyncio.open_connection(sock=sock.dup(), limit=2**20)
        return cls(reader, writer)

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def read_head(self):
        """Status and headers (names in lower case)."""
        raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *rest = raw.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in rest if ": " in line)
        return int(first.split()[1]), headers

    async def chunks(self, headers):
        """The parts of a body as they come, whatever its framing."""
        if headers.get("transfer-encoding") != "chunked":
            yield await self.reader.readexactly(int(headers.get("content-length", 0)))
            return
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)

    async def read_body(self, headers):
        return b"".join([part async for part in self.chunks(headers)])

    def close(self, abort=False):
        if abort:
            sock = self.writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.writer.transport.abort()
        else:
            self.writer.close()


async def request(port, method, path, body=None, seconds=REPLY_S, **headers):
    """One request on a connection of its own: (status, headers, body)."""
    async with asyncio.timeout(seconds):
        connection = await Connection.open(port)
        try:
            await connection.send(message(method, path, body, **headers))
            status, fields = await connection.read_head()
            return status, fields, await connection.read_body(fields)
        finally:
            connection.close()


class Stream:
    """A running /execute: its events one at a time."""

    def __init__(self, connection, status, headers):
        self.connection = connection
        self.status = status
        self.headers = headers
        self._parts = connection.chunks(headers)
        self._left = b""

    @classmethod
    async def open(cls, port, body, path="/execute", **options):
        connection = await Connection.open(port, **options)
        await connection.send(message("POST", path, body))
        return cls(connection, *await connection.read_head())

    async def events(self):
        """(type, data) of each event, DONE as it is; comments are left out."""
        async for part in self._parts:
            *frames, self._left = (self._left + part).split(b"\n\n")
            for frame in frames:
                fields = dict(line.split(b": ", 1) for line in frame.split(b"\n") if b": " in line)
                if data := fields.get(b"data", b"").decode():
                    yield fields.get(b"event", b"").decode(), data if data == DONE else json.loads(data)

    async def until(self, kind):
        """The data of the next event of this type; None when the stream ends before."""
        async for name, data in self.events():
            if name == kind:
                return data
        return None

    def close(self, abort=False):
        self.connection.close(abort)


class HealthProbe:
    """Asks for /health from a process of its own, so that this one's work does not count."""

    def __init__(self, port, interval_ms=5):
        self.command = [sys.executable, str(pathlib.Path(__file__).with_name("health_probe.py")),
                        str(port), str(interval_ms)]
        self.latencies_ms = []

    async def __aenter__(self):
        self.process = await asyncio.create_subprocess_exec(
            *self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    async def __aexit__(self, kind, *_):
        if kind:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
            return
        out, _ = await asyncio.wait_for(self.process.communicate(b"\n"), 30)
        self.latencies_ms = json.loads(out)

    def report(self, report, what="/health p99"):
        report.at_most(f"{what} (n={len(self.latencies_ms)})", percentile(self.latencies_ms, 0.99), 5.0,
                       "ms")


async def gather_bounded(coroutines, at_once):
    """The results of all, in order, with at most so many running together."""
    gate = asyncio.Semaphore(at_once)

    async def one(coroutine):
        async with gate:
            return await coroutine
    return await asyncio.gather(*(one(coroutine) for coroutine in coroutines))
