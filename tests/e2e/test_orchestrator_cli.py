"""`llorch jobs`, `workers`, `explain`, `policy` and `top`: the real programs, a fleet of fake workers."""

import json
import os
import pty
import select
import signal
import subprocess
import time

import pytest

from support import clean_environment, free_port, repository, wait_until

READS = [("jobs", "list"), ("workers", "list"), ("policy", "show"), ("top", "--once")]
GUARD = 'fn should_admit(job, queue_depth) { if job.tenant == "guest" { reject("no guests") } else { true } }\n'


@pytest.fixture
def ask(run):
    """ask(boss, "jobs", "list") → the finished `llorch` that asked this orchestrator."""
    def call(boss, *arguments, **environment):
        return run("llorch", *arguments, LLORCH_ORCHESTRATOR_URL=boss.url, **environment)
    return call


def start(bin_dir, boss, *arguments):
    return subprocess.Popen([bin_dir / "llorch", *arguments], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=clean_environment(LLORCH_ROOT=boss.root, LLORCH_ORCHESTRATOR_URL=boss.url))


def is_plain(text):
    return all(c in "\n\t" or c.isprintable() for c in text)


# clause: C-24, C-25
def test_a_job_is_submitted_listed_shown_and_kept(fleet, ask):
    boss = fleet()
    done = ask(boss, "jobs", "submit", "--model", "fake", "--prompt", "Hello", "--max-tokens", "20",
               "--priority", "batch", "--tenant", "acme")
    assert done.returncode == 0, done.stderr
    job = done.stdout.removesuffix("\n")
    text = boss.answer(job).text
    wait_until(lambda: boss.api.get(f"/v2/tasks/{job}").json()["status"] == "completed", "it ends")
    listed = ask(boss, "jobs", "list")
    assert job in listed.stdout and "completed" in listed.stdout
    assert ask(boss, "jobs", "list", "--status", "failed").stdout == "No jobs\n"
    shown = ask(boss, "jobs", "show", job)
    for word in ("completed (MAX_TOKENS)", "batch", "acme", "20"):
        assert word in shown.stdout
    row = json.loads(ask(boss, "jobs", "show", job, "--json").stdout)
    assert row["version"] == "1.0" and row["job_id"] == job and row["tokens_out"] == 20
    assert json.loads(ask(boss, "jobs", "list", "--json").stdout)["jobs"][0]["job_id"] == job
    events = ask(boss, "jobs", "events", job)
    assert events.returncode == 0 and events.stdout == text + "\n" and "20 tokens" in events.stderr


# clause: C-24
def test_the_same_key_gives_the_same_job(fleet, ask):
    boss = fleet()
    words = ("jobs", "submit", "--model", "fake", "--max-tokens", "2", "--idempotency-key", "k1")
    first = ask(boss, *words, "--prompt", "once")
    assert first.stdout == ask(boss, *words, "--prompt", "once").stdout != ""
    other = ask(boss, *words, "--prompt", "twice")
    assert other.returncode == 5 and "--idempotency-key" in other.stderr
    absent = ask(boss, "jobs", "submit", "--model", "fakee", "--prompt", "x")
    assert absent.returncode == 3 and "fake" in absent.stderr and "next: llorch workers list" in absent.stderr


# clause: C-24
def test_follow_streams_the_answer_and_a_signal_cancels_it(fleet, ask, bin_dir):
    boss = fleet(step_us=5_000)
    want = boss.answer(boss.submit(model="fake", messages=[{"role": "user", "content": "Hi"}],
                                   max_tokens=12)).text
    words = ("jobs", "submit", "--model", "fake", "--prompt", "Hi", "--follow", "--max-tokens")
    done = ask(boss, *words, "12")
    assert done.returncode == 0 and done.stdout == want + "\n" and "job_id: " in done.stderr
    child = start(bin_dir, boss, *words, "4000")
    try:
        assert child.stdout.read(1)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=15)
        assert child.returncode == 130
        boss.workers[0].api.wait_idle()
    finally:
        child.kill()
        child.communicate(timeout=10)


# clause: C-26
def test_events_can_begin_after_any_event_and_are_lines_of_json(fleet, ask):
    boss = fleet()
    job = boss.submit(model="fake", prompt="Hello", max_tokens=6)
    want = boss.answer(job)
    lines = [json.loads(line) for line in ask(boss, "jobs", "events", job, "--json").stdout.splitlines()]
    kept = [line for line in lines if line["event"] != "metrics"]
    assert [line["event"] for line in kept] == ["queued", "started"] + ["token"] * 6 + ["end"]
    assert [line["data"] for line in kept if line["event"] == "token"] == want.tokens
    rest = ask(boss, "jobs", "events", job, "--after", "4")
    assert rest.stdout == "".join(token["t"] for token in want.tokens[3:]) + "\n"
    last = ask(boss, "jobs", "events", job, "--after", str(want.events[-1].seq))
    assert last.returncode == 0 and last.stdout == ""
    beyond = ask(boss, "jobs", "events", job, "--after", "99")
    assert beyond.returncode != 0 and beyond.stdout == "" and "is not known" in beyond.stderr


# clause: C-26
def test_events_outlive_a_restart_of_the_orchestrator(fleet, bin_dir):
    boss = fleet(step_us=10_000)
    want = boss.answer(boss.submit(model="fake", prompt="survive", max_tokens=120)).text
    job = boss.submit(model="fake", prompt="survive", max_tokens=120)
    child = start(bin_dir, boss, "jobs", "events", job)
    try:
        assert child.stdout.read(5) == want[:5]
        boss.signal(signal.SIGKILL)
        boss.wait_exit()
        fleet(workers=0, flags=("--port", str(boss.port)), root_of=boss)
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        assert want[:5] + out == want + "\n"
    finally:
        child.kill()
        child.communicate(timeout=10)


# clause: C-25, C-26
def test_a_cancelled_job_says_so_to_who_cancels_and_who_reads(fleet, ask):
    boss = fleet(step_us=20_000)
    job = boss.submit(model="fake", prompt="x", max_tokens=4000)
    done = ask(boss, "jobs", "cancel", job)
    assert done.returncode == 0 and done.stdout == f"Cancelled {job}\n"
    assert ask(boss, "jobs", "cancel", job).returncode == 0
    read = ask(boss, "jobs", "events", job)
    assert read.returncode != 0 and "cancelled" in read.stderr
    ended = boss.submit(model="fake", prompt="x", max_tokens=1)
    boss.answer(ended)
    assert "completed" in ask(boss, "jobs", "cancel", ended).stdout
    assert ask(boss, "jobs", "cancel", "nobody").returncode == 3


# clause: C-27
def test_workers_are_listed_and_drained(fleet, ask):
    boss = fleet(workers=2)
    rows = json.loads(ask(boss, "workers", "list", "--json").stdout)["workers"]
    assert len(rows) == 2
    listed = ask(boss, "workers", "list").stdout
    assert all(row["worker_id"] in listed for row in rows) and "0/4" in listed
    done = ask(boss, "workers", "drain", rows[0]["worker_id"])
    assert done.returncode == 0 and "Draining" in done.stdout
    assert "draining" in ask(boss, "workers", "list").stdout
    assert ask(boss, "workers", "drain", "nobody").returncode == 3
    for _ in range(4):  # the other one takes them all
        job = boss.submit(model="fake", prompt="x", max_tokens=1)
        boss.answer(job)
        assert boss.api.get(f"/v2/tasks/{job}").json()["worker_id"] == rows[1]["worker_id"]


# clause: C-28
def test_explain_shows_every_candidate_and_marks_the_chosen(fleet, ask):
    boss = fleet(workers=2)
    job = boss.submit(model="fake", prompt="why", max_tokens=3)
    boss.answer(job)
    told = ask(boss, "explain", job)
    (decision,) = json.loads(ask(boss, "explain", job, "--json").stdout)["decisions"]
    marked = [line for line in told.stdout.splitlines() if line.startswith("*")]
    assert len(marked) == 1 and decision["worker_id"] in marked[0]
    assert all(row["worker_id"] in told.stdout for row in decision["candidates"])
    assert decision["decided_by"] in told.stdout and "Time in ms" in told.stdout
    assert ask(boss, "explain", "nobody").returncode == 3


# clause: C-29
def test_a_policy_is_validated_deployed_shown_and_rolled_back(fleet, ask, tmp_path):
    boss = fleet()
    good, broken = tmp_path / "good.rhai", tmp_path / "broken.rhai"
    good.write_text(GUARD)
    broken.write_text("fn should_admit(job, {")
    assert "the built-in policy decides" in ask(boss, "policy", "show").stdout
    assert ask(boss, "policy", "validate", good).stdout == f"Valid {good}: hooks should_admit\n"
    for verb in ("validate", "deploy"):
        refused = ask(boss, "policy", verb, broken)
        assert refused.returncode == 1 and ":1:22:" in refused.stderr and "next: " in refused.stderr
    assert ask(boss, "policy", "rollback").returncode == 3
    assert ask(boss, "policy", "deploy", good).returncode == 0
    assert ask(boss, "policy", "show").stdout.endswith("\n\n" + GUARD)
    guest = ask(boss, "jobs", "submit", "--model", "fake", "--prompt", "x", "--tenant", "guest")
    assert guest.returncode != 0 and "no guests" in guest.stderr and guest.stdout == ""
    good.write_text(GUARD.replace("guest", "other"))
    assert json.loads(ask(boss, "policy", "deploy", good, "--json").stdout)["loaded"] is True
    assert ask(boss, "policy", "rollback").stdout == "Rolled back: hooks should_admit\n"
    assert json.loads(ask(boss, "policy", "show", "--json").stdout)["source"] == GUARD
    assert ask(boss, "policy", "deploy", tmp_path / "none.rhai").returncode == 3


# clause: C-30
def test_the_policies_we_ship_pass_their_cases_without_an_orchestrator(run, tmp_path):
    for script in sorted((repository() / "deploy/policies").glob("*.rhai")):
        done = run("llorch", "policy", "test", script)
        assert done.returncode == 0, done.stdout
        assert done.stdout.splitlines()[-1].endswith("Failed: 0")
    script = tmp_path / "mine.rhai"
    script.write_text("fn schedule_job(job, workers) { wait() }")
    assert run("llorch", "policy", "test", script).returncode == 3
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/a.json").write_text(json.dumps(
        {"name": "takes w", "job": {}, "workers": [{"id": "w"}], "expect": {"worker": "w"}}))
    failed = run("llorch", "policy", "test", script)
    assert failed.returncode == 1 and "FAILED takes w: expected worker w, got wait" in failed.stdout
    assert json.loads(run("llorch", "policy", "test", script, "--json").stdout)["failed"] == 1


# clause: C-2, C-3, C-23
@pytest.mark.parametrize("command", READS, ids=" ".join)
def test_read_commands_are_plain_narrow_and_speak_json(fleet, ask, command):
    boss = fleet(slots=1, step_us=20_000)
    running = [boss.submit(model="fake", prompt="x", max_tokens=200) for _ in range(3)]
    done = ask(boss, *command)
    assert done.returncode == 0, done.stderr
    assert is_plain(done.stdout)
    assert [line for line in done.stdout.splitlines() if len(line) > 80 and str(boss.root) not in line] == []
    assert json.loads(ask(boss, *command, "--json").stdout)["version"] == "1.0"
    for job in running:
        boss.api.post("/cancel", {"job_id": job})


# clause: C-23
def test_what_goes_wrong_has_its_exit_code_and_the_next_step(fleet, ask, run):
    secret = "a-token-of-16-characters"
    boss = fleet(workers=0, environment={"LLORCH_API_TOKEN": secret})
    commands = [("jobs", "list"), ("jobs", "show", "x"), ("jobs", "events", "x"), ("jobs", "cancel", "x"),
                ("workers", "list"), ("workers", "drain", "x"), ("explain", "x"), ("policy", "show"),
                ("policy", "rollback"), ("top",), ("jobs", "submit", "--model", "m", "--prompt", "x")]
    for command in commands:
        denied = ask(boss, *command)
        assert denied.returncode == 4 and "LLORCH_API_TOKEN" in denied.stderr, command
        away = run("llorch", *command, "--orchestrator-url", f"http://127.0.0.1:{free_port()}")
        assert away.returncode == 6 and "next: start it: orchestratord" in away.stderr, command
        assert away.stdout == denied.stdout == ""
    for command in (("jobs", "show", "x"), ("jobs", "events", "x"), ("jobs", "cancel", "x"), ("explain", "x")):
        missing = ask(boss, *command, LLORCH_API_TOKEN=secret)
        assert missing.returncode == 3 and "next: llorch jobs list" in missing.stderr, command
    assert ask(boss, "jobs", "list", LLORCH_API_TOKEN=secret).stdout == "No jobs\n"


# clause: C-1, C-10
def test_help_has_examples_and_completions_know_the_commands(run):
    for words in (["jobs"], ["jobs", "submit"], ["jobs", "events"], ["workers"], ["explain"], ["policy"],
                  ["policy", "test"], ["top"]):
        shown = run("llorch", *words, "--help")
        assert shown.returncode == 0 and "Examples:" in shown.stdout, words
    for shell in ("bash", "zsh", "fish"):
        script = run("llorch", "completion", shell).stdout
        for word in ("jobs", "submit", "workers", "drain", "explain", "policy", "rollback", "top"):
            assert word in script, (shell, word)


# clause: C-31
def test_top_redraws_on_a_terminal_and_ends_by_a_signal(fleet, bin_dir):
    boss = fleet()
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [bin_dir / "llorch", "top"], stdin=follower, stdout=follower, stderr=follower,
        env=clean_environment(LLORCH_ROOT=boss.root, LLORCH_ORCHESTRATOR_URL=boss.url, TERM="xterm"))
    os.close(follower)
    try:
        shown = b""
        deadline = time.monotonic() + 20
        while shown.count(b"\x1b[H") < 2 and time.monotonic() < deadline:
            if select.select([leader], [], [], 0.5)[0]:
                shown += os.read(leader, 65536)
        assert shown.count(b"\x1b[H") >= 2 and b"Workers: 1, 1 healthy" in shown
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 130
    finally:
        child.kill()
        child.wait(10)
        os.close(leader)
