#!/usr/bin/env python3
"""Runs each model on each backend of this host as a user would: download, spawn, /execute twice, stop.

    tools/model_matrix.py [--models A,B] [--backends cpu,cuda] [--json [FILE]] [--bin FOLDER]

Models are the catalog's (real weights, in llorch-pool's own root: $LLORCH_ROOT or its default) and
tiny-FAMILY (random weights, made by tools/tiny_models.py; workers in a root of this run alone).
A model passes on a backend when two runs of 10 tokens (ignore_eos, temperature 0, seed 42) give exactly
10 token events each, valid UTF-8 and the same ids. Before that its file must have its sha256. A tiny
model must besides take a chat as real Jinja renders it from the family's published template, token for
token. What cannot be downloaded here, or has no backend here, is skipped with the reason.

Each model is a line on stdout; with --json and no FILE the lines give way to one of JSON. The last line
is `Passed: N Failed: N Skipped: N`. Exit status 1: nothing passed, a downloaded model failed, or the
tiny model of an architecture of the catalog failed. LLORCH_TINY_MODELS names a folder of tiny models
that are taken as they are.
"""

import argparse
import dataclasses
import http.client
import json
import os
import pathlib
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid

import chat_text
import tiny_models

REPO = pathlib.Path(__file__).resolve().parent.parent
PROMPT = "Once upon a time"
TOKENS = 10
RUN = {"max_tokens": TOKENS, "ignore_eos": True, "temperature": 0, "seed": 42}
CONVERSATION = [
    {"role": "user", "content": "Hello, what is the capital of France?"},
    {"role": "assistant", "content": "It is Paris, on the river Seine."},
    {"role": "user", "content": "And which one of Italy? Answer in a word."}]
COMMAND_S = 120
DOWNLOAD_S = 4 * 3600
SPAWN_S = 900
REPLY_S = 120  # of silence
# Exit codes of a download that say: not here (not found, denied, unreachable, timeout, no room).
NOT_HERE = (3, 4, 6, 7, 9)
UNREACHABLE = 6
HEADERS = {"Content-Type": "application/json"}
if os.environ.get("LLORCH_WORKER_TOKEN"):  # the workers that are spawned have it too
    HEADERS["Authorization"] = f"Bearer {os.environ['LLORCH_WORKER_TOKEN']}"
READY = re.compile(r"^(\S+) is ready at http://([0-9.]+):(\d+)$", re.MULTILINE)


class Failure(Exception):
    """Why a model does not pass."""


class Skip(Exception):
    """Why a model cannot be tried here."""


@dataclasses.dataclass
class Row:
    model: str
    backend: str
    weights: str  # real | tiny
    architecture: str
    quantization: str
    stands_for: str | None = None  # what a tiny model is like
    load_ms: int | None = None
    tokens_per_second: float | None = None
    memory_bytes: int | None = None
    outcome: str = ""  # passed | failed | skipped
    reason: str | None = None

    def line(self):
        text = f"{self.outcome.capitalize():8}{self.model:14} {self.backend:7}"
        if self.outcome != "passed":
            return f"{text}{self.reason}"
        return (f"{text}load {self.load_ms:6} ms  {self.tokens_per_second:7.1f} tok/s  "
                f"{self.memory_bytes / 1e6:7.0f} MB")


class Pool:
    """llorch-pool over one root; None is the root that it chooses itself."""

    def __init__(self, folder, root=None):
        self.program = folder / "llorch-pool"
        self.environment = dict(os.environ) | ({"LLORCH_ROOT": str(root)} if root else {})

    def run(self, *arguments, timeout=COMMAND_S):
        try:
            return subprocess.run([self.program, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, errors="replace", env=self.environment, timeout=timeout,
                                  check=False)
        except subprocess.TimeoutExpired as late:
            raise Failure(f"{' '.join(arguments[:2])}: not within {timeout} s") from late

    def ask(self, *arguments):
        """The JSON of a read command."""
        done = self.run(*arguments, "--json")
        if done.returncode != 0:
            raise SystemExit(done.stderr.strip() or f"error: llorch-pool {' '.join(arguments)}")
        return json.loads(done.stdout)


def why(done):
    """What a program said went wrong, in a line, without this machine's paths."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")] or \
        done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
    return re.sub(r"(?<![:/\w.-])/\S*/", "", lines[0].removeprefix("error: "))


def execute(address, fields):
    """(started, token events, end) of one job, read as strict UTF-8."""
    connection = http.client.HTTPConnection(*address, timeout=REPLY_S)
    try:
        connection.request("POST", "/execute", json.dumps(fields | {"job_id": f"matrix-{uuid.uuid4().hex}"}),
                           HEADERS)
        reply = connection.getresponse()
        body = reply.read()
    except (OSError, http.client.HTTPException) as broken:
        raise Failure(f"/execute: {broken or type(broken).__name__}") from broken
    finally:
        connection.close()
    try:
        text = body.decode("utf-8", errors="strict")
    except UnicodeDecodeError as wrong:
        raise Failure(f"the stream is not valid UTF-8: {wrong.reason}") from wrong
    if reply.status != 200:
        raise Failure(f"/execute: {reply.status} {text[:200]}")
    events = [json.loads(line.removeprefix("data:")) for line in text.splitlines() if line.startswith("data:")]
    kinds = {kind: [event for event in events if event["type"] == kind]
             for kind in ("started", "token", "end", "error")}
    if kinds["error"]:
        raise Failure(f"/execute: {kinds['error'][0]}"[:300])
    if len(kinds["started"]) != 1 or len(kinds["end"]) != 1:
        raise Failure("the stream has not one beginning and one end")
    return kinds["started"][0], kinds["token"], kinds["end"][0]


def run_twice(address):
    """The rate of the second of two equal runs."""
    ids = []
    for _ in range(2):
        _, tokens, end = execute(address, RUN | {"prompt": PROMPT})
        if len(tokens) != TOKENS:
            raise Failure(f"{len(tokens)} token events, want {TOKENS}")
        ids.append([token["id"] for token in tokens])
    if ids[0] != ids[1]:
        raise Failure(f"two runs differ: {ids[0]} and {ids[1]}")
    return TOKENS / max(end["decode_time_ms"], 0.001) * 1000


def check_chat(address, family, entry):
    """The prompt that Jinja renders must find every token of the same chat in the cache: the worker's
    template, control tokens and beginning are then those of the published template."""
    template = family.template_path().read_text(encoding="utf-8")
    # As in llama-server, thinking is on where a template knows it.
    wanted = chat_text.render(template, CONVERSATION, entry["bos"], entry["eos"], enable_thinking=True)
    fields = RUN | {"cache_scope": uuid.uuid4().hex}
    chat, chat_tokens, _ = execute(address, fields | {"messages": CONVERSATION})
    bare, bare_tokens, _ = execute(address, fields | {"prompt": wanted})
    same = chat["prompt_tokens"] == bare["prompt_tokens"] == bare["cached_tokens"] + 1
    if not same or [t["id"] for t in chat_tokens] != [t["id"] for t in bare_tokens]:
        raise Failure(f"its chat template is not {entry['template']}: a chat of {chat['prompt_tokens']} tokens, "
                      f"want {bare['prompt_tokens']}; {bare['cached_tokens']} at the beginning are the same")


def peak_memory(pool, worker_id, address):
    """The most that the worker's process held, on Linux; elsewhere and on a GPU what it says itself."""
    worker = next(each for each in pool.ask("worker", "list")["workers"] if each["worker_id"] == worker_id)
    status = pathlib.Path(f"/proc/{worker['pid']}/status")
    if worker["backend"] == "cpu" and status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    connection = http.client.HTTPConnection(*address, timeout=REPLY_S)
    try:
        connection.request("GET", "/health")
        return json.loads(connection.getresponse().read())["memory_bytes"]
    except (OSError, ValueError, KeyError, http.client.HTTPException) as broken:
        raise Failure(f"/health: {broken}") from broken
    finally:
        connection.close()


def try_model(pool, row, model, check=lambda address: None):
    """Spawns a worker, fills the row with what it did, and stops it whatever happens."""
    begun = time.monotonic()
    done = pool.run("worker", "spawn", row.backend, "--model", str(model), timeout=SPAWN_S)
    ready = READY.search(done.stdout)
    if done.returncode != 0 or not ready:
        raise Failure(f"spawn: {why(done)}")
    row.load_ms = round((time.monotonic() - begun) * 1000)
    try:
        address = (ready[2], int(ready[3]))
        row.tokens_per_second = round(run_twice(address), 1)
        check(address)
        row.memory_bytes = peak_memory(pool, ready[1], address)
    finally:
        stopped = pool.run("worker", "stop", ready[1])
    if stopped.returncode != 0:
        raise Failure(f"stop: {why(stopped)}")


class Catalog:
    """The models of llorch-pool's catalog that have a built-in source or are there already."""

    def __init__(self, folder):
        self.pool = Pool(folder)
        self.entries = {entry["id"]: entry for entry in self.pool.ask("models", "catalog")["models"]}
        self.hub_error = None
        self.fetched = {}

    def architectures(self):
        return {entry["architecture"] for entry in self.entries.values()}

    def row(self, name, backend):
        entry = self.entries[name]
        return Row(name, backend, "real", entry["architecture"], entry["quantization"])

    def fetch(self, name):
        """Once a model. Raises Skip or Failure."""
        if name not in self.fetched:
            try:
                self.fetched[name] = self.fetch_now(self.entries[name])
            except (Skip, Failure) as outcome:
                self.fetched[name] = outcome
        if self.fetched[name] is not None:
            raise self.fetched[name]

    def fetch_now(self, entry):
        only_hub = all(source.startswith("hf:") for source in entry["sources"])
        if not entry["downloaded"]:
            if not entry["fits"]:
                raise Skip(f"not downloaded: {entry['size_gb']} GB do not fit this machine's memory")
            if self.hub_error and only_hub:  # each would wait for it again
                raise Skip(f"not downloaded: {self.hub_error}")
        done = self.pool.run("models", "download", entry["id"], timeout=DOWNLOAD_S)
        if done.returncode == UNREACHABLE and only_hub:
            self.hub_error = why(done)
        if done.returncode in NOT_HERE:
            raise Skip(f"not downloaded: {why(done)}")
        if done.returncode != 0:
            raise Failure(f"download: {why(done)}")
        done = self.pool.run("models", "verify", entry["id"], timeout=SPAWN_S)
        if done.returncode != 0:
            raise Failure(f"verify: {why(done)}")

    def run(self, row):
        self.fetch(row.model)
        try_model(self.pool, row, row.model)


class TinyModels:
    """A tiny model of each family, in a folder that is made here or given."""

    def __init__(self, folder, root, given):
        self.pool = Pool(folder, root)
        self.families = {f"tiny-{family.name}": family for family in tiny_models.FAMILIES}
        self.folder = given or tiny_models.FOLDER
        self.given = given
        self.entries = None

    def row(self, name, backend):
        family = self.families[name]
        return Row(name, backend, "tiny", family.architecture, "F16", family.stands_for)

    def entry(self, name):
        if self.entries is None:
            manifest = tiny_models.read_manifest(self.folder) if self.given else \
                tiny_models.make_all(self.folder, tiny_models.TREE)
            self.entries = {f"tiny-{entry['name']}": entry for entry in manifest["models"]}
        if name not in self.entries:
            raise Failure("it is not in the manifest of the tiny models")
        return self.entries[name]

    def run(self, row):
        entry = self.entry(row.model)
        path = self.folder / entry["file"]
        if not path.exists():
            raise Failure(f"{entry['file']} is missing")
        if tiny_models.sha256_of(path) != entry["sha256"]:
            raise Failure(f"{entry['file']} is damaged: its sha256 is not that of the manifest")
        family = self.families[row.model]
        try_model(self.pool, row, path, lambda address: check_chat(address, family, entry))


def fill(row, models, backends):
    """Runs one row; its outcome and reason."""
    try:
        backend = backends.get(row.backend)
        if not backend or not backend["available"]:
            raise Skip(f"backend {row.backend}: {backend['reason'] if backend else 'not known to this build'}")
        models.run(row)
        row.outcome = "passed"
    except Skip as reason:
        row.outcome, row.reason = "skipped", str(reason)
    except Failure as reason:
        row.outcome, row.reason = "failed", str(reason)


def fails(rows, architectures):
    """Whether the whole run failed, by the rule in this file's head."""
    failed = [row for row in rows if row.outcome == "failed"]
    return not any(row.outcome == "passed" for row in rows) or \
        any(row.weights == "real" or row.architecture in architectures for row in failed)


def host_facts(backends, folder):
    version = subprocess.run([folder / "llorch-pool", "--version"], capture_output=True, text=True, check=True,
                             timeout=COMMAND_S, stdin=subprocess.DEVNULL).stdout.strip()
    return {"system": f"{platform.system()} {platform.machine()}", "cores": os.cpu_count(),
            "threads": int(os.environ.get("LLORCH_WORKER_THREADS") or os.cpu_count()),
            "version": version,
            "backends": [{"name": name, "available": backend["available"], "reason": backend["reason"],
                          "devices": [device["name"] for device in backend["devices"]]}
                         for name, backend in backends.items()]}


def chosen(text, known, what, parser):
    if text is None:
        return list(known)
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"--{what}: no {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", help="catalog ids and tiny-FAMILY, with commas between them")
    parser.add_argument("--backends", help="of this host, with commas between them (those available)")
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help="the rows as JSON")
    parser.add_argument("--bin", type=pathlib.Path, default=REPO / "build/bin", help="folder of the programs")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the worker is stopped on the way out
    given = os.environ.get("LLORCH_TINY_MODELS")
    with tempfile.TemporaryDirectory(prefix="llorch-models-") as root:
        catalog = Catalog(options.bin)
        tiny = TinyModels(options.bin, root, pathlib.Path(given) if given else None)
        backends = {each["name"]: each for each in catalog.pool.ask("backends", "list")["backends"]}
        owners = {name: catalog for name in catalog.entries} | {name: tiny for name in tiny.families}
        models = chosen(options.models, owners, "models", parser)
        wanted = chosen(options.backends, backends, "backends", parser) if options.backends else \
            [name for name, each in backends.items() if each["available"]]
        rows = [owners[model].row(model, backend) for model in models for backend in wanted]
        try:
            for row in rows:
                fill(row, owners[row.model], backends)
                if options.json != "-":
                    print(row.line(), flush=True)
        finally:
            tiny.pool.run("worker", "stop-all")  # of this run's own root, should it be cut short
    if options.json:
        text = {"host": host_facts(backends, options.bin), "rows": [dataclasses.asdict(row) for row in rows]}
        if options.json == "-":
            print(json.dumps(text))
        else:
            pathlib.Path(options.json).write_text(json.dumps(text, indent=1) + "\n", encoding="utf-8")
    counts = {kind: sum(row.outcome == kind for row in rows) for kind in ("passed", "failed", "skipped")}
    print(" ".join(f"{kind.capitalize()}: {count}" for kind, count in counts.items()))
    return 1 if fails(rows, catalog.architectures()) else 0


if __name__ == "__main__":
    sys.exit(main())
