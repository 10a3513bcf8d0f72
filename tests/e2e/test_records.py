"""What orchestratord remembers and tells: replay, rows, lists, explain after a restart, cleanup, metrics."""

import contextlib
import json
import signal
import sqlite3
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ssh_server import SSHD, SshServer, account
from support import all_at_once, free_port, wait_until

DAY_MS = 86_400_000


@contextlib.contextmanager
def database(boss):
    """The database as another program sees it, also while it is in use."""
    path = boss.root / ".runtime/orchestrator.db"
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()


def rows(boss, sql, *values):
    with database(boss) as connection:
        return connection.execute(sql, values).fetchall()


def chat(boss, text="Hi", tokens=3, **fields):
    """A chat's id, once it has ended."""
    reply = boss.api.post("/v1/chat/completions", {
        "model": "fake", "messages": [{"role": "user", "content": text}], "max_tokens": tokens} | fields)
    assert reply.status_code == 200, reply.text
    return reply.headers["x-request-id"]


def restarted(fleet, boss, number=signal.SIGTERM, flags=()):
    boss.signal(number)
    boss.wait_exit()
    return fleet(workers=0, root_of=boss, flags=flags)


def replay(boss, script, query="since=1h"):
    return boss.api.http.post(f"/v2/policy/replay?{query}", content=script)


# clause: O-40
def test_a_candidate_script_is_asked_what_was_decided(fleet, run, tmp_path):
    boss = fleet(workers=2)
    jobs = [boss.submit(model="fake", prompt=f"job {n}", max_tokens=2) for n in range(8)]
    for job in jobs:
        boss.answer(job)
    jobs.append(chat(boss))
    went = {job: boss.api.get(f"/v2/tasks/{job}").json()["worker_id"] for job in jobs}
    chosen, other = [row["worker_id"] for row in boss.api.get("/v2/workers").json()["workers"]]
    script = f'fn schedule_job(job, workers) {{ workers.filter(|w| w.id == "{chosen}").first() }}'
    wait_until(lambda: rows(boss, "SELECT count(*) FROM decisions") == [(9,)], "decisions are written")
    told = replay(boss, script).json()
    moved = [job for job in jobs if went[job] == other]
    assert told["recorded"] == told["decisions"] == 9 and told["complete"] is True
    assert (told["same"], told["differ"], told["other_worker"]) == (9 - len(moved), len(moved), len(moved))
    shifts = {row["worker_id"]: (row["before"], row["after"]) for row in told["workers"]}
    assert shifts.pop(chosen) == (9 - len(moved), 9)
    assert shifts == ({other: (len(moved), 0)} if moved else {})
    assert [row["job_id"] for row in told["examples"]] == moved
    assert all(row["after"] == f"worker {chosen}" and row["decided_by"] == "candidate:1"
               for row in told["examples"])
    refusing = replay(boss, 'fn schedule_job(job, workers) { if job.prompt_tokens_estimate < 0 '
                            '|| workers.len() < 2 { wait() } else { reject("no") } }').json()
    assert refusing["other_kind"] == 9
    failing = replay(boss, "fn schedule_job(job, workers) { throw 1 }").json()
    assert failing["script_errors"] == 9 and failing["decisions"] == 9
    assert replay(boss, script, "limit=4").json()["decisions"] == 4
    assert replay(boss, script, "since=0s").json()["recorded"] == 0
    broken = replay(boss, "fn schedule_job(job, {")
    assert broken.status_code == 400 and "candidate:1:" in broken.json()["error"]["message"]
    wrong = replay(boss, script, "since=soon&limit=0&colour=red")
    assert [row["field"] for row in wrong.json()["errors"]] == ["since", "limit", "colour"]
    assert boss.api.get("/v2/policy").json()["loaded"] is False  # nothing has changed

    file = tmp_path / "mine.rhai"
    file.write_text(script)
    url = ("--orchestrator-url", boss.url)
    shown = run("llorch", "policy", "replay", "--script", file, "--since", "1h", *url)
    assert shown.returncode == 0, shown.stderr
    assert "9 decisions" in shown.stdout and chosen in shown.stdout
    told_json = json.loads(run("llorch", "policy", "replay", "--script", file, "--json", *url).stdout)
    assert told_json["decisions"] == 9
    file.write_text("fn schedule_job(")
    refused = run("llorch", "policy", "replay", "--script", file, *url)
    assert refused.returncode == 1 and str(file) in refused.stderr
    assert run("llorch", "policy", "replay", "--script", file, "--since", "soon", *url).returncode == 2


# clause: O-40
def test_admission_and_retries_are_asked_again_too(fleet, run, tmp_path):
    boss = fleet(workers=2, step_us=20_000)
    guard = 'fn should_admit(job, queue_depth) { if job.tenant == "guest" { reject("no guests") } else { true } }'
    assert boss.api.http.post("/v2/policy/deploy", content=guard).status_code == 200
    refused = [boss.api.post("/v2/tasks", {"model": "fake", "prompt": "x", "tenant": "guest"}) for _ in range(30)]
    assert {reply.json()["error"]["code"] for reply in refused} == {"POLICY_REJECTED"}
    moved = boss.submit(model="fake", prompt="x", max_tokens=40)
    with boss.events(moved) as job:
        job.until("token")
        at = boss.api.get(f"/v2/tasks/{moved}").json()["worker_id"]
        next(worker for worker in boss.workers if worker.api.health()["worker_id"] == at).signal(signal.SIGKILL)
        assert job.rest().end["tokens_out"] == 40
    wait_until(lambda: rows(boss, "SELECT count(*) FROM decisions WHERE job_id=?", moved) == [(3,)], "they are written")
    told = replay(boss, guard).json()
    kept = told["decisions"] - 3  # of the refusals one a second
    assert 1 <= kept < 10 and told["same"] == told["decisions"]
    strict = ('fn should_admit(job, queue_depth) { job.tenant == "guest" }'
              'fn should_retry(job, attempt, error) { false }')
    told = replay(boss, strict).json()
    changes = [(row["job_id"] == moved, row["before"], row["after"], row["decided_by"]) for row in told["examples"]]
    assert changes == [(False, "reject: no guests", "admit", "should_admit")] * kept + [
                       (True, f"worker {at}", "reject: refused by the policy", "should_admit"),
                       (True, "retry", "give up", "should_retry")]
    assert (told["decisions"], told["other_kind"]) == (kept + 3, kept + 2)
    shown = run("llorch", "explain", moved, "--orchestrator-url", boss.url).stdout
    assert f"Try 1 failed at {at} after" in shown and "tried again" in shown


# clause: O-40
def test_decisions_outlive_a_restart_and_hold_no_prompt(fleet):
    boss = fleet()
    boss.answer(boss.submit(model="fake", prompt="secret words", tenant="acme", max_tokens=2))
    boss = restarted(fleet, boss)
    assert replay(boss, "").json()["decisions"] == 1
    ((text,),) = rows(boss, "SELECT json FROM decisions")
    assert json.loads(text)["job"]["tenant"] == "acme" and "secret" not in text


# clause: O-41
def test_an_openai_request_can_be_explained_after_kill_9(fleet):
    boss = fleet(step_us=20_000)
    done = chat(boss, "confidential", tokens=5)
    with boss.api.http.stream("POST", "/v1/completions", json={
            "model": "fake", "prompt": "x", "max_tokens": 4000, "stream": True}) as response:
        cut = response.headers["x-request-id"]
        lines = response.iter_lines()  # held: httpx closes the connection of an iterator that is dropped
        next(lines)
        wait_until(lambda: rows(boss, "SELECT status FROM jobs WHERE job_id=?", cut) == [("running",)],
                   "the row says that it runs")
        wait_until(lambda: rows(boss, "SELECT status FROM jobs WHERE job_id=?", done) == [("completed",)],
                   "the row says that it has ended")
        before = boss.api.get(f"/v2/explain/{done}").json()
        boss = restarted(fleet, boss, signal.SIGKILL)
    after = boss.api.get(f"/v2/explain/{done}").json()
    assert after["decisions"] == before["decisions"] and len(after["decisions"][0]["candidates"]) == 1
    assert after["job"] == before["job"]
    assert after["job"]["kind"] == "chat.completion" and after["job"]["tokens_out"] == 5
    assert after["job"]["worker_id"] and after["job"]["prompt_tokens"] > 0
    lost = boss.api.get(f"/v2/tasks/{cut}").json()
    assert lost["status"] == "failed" and "restarted" in lost["error"]["message"]
    assert b"confidential" not in (boss.root / ".runtime/orchestrator.db").read_bytes()


# clause: O-41
def test_a_request_that_waited_in_vain_has_a_row_too(fleet):
    boss = fleet(slots=1, step_us=20_000, flags=("--queue-capacity", "1", "--queue-timeout-ms", "300"))
    hold = [boss.submit(model="fake", prompt="x", max_tokens=4000) for _ in range(2)]
    late = boss.api.post("/v1/completions", {"model": "fake", "prompt": "x", "max_tokens": 1})
    assert late.json()["error"]["code"] == "queue_timeout"
    for job in hold:
        boss.api.post(f"/v2/tasks/{job}/cancel")
    listed = boss.api.get("/v2/tasks").json()["jobs"]
    assert {row["job_id"] for row in listed} == {*hold, late.headers["x-request-id"]}


# clause: O-42
def test_the_list_goes_on_over_pages_filters_and_a_restart(fleet):
    boss = fleet()
    jobs = []
    for n in range(7):
        jobs.append(boss.submit(model="fake", prompt=f"{n}", max_tokens=1, tenant="ab"[n % 2]))
        boss.answer(jobs[-1])
    jobs.append(chat(boss))
    for turn in range(2):
        seen, cursor = [], ""
        for _ in range(8):
            page = boss.api.get(f"/v2/tasks?limit=3&cursor={cursor}").json()
            seen += [row["job_id"] for row in page["jobs"]]
            cursor = page.get("next_cursor", "")
            if not cursor:
                break
        assert seen == jobs[::-1], f"turn {turn}"

        def ids(query):
            return [row["job_id"] for row in boss.api.get(f"/v2/tasks?{query}").json()["jobs"]]
        assert ids("tenant=a") == jobs[6::-2] and ids("tenant=b&limit=1") == [jobs[5]]
        assert ids("status=completed&model=fake&since=1h") == jobs[::-1]
        assert ids("status=failed") == ids("model=other") == ids("since=0s") == []
        assert boss.api.get(f"/v2/tasks/{jobs[0]}").json()["tokens_out"] == 1
        if turn == 0:
            boss = restarted(fleet, boss)
    wrong = boss.api.get("/v2/tasks?status=done&limit=0&cursor=x&since=y&nice=1")
    assert wrong.status_code == 400
    assert [row["field"] for row in wrong.json()["errors"]] == ["status", "limit", "cursor", "since", "nice"]


# clause: O-42
def test_the_list_shows_each_job_as_it_is_now(fleet):
    boss = fleet(slots=1, step_us=20_000)
    jobs = [boss.submit(model="fake", prompt="x", max_tokens=4000) for _ in range(4)]
    with boss.events(jobs[0]) as stream:
        stream.until("token")
        for status, want in (("running", jobs[:1]), ("queued", jobs[:1:-1]), ("completed", [])):
            listed = boss.api.get(f"/v2/tasks?status={status}").json()["jobs"]
            assert [row["job_id"] for row in listed] == want, status
        boss.api.post(f"/v2/tasks/{jobs[3]}/cancel")
        listed = boss.api.get("/v2/tasks?status=cancelled").json()["jobs"]
        assert [row["job_id"] for row in listed] == jobs[3:]
    wait_until(lambda: rows(boss, "SELECT job_id FROM jobs WHERE status='running'") == [(jobs[0],)],
               "the row of the running one says so")


# clause: O-43, O-14
def test_a_refused_task_leaves_no_row_and_its_key_is_free(fleet):
    boss = fleet(flags=("--queue-capacity", "1"), slots=1, step_us=20_000)
    hold = [boss.submit(model="fake", prompt="x", max_tokens=4000) for _ in range(3)]
    body, headers = {"model": "fake", "prompt": "wanted", "max_tokens": 2}, {"Idempotency-Key": "k"}
    for _ in range(2):
        refused = boss.api.post("/v2/tasks", body, headers=headers)
        assert refused.status_code == 429 and refused.json()["error"]["code"] == "QUEUE_FULL"
    assert rows(boss, "SELECT count(*) FROM jobs") == [(3,)] == rows(boss, "SELECT count(*) FROM bodies")
    assert {row["job_id"] for row in boss.api.get("/v2/tasks").json()["jobs"]} == set(hold)
    for job in hold:
        boss.api.post(f"/v2/tasks/{job}/cancel")
    taken = boss.api.post("/v2/tasks", body, headers=headers)
    assert taken.status_code == 202
    assert boss.answer(taken.json()["job_id"]).end["tokens_out"] == 2
    assert boss.api.post("/v2/tasks", body, headers=headers).json()["job_id"] == taken.json()["job_id"]
    guard = 'fn should_admit(job, queue_depth) { if job.tenant == "guest" { reject("no") } else { true } }'
    boss.api.http.post("/v2/policy/deploy", content=guard)
    rejected = boss.api.post("/v2/tasks", body | {"tenant": "guest"}, headers=headers)
    assert rejected.json()["error"]["code"] == "POLICY_REJECTED"
    boss = restarted(fleet, boss)
    assert rows(boss, "SELECT count(*) FROM jobs WHERE tenant='guest'") == [(0,)]


# clause: O-43
def test_one_key_sent_many_times_at_once_begins_one_task(fleet):
    boss = fleet()
    body, headers = {"model": "fake", "prompt": "once", "max_tokens": 2}, {"Idempotency-Key": "k"}
    ids = all_at_once([lambda: boss.api.post("/v2/tasks", body, headers=headers).json()["job_id"]] * 8)
    assert len(set(ids)) == 1 and rows(boss, "SELECT job_id FROM jobs") == [(ids[0],)]


# clause: O-44
def test_a_drained_worker_stays_drained_over_a_restart(fleet):
    boss = fleet(workers=2)
    drained, other = [row["worker_id"] for row in boss.api.get("/v2/workers").json()["workers"]]
    assert boss.api.post(f"/v2/workers/{drained}/drain").json()["draining"] is True
    boss = restarted(fleet, boss, signal.SIGKILL, flags=("--port", str(boss.port))).wait_workers(2)
    assert boss.api.get(f"/v2/workers/{drained}").json()["draining"] is True
    for n in range(3):
        job = boss.submit(model="fake", prompt=f"{n}", max_tokens=1)
        boss.answer(job)
        assert boss.api.get(f"/v2/tasks/{job}").json()["worker_id"] == other


def orphan(root, worker_id):
    """The file of a worker whose process is gone."""
    path = root / f".runtime/workers/{worker_id}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({
        "worker_id": worker_id, "pid": 2 ** 22 + 1, "pid_start_time": 1, "model": "m", "backend": "cpu",
        "gpu": None, "port": 1, "host": "127.0.0.1", "status": "ready", "log": "",
        "spawned_at": "2030-01-01T00:00:00.000Z"}))
    return path


# clause: O-45
@pytest.mark.skipif(not SSHD, reason="no sshd: tools/setup.sh --test")
def test_the_pool_of_a_dead_worker_is_cleaned_up(fleet, bin_dir, tmp_path):
    server = SshServer()
    try:
        there = tmp_path / "there"
        pool = {"host": "pool", "user": account(), "root": there, "command": bin_dir / "llorch-pool"}
        server.write_pools(gpu1=pool, broken={"host": "closed", "command": bin_dir / "llorch-pool"})
        environment = server.environment | {"LLORCH_ORCHESTRATOR_WORKER_DEAD_MS": "1000"}
        boss = fleet(workers=0, environment=environment)
        for name in ("gpu1", "broken", "pool"):  # the last one is a host, but no NAME
            registered = boss.api.post("/workers/register", {
                "worker_id": f"w-{name}", "host": "127.0.0.1", "port": free_port(),
                "pool_host": name, "model": "fake", "backend": "cpu", "slots_total": 1,
                "instance_id": name})
            assert registered.status_code == 200, registered.text
        left = orphan(there, "worker-cpu-0rphan")
        wait_until(lambda: not left.exists(), "the cleanup over ssh", 60)
        # The other one's stays while its host is tried again.
        wait_until(lambda: rows(boss, "SELECT worker_id FROM workers") == [("w-broken",)], "its row goes", 60)

        def logged(event):
            return [line for line in boss.output[1].splitlines() if f'"{event}"' in line]
        wait_until(lambda: logged("pool_cleanup_failed"), "the other one fails", 60)
        assert "llorch pool worker cleanup --host broken" in logged("pool_cleanup_failed")[0]
        assert "w-pool" in logged("pool_not_known")[0] and "Cleaned up 1" in logged("pool_cleaned_up")[0]
        assert server.connections() == 1
    finally:
        server.stop()


def families(boss):
    reply = boss.api.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(reply.text)}


# clause: O-46
def test_metrics_are_read_by_prometheus_and_hold_every_figure(fleet):
    boss = fleet(workers=2, slots=2)
    jobs = [boss.submit(model="fake", prompt=f"m {n}", max_tokens=6) for n in range(4)]
    for job in jobs:
        boss.answer(job)
    chatted = chat(boss, stream=True)
    cancelled = boss.submit(model="fake", prompt="c", max_tokens=4000)
    with boss.events(cancelled) as stream:
        stream.until("token")
        boss.api.post("/cancel", {"job_id": cancelled})
    boss.api.http.post("/v2/policy/deploy", content="fn schedule_job(job, workers) { throw 1 }")
    boss.answer(boss.submit(model="fake", prompt="policy", max_tokens=2))
    found = families(boss)
    text = boss.api.get("/metrics").text
    assert not [job for job in [*jobs, chatted, cancelled] if job in text]

    def value(name, family, **labels):
        (sample,) = [s for s in found[family].samples
                     if s.name == name and labels.items() <= s.labels.items()]
        return sample.value
    for name, count in (("orchd_scheduling_latency_ms", 7), ("orchd_ttft_ms", 7)):
        assert found[name].type == "histogram" and value(f"{name}_count", name) == count
        assert value(f"{name}_bucket", name, le="+Inf") == count
    assert value("orchd_itl_ms_count", "orchd_itl_ms") >= 4 * 5 + 2 + 1
    assert value("orchd_tasks_enqueued_total", "orchd_tasks_enqueued", outcome="accepted") == 7
    assert value("orchd_tasks_ended_total", "orchd_tasks_ended", outcome="completed") == 6
    assert value("orchd_tasks_ended_total", "orchd_tasks_ended", outcome="cancelled") == 1
    assert value("orchd_cancel_requests_total", "orchd_cancel_requests", reason="client") == 1
    assert value("orchd_policy_errors_total", "orchd_policy_errors", kind="thrown") == 1
    dispatched = found["orchd_tasks_dispatched"].samples
    assert sum(s.value for s in dispatched if s.labels["outcome"] == "dispatched") == 7
    assert value("orchd_queue_depth", "orchd_queue_depth", priority="batch") == 0
    ids = {row["worker_id"]: row for row in boss.api.get("/v2/workers").json()["workers"]}
    gauges = [name for name in found if name.startswith("orchd_worker_")]
    assert len(gauges) == 10
    for name in gauges:
        labels = [sample.labels for sample in found[name].samples]
        assert {each["worker_id"] for each in labels} == set(ids)
        for each in labels:
            row = ids[each["worker_id"]]
            assert (each["pool"], each["model"], each["backend"]) == \
                (row["pool_host"], row["model"], row["backend"])
    assert {s.value for s in found["orchd_worker_slots_total"].samples} == {2}
    assert {s.value for s in found["orchd_worker_healthy"].samples} == {1}


# clause: O-47
def test_what_is_a_week_old_is_deleted(fleet):
    boss = fleet()
    old, young = (boss.submit(model="fake", prompt="x", max_tokens=1) for _ in range(2))
    for job in (old, young):
        boss.answer(job)
    boss.signal(signal.SIGTERM)
    boss.wait_exit()
    week_ago = int(time.time() * 1000) - 7 * DAY_MS - 1000
    connection = sqlite3.connect(boss.root / ".runtime/orchestrator.db")
    with connection:
        connection.execute("UPDATE jobs SET ended_at_ms=? WHERE job_id=?", (week_ago, old))
        connection.execute("UPDATE decisions SET at_ms=? WHERE job_id=?", (week_ago, old))
    connection.close()
    boss = fleet(workers=0, root_of=boss)
    wait_until(lambda: boss.api.get(f"/v2/tasks/{old}").status_code == 404, "the old one goes")
    assert rows(boss, "SELECT job_id FROM decisions") == [(young,)]
    assert rows(boss, "SELECT count(*) FROM frames") == [(1,)]
    assert [row["job_id"] for row in boss.api.get("/v2/tasks").json()["jobs"]] == [young]
