"""tools/run.sh and lib.sh over programs that a test makes up: what they keep, say and stop."""

import http.server
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time

import pytest

TOOLS = pathlib.Path(__file__).parent
sys.path.insert(0, str(TOOLS.parent / "tests/promises"))
import harness  # noqa: E402

WAIT_S = 20
# Writes each call into `calls`; what it does besides is told by files beside it.
POOL = """#!/usr/bin/env bash
here="$(dirname "$0")"
echo "$*" >>"$here/calls"
case "$*" in
  "worker spawn"*)
    trap 'echo "spawn ended" >>"$here/calls"; exit 143' TERM
    while [[ -f $here/hold ]]; do sleep 0.02; done
    echo "worker-cpu-a is ready at http://$(<"$here/address")" ;;
  "worker stop"*) exit "$(cat "$here/stop_status" 2>/dev/null || echo 0)" ;;
  "models info"*) cat "$here/info.json" ;;
  "models catalog"*) echo '{"models":[]}' ;;
esac
"""


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


# As the daemon: says where it listens, ends when told to. The worker's made-up /health stands in
# for its own.
BOSS = """#!/usr/bin/env bash
here="$(dirname "$0")"
echo "orchestratord $*" >>"$here/calls"
echo "orchestratord listening on http://$(<"$here/address")"
trap 'echo "orchestratord ended" >>"$here/calls"; exit 0' TERM
for ((i = 0; i < 600; ++i)); do sleep 0.05; done
"""


class Checkout:
    """A folder that looks built to run.sh."""

    def __init__(self, root):
        self.root = root
        self.bin = root / "build/bin"
        (root / "tools").mkdir(parents=True)
        for name in ("run.sh", "lib.sh"):
            shutil.copy(TOOLS / name, root / "tools" / name)
        program(root / "tools/setup.sh", "#!/bin/sh\n")
        program(root / "path/cmake", "#!/bin/sh\n")
        program(self.bin / "llorch-pool", POOL)
        program(self.bin / "orchestratord", BOSS)
        program(self.bin / "llorch", "#!/bin/sh\necho answer\n")
        (root / "build/release").mkdir()
        (root / "build/release/build.ninja").touch()
        self.up_file = root / "build/up.fleet"

    def start(self, *arguments, **variables):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LLORCH_")}
        kept["PATH"] = f"{self.root / 'path'}:{kept['PATH']}"
        return subprocess.Popen(["bash", self.root / "tools/run.sh", *arguments], text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env=kept | variables)

    def run(self, *arguments, **variables):
        child = self.start(*arguments, **variables)
        child.out, child.err = child.communicate(timeout=WAIT_S)
        return child

    def calls(self):
        path = self.bin / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def wait_call(self, start):
        deadline = time.monotonic() + WAIT_S
        while not any(call.startswith(start) for call in self.calls()):
            assert time.monotonic() < deadline, self.calls()
            time.sleep(0.02)


@pytest.fixture
def health():
    """A server whose /health names worker-cpu-a, or what its `worker_id` is set to."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"worker_id": self.server.worker_id}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.worker_id = "worker-cpu-a"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def checkout(tmp_path, health):
    made = Checkout(tmp_path / "checkout")
    (made.bin / "address").write_text(f"127.0.0.1:{health.server_address[1]}")
    yield made
    if made.up_file.exists():
        health.worker_id = "nobody"
        (made.bin / "stop_status").write_text("0")
        made.run("down")


def test_clean_leaves_what_still_runs(checkout):
    shutil.copy(TOOLS / "clean.sh", checkout.root / "tools/clean.sh")
    clean = ["bash", checkout.root / "tools/clean.sh"]
    checkout.up_file.write_text("worker-cpu-a 127.0.0.1:1 smollm2 1 127.0.0.1:2\n")
    refused = subprocess.run(clean, capture_output=True, text=True, timeout=WAIT_S, check=False)
    assert refused.returncode != 0 and "make down" in refused.stderr
    assert (checkout.bin / "llorch").exists()
    checkout.up_file.unlink()
    subprocess.run(clean, timeout=WAIT_S, check=True)
    assert not checkout.bin.exists()


def test_once_answers_and_stops_its_worker(checkout):
    done = checkout.run("once")
    assert done.returncode == 0, done.err
    assert "answer" in done.out
    calls = checkout.calls()
    assert calls.count("worker stop worker-cpu-a") == 1
    assert "orchestratord ended" in calls and "orchestratord --port 0" in calls


@pytest.mark.parametrize("step", ["once", "up"])
def test_a_signal_while_the_worker_loads_leaves_none_behind(checkout, step):
    """The trap was set after the wait, and the worker stayed."""
    (checkout.bin / "hold").touch()
    child = checkout.start(step)
    checkout.wait_call("worker spawn")
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=WAIT_S)
    assert child.returncode == 143
    assert "spawn ended" in checkout.calls()
    checkout.wait_call("orchestratord ended")
    assert not checkout.up_file.exists()


def test_up_keeps_the_model_and_tells_the_truth_about_another(checkout, health):
    done = checkout.run("up", LLORCH_MODEL="qwen")
    assert done.returncode == 0 and "(model qwen)" in done.out, done.err
    again = checkout.run("up")
    assert again.returncode == 0 and "(model qwen)" in again.out
    other = checkout.run("up", LLORCH_MODEL="phi3")
    assert other.returncode == 5
    assert "qwen is up already" in other.err and "next: make down" in other.err
    assert sum(call.startswith("worker spawn") for call in checkout.calls()) == 1
    # Another program took the port meanwhile: the worker is not up any more.
    health.worker_id = "worker-cpu-b"
    checkout.run("up")
    assert sum(call.startswith("worker spawn") for call in checkout.calls()) == 2


def test_down_forgets_the_worker_only_when_it_is_gone(checkout, health):
    assert checkout.run("up").returncode == 0
    for status in (4, 7, 3):  # denied, timeout, unknown to this root although it answers
        (checkout.bin / "stop_status").write_text(str(status))
        done = checkout.run("down")
        assert done.returncode == status and "next: " in done.err
        assert checkout.up_file.exists()
    health.worker_id = "worker-cpu-b"
    assert checkout.run("down").returncode == 0
    assert not checkout.up_file.exists()
    assert "nothing is up" in checkout.run("down").out


@pytest.mark.parametrize(("path", "want"), [(".test-models/smollm2/m.gguf", "{root}/.test-models/smollm2/m.gguf"),
                                            ("/data/m.gguf", "/data/m.gguf")], ids=["relative", "absolute"])
def test_the_model_of_the_tests_is_below_the_root_or_where_it_lies(checkout, path, want):
    (checkout.bin / "info.json").write_text(json.dumps({"path": path}))
    done = subprocess.run(
        ["bash", "-c", 'source "$1/tools/lib.sh"; test_model "$1/build/bin"', "-", checkout.root],
        capture_output=True, text=True, check=True, timeout=WAIT_S)
    assert done.stdout.strip() == want.format(root=checkout.root)


def test_the_promises_find_the_model_by_the_same_rule(tmp_path):
    catalog = tmp_path / ".test-models/catalog.json"
    elsewhere = tmp_path / "elsewhere.gguf"
    below = tmp_path / ".test-models/smollm2/m.gguf"
    below.parent.mkdir(parents=True)
    for file, path in ((below, ".test-models/smollm2/m.gguf"), (elsewhere, str(elsewhere))):
        file.touch()
        catalog.write_text(json.dumps({"models": [{"id": "smollm2", "path": path}]}))
        assert harness.catalog_model(tmp_path) == file
    elsewhere.unlink()
    assert harness.catalog_model(tmp_path) is None
