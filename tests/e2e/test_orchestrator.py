"""orchestratord in front of workers: tasks, streams, OpenAI routes, failover, cancel.

The fake workers' tokens are a pure function of the prompt and the index, so an answer that lost or
repeated a token reads differently.
"""

import concurrent.futures
import random
import signal
import time

import httpx
import openai
import pytest

from support import REPLY_S, run_program, wait_until


def client_of(boss):
    return openai.OpenAI(base_url=boss.url + "/v1", api_key="none", timeout=REPLY_S, max_retries=0)


def undisturbed(boss, prompt, tokens):
    return boss.answer(boss.submit(model="fake", prompt=prompt, max_tokens=tokens)).text


# clause: O-4, O-5, O-6
def test_a_task_is_accepted_streamed_and_kept(fleet):
    boss = fleet()
    reply = boss.api.post("/v2/tasks", {"model": "fake", "prompt": "Hello", "max_tokens": 20})
    assert reply.status_code == 202
    body = reply.json()
    assert body["status"] == "queued" and body["events_url"] == f"/v2/tasks/{body['job_id']}/events"
    answer = boss.answer(body["job_id"])
    assert [event.type for event in answer.events if event.type != "metrics"] == \
        ["queued", "started"] + ["token"] * 20 + ["end"]
    assert [event.seq for event in answer.events if event.type != "metrics"] == list(range(23))
    assert answer.end["stop_reason"] == "MAX_TOKENS" and answer.end["tokens_out"] == 20
    shown = boss.api.get(f"/v2/tasks/{body['job_id']}").json()
    assert shown["status"] == "completed" and shown["tokens_out"] == 20
    assert shown["worker_id"] == boss.api.get("/v2/workers").json()["workers"][0]["worker_id"]


# clause: O-5
def test_a_stream_resumes_after_any_event_live_or_finished(fleet):
    boss = fleet(step_us=10_000)
    job = boss.submit(model="fake", prompt="resume me", max_tokens=30)
    with boss.events(job) as live:  # leaves in the middle
        for _ in range(10):
            live.next()
    whole = boss.answer(job)
    kept = [event for event in whole.events if event.type != "metrics"]
    for after in range(-1, len(kept)):
        rest = boss.answer(job, after if after >= 0 else None)
        assert [event for event in rest.events if event.type != "metrics"] == kept[after + 1:]
    assert boss.api.get(f"/v2/tasks/{job}/events?after=30").text.count("event: token") == 1
    assert boss.api.get(f"/v2/tasks/{job}/events", headers={"Last-Event-ID": "x"}).status_code == 400


# clause: O-9
@pytest.mark.parametrize("stream", [False, True])
def test_the_openai_client_gets_its_answer(fleet, stream):
    boss = fleet()
    with client_of(boss) as client:
        reply = client.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": "Hi"}], max_tokens=12, stream=stream)
        if stream:
            chunks = list(reply)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert chunks[-1].choices[0].finish_reason == "length"
        else:
            text = reply.choices[0].message.content
            assert reply.usage.completion_tokens == 12
        assert len(text) == 12
        assert [model.id for model in client.models.list()] == ["fake"]
        with pytest.raises(openai.NotFoundError, match="meant fake"):
            client.chat.completions.create(model="fakee", messages=[{"role": "user", "content": "x"}])


# clause: O-9
def test_embeddings_go_through(fleet):
    boss = fleet(LLORCH_FAKE_EMBEDDINGS="1")
    with client_of(boss) as client:
        reply = client.embeddings.create(model="fake", input=["one", "two"])
        assert len(reply.data) == 2 and len(reply.data[0].embedding) == 8


# clause: O-4
def test_without_a_worker_the_reply_says_so(fleet):
    boss = fleet(workers=0)
    reply = boss.api.post("/v2/tasks", {"model": "m", "prompt": "x"})
    assert reply.status_code == 503 and reply.json()["error"]["code"] == "NO_WORKER"
    assert boss.api.get("/ready").status_code == 503 and boss.api.get("/health").status_code == 200


# clause: O-4
def test_bad_tasks_are_refused_with_every_violation(fleet):
    boss = fleet()
    reply = boss.api.post("/v2/tasks", {"prompt": "x", "temperature": 9, "job_id": "mine"})
    assert reply.status_code == 400
    assert {row["field"] for row in reply.json()["errors"]} == {"model", "temperature", "job_id"}


# clause: O-7
def test_a_cancel_ends_the_stream_with_one_event(fleet):
    boss = fleet(slots=1, step_us=20_000)
    running = boss.submit(model="fake", prompt="a", max_tokens=4000)
    waiting = [boss.submit(model="fake", prompt="b", max_tokens=50) for _ in range(2)]
    with boss.events(running) as stream:
        stream.until("token")
        assert boss.api.post("/cancel", {"job_id": running}).json()["status"] == "cancelled"
        answer = stream.rest()
    assert answer.end["stop_reason"] == "CANCELLED"
    assert boss.api.post(f"/v2/tasks/{waiting[1]}/cancel").json() == \
        {"status": "cancelled", "job_id": waiting[1]}
    assert boss.answer(waiting[1]).end["stop_reason"] == "CANCELLED"
    assert boss.answer(waiting[0]).end["tokens_out"] == 50  # the slot came free
    assert boss.api.post("/cancel", {"job_id": waiting[0]}).json()["status"] == "completed"
    assert boss.api.post("/cancel", {"job_id": "nobody"}).status_code == 404
    boss.workers[0].api.wait_idle()


# clause: O-9
def test_a_client_that_leaves_frees_its_slot(fleet):
    boss = fleet(slots=1, step_us=20_000)
    with boss.api.http.stream("POST", "/v1/completions", json={
            "model": "fake", "prompt": "x", "max_tokens": 4000, "stream": True}) as response:
        next(response.iter_lines())  # dropped here, and with it the connection
    boss.workers[0].api.wait_idle()


# clause: O-4
def test_a_full_queue_answers_429_with_an_estimate(fleet):
    boss = fleet(flags=("--queue-capacity", "2"), slots=1, step_us=20_000)
    codes = [boss.api.post("/v2/tasks", {"model": "fake", "prompt": "x", "max_tokens": 4000})
             for _ in range(6)]
    assert [reply.status_code for reply in codes] == [202] * 4 + [429] * 2
    assert "retry-after" in codes[-1].headers and codes[-1].json()["error"]["code"] == "QUEUE_FULL"


# clause: O-11
def test_kill_9_of_a_worker_is_invisible(fleet):
    """R3: whatever the moment, every stream is whole, no token missing or twice."""
    boss = fleet(workers=2, slots=8, step_us=3_000)
    want = {n: undisturbed(boss, f"prompt {n}", 60) for n in range(6)}
    chooser = random.Random(7)
    for turn in range(4):
        jobs = {n: boss.submit(model="fake", prompt=f"prompt {n}", max_tokens=60) for n in want}
        with concurrent.futures.ThreadPoolExecutor(len(jobs) + 2) as pool:
            tasks = {n: pool.submit(boss.answer, job) for n, job in jobs.items()}
            chat = pool.submit(boss.api.post, "/v1/completions",
                               {"model": "fake", "prompt": "prompt 0", "max_tokens": 60})
            time.sleep(chooser.uniform(0, 0.15))  # the random moment itself, not a wait for anything
            victim = boss.workers.pop(0)
            victim.signal(signal.SIGKILL)
            victim.wait_exit()
            fleet.add(boss, slots=8, step_us=3_000)
            for n, task in tasks.items():
                answer = task.result(REPLY_S)
                assert answer.text == want[n] and len(answer.ids) == 60, f"turn {turn}, prompt {n}"
                assert [event.seq for event in answer.events if event.type != "metrics"] == list(range(63))
            assert chat.result(REPLY_S).json()["choices"][0]["text"] == want[0]
        boss.wait_workers(2)


# clause: O-11
def test_a_draining_worker_hands_its_jobs_over(fleet):
    boss = fleet(workers=2, slots=2, step_us=5_000)
    want = undisturbed(boss, "handover", 100)
    jobs = [boss.submit(model="fake", prompt="handover", max_tokens=100) for _ in range(4)]
    boss.workers[0].signal(signal.SIGTERM)
    assert [boss.answer(job).text for job in jobs] == [want] * 4
    assert boss.workers[0].wait_exit() == 0
    wait_until(lambda: len(boss.api.get("/v2/workers").json()["workers"]) == 1, "the worker leaves")


# clause: O-8
def test_explain_names_candidates_and_costs(fleet):
    boss = fleet(workers=2)
    job = boss.submit(model="fake", prompt="why", max_tokens=3)
    boss.answer(job)
    told = boss.api.get(f"/v2/explain/{job}").json()
    (decision,) = told["decisions"]
    assert len(decision["candidates"]) == 2 and decision["decided_by"]
    assert {"wait_ms", "prefill_ms", "decode_ms", "cost_ms"} <= set(decision["candidates"][0])
    assert decision["worker_id"] == told["job"]["worker_id"]


# clause: O-3, O-10
def test_an_orchestrator_that_restarts_is_found_again(fleet, bin_dir, tmp_path):
    boss = fleet()
    boss.signal(signal.SIGTERM)
    assert boss.wait_exit() == 0
    again = fleet(workers=0, flags=("--port", str(boss.port)))
    again.wait_workers(1)
    assert len(undisturbed(again, "back", 5)) == 5


# clause: O-1, O-2
def test_the_bind_rule_and_the_token(fleet, run):
    refused = run("orchestratord", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 2 and "LLORCH_API_TOKEN" in refused.stderr
    assert run("orchestratord", "--queue-capacity", "0").returncode == 2
    secret = "a-token-of-16-characters"
    boss = fleet(workers=0, environment={"LLORCH_API_TOKEN": secret})
    with httpx.Client(base_url=boss.url, trust_env=False) as plain:
        assert plain.get("/health").status_code == 200
        for method, path in (("GET", "/v2/workers"), ("POST", "/v2/tasks"), ("GET", "/v1/models"),
                             ("POST", "/workers/register")):
            assert plain.request(method, path).status_code == 401, path
            headers = {"Authorization": f"Bearer {secret}"}
            assert plain.request(method, path, headers=headers).status_code != 401, path


# clause: O-13
def test_kill_9_of_the_orchestrator_loses_no_task(fleet):
    """R1, R2: every accepted task ends exactly once, its stream goes on where its reader stood."""
    boss = fleet(workers=2, slots=2, step_us=4_000)
    want = undisturbed(boss, "survive", 80)
    port = boss.port
    chooser = random.Random(11)
    for turn in range(4):
        jobs = [boss.submit(model="fake", prompt="survive", max_tokens=80) for _ in range(6)]
        with boss.events(jobs[0]) as stream:
            seen = [stream.next() for _ in range(chooser.randrange(1, 30))]
        time.sleep(chooser.uniform(0, 0.2))  # the random moment itself
        boss.signal(signal.SIGKILL)
        boss.wait_exit()
        boss = fleet(workers=0, flags=("--port", str(port)), root_of=boss)
        boss.wait_workers(2)
        kept = [event for event in seen if event.type != "metrics"]
        rest = boss.answer(jobs[0], kept[-1].seq)
        whole = kept + [event for event in rest.events if event.type != "metrics"]
        assert [event.seq for event in whole] == list(range(83)), f"turn {turn}"
        assert "".join(event.data["t"] for event in whole if event.type == "token") == want
        for job in jobs:
            answer = boss.answer(job)
            assert answer.text == want and answer.end["tokens_out"] == 80
            assert boss.api.get(f"/v2/tasks/{job}").json()["status"] == "completed"


# clause: O-13
def test_ended_tasks_are_there_after_a_restart(fleet):
    boss = fleet()
    job = boss.submit(model="fake", prompt="remember", max_tokens=9)
    before = boss.answer(job)
    boss.signal(signal.SIGTERM)
    assert boss.wait_exit() == 0
    boss = fleet(workers=0, root_of=boss)
    after = boss.answer(job)
    assert [event for event in after.events if event.type != "queued"] == \
        [event for event in before.events if event.type not in ("queued", "metrics")]
    assert boss.api.get(f"/v2/explain/{job}").json()["decisions"][0]["worker_id"]
    raw = (boss.root / ".runtime/orchestrator.db").read_bytes()
    assert b"remember" not in raw, "the prompt outlived its job"


# clause: O-14
def test_an_idempotency_key_begins_one_task(fleet):
    boss = fleet()
    body = {"model": "fake", "prompt": "once", "max_tokens": 3}
    headers = {"Idempotency-Key": "k1"}
    first = boss.api.post("/v2/tasks", body, headers=headers)
    again = boss.api.post("/v2/tasks", body, headers=headers)
    assert first.status_code == again.status_code == 202
    assert first.json()["job_id"] == again.json()["job_id"]
    other = boss.api.post("/v2/tasks", body | {"prompt": "other"}, headers=headers)
    assert other.status_code == 409 and other.json()["error"]["code"] == "CONFLICT"


# clause: O-15
def test_a_policy_is_checked_deployed_and_rolled_back(fleet):
    boss = fleet()
    script = 'fn should_admit(job, queue_depth) { if job.tenant == "guest" { reject("no guests") } else { true } }'
    assert boss.api.get("/v2/policy").json()["loaded"] is False
    broken = boss.api.http.post("/v2/policy/deploy", content="fn should_admit(job, {")
    assert broken.status_code == 400 and ":1:22:" in broken.json()["error"]["message"]
    assert boss.api.http.post("/v2/policy/validate", content=script).json()["valid"] is True
    assert boss.api.http.post("/v2/policy/deploy", content=script).json()["hooks"]["should_admit"] is True
    refused = boss.api.post("/v2/tasks", {"model": "fake", "prompt": "x", "tenant": "guest"})
    assert refused.json()["error"]["code"] == "POLICY_REJECTED" and "no guests" in refused.text
    assert len(undisturbed(boss, "member", 3)) == 3
    endless = boss.api.http.post("/v2/policy/deploy", content="fn schedule_job(job, workers) { loop {} }")
    assert endless.status_code == 200
    assert len(undisturbed(boss, "still served", 3)) == 3  # the built-in policy decides
    assert boss.api.http.post("/v2/policy/rollback").json()["source"] == script


# clause: O-15
@pytest.mark.parametrize(("operations", "time_ms", "counted"),
                         [(None, None, False), ("1000000", "50", True), ("1000", "50", False)])
def test_the_limits_of_a_script_are_settings(fleet, operations, time_ms, counted):
    given = {"LLORCH_ORCHESTRATOR_POLICY_OPERATIONS": operations, "LLORCH_ORCHESTRATOR_POLICY_TIME_MS": time_ms}
    boss = fleet(environment={name: value for name, value in given.items() if value})
    script = 'fn should_admit(job, queue_depth) { let n = 0; while n < 20000 { n += 1 } reject("counted") }'
    assert boss.api.http.post("/v2/policy/deploy", content=script).status_code == 200
    reply = boss.api.post("/v2/tasks", {"model": "fake", "prompt": "x", "max_tokens": 1})
    assert ("counted" in reply.text) == counted, reply.text
    assert reply.status_code == (403 if counted else 202)


# clause: O-15
@pytest.mark.parametrize("limit", ["POLICY_OPERATIONS", "POLICY_TIME_MS"])
def test_a_limit_of_scripts_out_of_range_is_refused(run, limit):
    for value in ("0", "1000001"):
        refused = run("orchestratord", "--port", "0", **{f"LLORCH_ORCHESTRATOR_{limit}": value})
        assert refused.returncode == 2 and "must be 1.." in refused.stderr


# clause: O-16
def test_a_backup_can_be_restored(fleet, bin_dir, tmp_path):
    boss = fleet()
    job = boss.submit(model="fake", prompt="keep", max_tokens=3)
    text = boss.answer(job).text
    db = boss.root / ".runtime/orchestrator.db"
    copy = tmp_path / "copy.db"

    def run_it(*arguments):
        return run_program([bin_dir / "orchestratord", *arguments, "--db", db], boss.root)
    wait_until(lambda: boss.api.get(f"/v2/tasks/{job}").json()["status"] == "completed", "it ends")
    assert run_it("backup", copy).returncode == 0
    busy = run_it("restore", copy)
    assert busy.returncode == 5 and "in use" in busy.stderr
    boss.signal(signal.SIGTERM)
    boss.wait_exit()
    assert run_it("restore", copy).returncode == 0
    assert fleet(workers=0, root_of=boss).answer(job).text == text


# clause: O-4
def test_llorch_infer_goes_through_the_orchestrator(fleet, run):
    boss = fleet()
    done = run("llorch", "infer", "--orchestrator-url", boss.url, "--raw", "--prompt", "Hello",
               "--max-tokens", "12")
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip("\n") == undisturbed(boss, "Hello", 12).rstrip()


# clause: O-11
def test_a_real_answer_survives_its_worker(fleet, fresh_worker, bin_dir, tmp_path):
    """Two real workers; one dies mid-answer. Up to that moment the text is that of an undisturbed
    run; after it a re-prefilled context may round differently, but every index comes once."""
    boss = fleet(workers=0)
    flags = ("--slots", 1, "--ctx-tokens", 512, "--orchestrator-url", boss.url)
    workers = {worker.api.health()["worker_id"]: worker
               for worker in (fresh_worker(*flags), fresh_worker(*flags))}
    boss.wait_workers(2)
    fields = {"model": "smollm2", "max_tokens": 60, "temperature": 0, "deterministic": True,
              "messages": [{"role": "user", "content": "Name five rivers of Europe."}]}
    want = boss.answer(boss.submit(**fields)).ids
    job = boss.submit(**fields)
    with boss.events(job) as stream:
        while len([event for event in stream.seen if event.type == "token"]) < 10:
            stream.next()
        workers[boss.api.get(f"/v2/tasks/{job}").json()["worker_id"]].signal(signal.SIGKILL)
        answer = stream.rest()
    assert answer.ids == want  # deterministic: the ids of an undisturbed run
    assert [token["i"] for token in answer.tokens] == list(range(len(want)))
    shown = boss.api.get(f"/v2/tasks/{job}").json()
    assert shown["status"] == "completed" and shown["attempt"] == 1
