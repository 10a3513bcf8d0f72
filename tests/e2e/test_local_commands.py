"""`llorch up`, `down`, `ps`, `run` and `usage`: the real programs on a root of their own."""

import http.server
import json
import subprocess
import threading

import httpx
import pytest

from support import clean_environment, free_port, run_program, wait_until, write_catalog


@pytest.fixture
def here(bin_dir, root, model_path):
    """here("up", …) → a finished llorch on a root that holds smollm2, with a port of its own."""
    write_catalog(root / ".test-models/catalog.json", model_path)
    url = f"http://127.0.0.1:{free_port()}"

    def call(*arguments, **environment):
        return run_program([bin_dir / "llorch", *arguments], root, 120,
                           **{"LLORCH_ORCHESTRATOR_URL": url} | environment)
    call.url = url
    call.root = root
    yield call
    call("down")


def processes(here):
    return {row["name"].split("-")[0]: row for row in json.loads(here("ps", "--json").stdout)["processes"]}


def answers(url):
    try:
        return httpx.get(url + "/health", trust_env=False, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


# clause: O-37
def test_up_ps_and_down(here):
    empty = here("ps")
    assert empty.returncode == 0 and "none" in empty.stdout and "llorch up" in empty.stderr
    started = here("up")
    assert started.returncode == 0 and f"ready at {here.url}" in started.stdout, started.stderr
    assert answers(here.url)
    again = here("up")
    assert again.returncode == 0 and "runs already" in again.stdout
    shown = here("ps").stdout
    assert "orchestratord" in shown and "ready" in shown and here.url in shown
    stopped = here("down")
    assert stopped.returncode == 0 and "orchestratord stopped" in stopped.stdout
    assert not answers(here.url) and processes(here) == {}
    assert "Nothing to stop" in here("down").stdout


# clause: O-37
def test_up_says_why_it_did_not_start(here, tmp_path):
    config = tmp_path / "llorch.toml"
    config.write_text("[orchestrator]\nqueue_capacity = 0\n")
    failed = here("up", LLORCH_CONFIG=config)
    assert failed.returncode != 0 and "queue" in failed.stderr and "next: " in failed.stderr
    assert processes(here) == {}
    refused = here("up", "--orchestrator-url", "http://gpu-1:8080")
    assert refused.returncode == 2 and "loopback" in refused.stderr


# clause: O-37
def test_up_leaves_another_program_alone(here):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        taken = here("up", "--orchestrator-url", f"http://127.0.0.1:{server.server_port}")
        assert taken.returncode == 5 and "another program" in taken.stderr
    finally:
        server.shutdown()
        server.server_close()


# clause: O-37
def test_down_leaves_an_orchestratord_that_up_did_not_start(here, bin_dir, root):
    port = here.url.rsplit(":", 1)[1]
    own = subprocess.Popen([bin_dir / "orchestratord", "--port", port], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           env=clean_environment(LLORCH_ROOT=root))
    try:
        wait_until(lambda: answers(here.url), "it listens")
        left = here("down")
        assert left.returncode == 0 and "was not started by llorch up" in left.stderr
        assert answers(here.url)
    finally:
        own.terminate()
        own.wait(20)


# clause: O-38, O-37
def test_run_loads_once_answers_on_stdout_and_joins_the_fleet(here):
    assert here("up").returncode == 0
    first = here("run", "smollm2", "Say hello.", "--max-tokens", "8", "--temperature", "0")
    assert first.returncode == 0, first.stderr
    assert first.stdout.strip() and "worker-" not in first.stdout and "worker-" in first.stderr
    again = here("run", "smollm2", "Say hello.", "--max-tokens", "8", "--temperature", "0")
    assert again.stdout.strip() and "is ready" not in again.stderr
    shown = processes(here)
    assert set(shown) == {"orchestratord", "worker"} and shown["worker"]["model"] == "smollm2"

    def served():
        return [row["id"] for row in httpx.get(here.url + "/v1/models", trust_env=False).json()["data"]]
    wait_until(lambda: served() == ["smollm2"], "it is registered")
    stopped = here("down")
    assert stopped.returncode == 0 and processes(here) == {}


# clause: O-38
def test_run_refuses_what_it_cannot_load(here):
    unknown = here("run", "no-such-model", "x")
    assert unknown.returncode == 3 and "no-such-model" in unknown.stderr and unknown.stdout == ""
    silent = here("run", "smollm2")  # stdin is empty
    assert silent.returncode == 2 and "empty" in silent.stderr
    assert processes(here) == {}


# clause: O-39
def test_usage_sums_jobs_by_tenant_and_model(fleet, run):
    boss = fleet()
    for tenant, tokens in (("acme", 5), ("acme", 7), ("other", 3)):
        boss.answer(boss.submit(model="fake", prompt="Hello", max_tokens=tokens, tenant=tenant))

    def ask(*arguments):
        return run("llorch", "usage", *arguments, LLORCH_ORCHESTRATOR_URL=boss.url)

    def rows():
        usage = json.loads(ask("--json").stdout)
        return usage if usage["total"]["tokens_out"] == 15 else None
    usage = wait_until(rows, "the ends are written")
    assert [(row["tenant"], row["model"], row["jobs"], row["tokens_out"]) for row in usage["usage"]] == \
        [("acme", "fake", 2, 12), ("other", "fake", 1, 3)]
    assert usage["total"]["jobs"] == 3 and usage["total"]["prompt_tokens"] > 0 and usage["version"] == "1.0"
    table = ask("--since", "7d").stdout
    assert "acme" in table and "total" in table and all(len(line) <= 80 for line in table.splitlines())
    for since in ("-1h", "x", "5"):
        wrong = ask("--since", since)
        assert wrong.returncode == 2 and "since" in wrong.stderr, since
