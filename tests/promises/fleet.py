"""orchestratord with fake workers behind it, for the promises that are about the fleet.

Blocking calls on threads: what is tried is what a plain client sees. Every wait has a limit.
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

import harness

ALPHABET = "abcdefghijklmnopqrstuvwxyz      "
LIMIT_S = 120
WORD = (1 << 64) - 1


def _mix(x):
    x = (x + 0x9E3779B97F4A7C15) & WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def expected_text(prompt, tokens):
    """What the fake engine says to a bare prompt (tests/fakes/fake_engine.h)."""
    value = 0xCBF29CE484222325
    for byte in prompt.encode():
        value = ((value ^ byte) * 0x100000001B3) & WORD
    return "".join(ALPHABET[_mix((value + i) & WORD) % len(ALPHABET)] for i in range(tokens))


class Process:
    """A program of ours that says "listening on http://127.0.0.1:PORT"."""

    def __init__(self, command, home, **variables):
        self.home = pathlib.Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.out = self.home / f"out.{time.monotonic_ns()}"
        with open(self.out, "wb") as out, open(self.home / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=log,
                env=harness.environment(LLORCH_ROOT=self.home, **variables))
        self.port = self._listening()

    def _listening(self):
        deadline = time.monotonic() + harness.READY_S
        while time.monotonic() < deadline:
            if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", self.out.read_text()):
                return int(found[1])
            if self.process.poll() is not None:
                raise RuntimeError((self.home / "log").read_text()[-2000:])
            time.sleep(0.002)
        raise RuntimeError("it does not listen")

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


class Fleet:
    """with Fleet(workers=2) as fleet: … The orchestrator keeps its port and its files."""

    def __init__(self, workers=2, slots=8, step_us=3_000, flags=("--queue-capacity", "-1"), boss=None,
                 worker=None, model=None):
        """`flags` of orchestratord; `boss` and `worker`: more of their environment; `model`: a file
        for real workers, of one thread and 1024 tokens of context each."""
        self.folder = tempfile.TemporaryDirectory(prefix="llorch-fleet-")
        self.root = pathlib.Path(self.folder.name)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.slots, self.step_us = slots, step_us
        self.flags, self.boss_variables, self.worker_variables = flags, boss or {}, worker or {}
        self.model = model
        self.workers = []
        self.boss = None
        self.started = 0
        self.wanted = workers

    def __enter__(self):
        self.start_boss()
        for _ in range(self.wanted):
            self.add_worker()
        self.wait_workers(self.wanted)
        return self

    def __exit__(self, *_):
        for process in [*self.workers, self.boss]:
            if process:
                process.process.kill()
                process.process.wait(10)
        self.folder.cleanup()

    def start_boss(self):
        self.boss = Process([harness.program("orchestratord"), "--port", self.port, *self.flags],
                            self.root / "boss", **self.boss_variables)

    def add_worker(self):
        self.started += 1
        kind = [harness.fake_worker_program(), "--model", "any", "--model-id", "fake"]
        if self.model:
            kind = [harness.program("llorch-candled"), "--model", self.model, "--model-id", "smollm2",
                    "--slots", self.slots, "--threads", 1, "--ctx-tokens", 1024]
        self.workers.append(Process(
            [*kind, "--port", "0", "--orchestrator-url", f"http://127.0.0.1:{self.port}"],
            self.root / f"worker-{self.started}",
            **{"LLORCH_FAKE_SLOTS": self.slots, "LLORCH_FAKE_STEP_US": self.step_us}
            | self.worker_variables))

    def wait_workers(self, count):
        deadline = time.monotonic() + harness.READY_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, http.client.HTTPException):
                workers = self.ask("GET", "/v2/workers")[1]["workers"]
                if sum(worker["status"] == "healthy" for worker in workers) >= count:
                    return
            time.sleep(0.005)
        raise RuntimeError(f"not {count} healthy workers")

    def ask(self, method, path, body=None):
        """(status, decoded body) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None)
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read())
        finally:
            connection.close()

    def failures(self):
        """{job: tokens each of its attempts that failed had sent}, from the log."""
        found = {}
        for line in (self.root / "boss/log").read_text().splitlines():
            if '"event":"attempt_failed"' in line:
                said = json.loads(line)
                found.setdefault(said["job_id"], []).append(said["tokens_out"])
        return found

    def events(self, job, after=None):
        """(id, type, data) of each frame with an id, as they come; resumes after cuts."""
        last = -1 if after is None else after
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            try:
                for seq, kind, data in self._read(job, last):
                    last = seq
                    yield seq, kind, data
                    if kind in ("end", "error"):
                        return
            except (OSError, http.client.HTTPException):
                time.sleep(0.01)
        raise TimeoutError(f"{job} has no end")

    def _read(self, job, last):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        try:
            headers = {"Last-Event-ID": str(last)} if last >= 0 else {}
            connection.request("GET", f"/v2/tasks/{job}/events", headers=headers)
            reply = connection.getresponse()
            if reply.status != 200:
                raise http.client.HTTPException(f"status {reply.status}")
            fields = {}
            while line := reply.readline():
                text = line.decode().rstrip("\n")
                if text and not text.startswith(":"):
                    name, _, value = text.partition(": ")
                    fields[name] = value
                elif not text and fields:
                    if "id" in fields:
                        yield int(fields["id"]), fields["event"], json.loads(fields["data"])
                    fields = {}
            raise http.client.HTTPException("cut")
        finally:
            connection.close()


def whole(frames, prompt, tokens):
    """What is wrong with the frames of one task, or None."""
    if [seq for seq, _, _ in frames] != list(range(tokens + 3)):
        return f"sequence {[seq for seq, _, _ in frames][:5]}… of {len(frames)} frames"
    if [kind for _, kind, _ in frames].count("end") != 1:
        return f"ends with {frames[-1]}"
    text = "".join(data["t"] for _, kind, data in frames if kind == "token")
    return None if text == expected_text(prompt, tokens) else "another text"


def files_open(process):
    return len(os.listdir(f"/proc/{process.process.pid}/fd"))
