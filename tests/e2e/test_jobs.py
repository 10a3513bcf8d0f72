"""Jobs that end early, wait, are replaced or refused: cancel, queue, attempt, drain, token."""

import json
import signal
import socket
import time

import pytest

from support import in_background, long_text, new_job_id, wait_until

FREE_S = 3  # one step of prefill on two busy cores, and room


@pytest.fixture
def holder(narrow):
    """The only slot is taken by a decoding job until the test ends."""
    with narrow.open(prompt="Hold the slot", max_tokens=3500, ignore_eos=True) as job:
        job.until("token")
        yield job


def queued(api):
    return wait_until(lambda: api.health()["queue_depth"] == 1, "one job waits")


# --- cancel --------------------------------------------------------------------------------------

# clause: W-25, W-12
def test_cancel_in_decode_ends_the_stream_and_frees_the_slot(narrow):
    with narrow.open(prompt="Go on", max_tokens=3000, ignore_eos=True) as job:
        job.until("token")
        reply = narrow.cancel(job.job_id)
        assert (reply.status_code, reply.json()) == (200, {"status": "cancelled", "job_id": job.job_id})
        narrow.wait_idle(FREE_S)
        end = job.rest().end
    assert end["stop_reason"] == "CANCELLED"
    assert 1 <= end["tokens_out"] < 3000


# clause: W-25
def test_cancel_in_prefill_ends_the_stream_and_frees_the_slot(narrow):
    with narrow.open(prompt=long_text(3500, "prefill "), max_tokens=5) as job:
        metrics = job.until("metrics").data
        assert metrics["phase"] == "prefill" and metrics["prompt_done"] < metrics["prompt_total"]
        assert narrow.cancel(job.job_id).status_code == 200
        narrow.wait_idle(FREE_S)
        answer = job.rest()
    assert answer.end["stop_reason"] == "CANCELLED"
    assert answer.end["tokens_out"] == 0 and answer.tokens == []


# clause: W-25
def test_cancel_in_the_queue_ends_the_stream_and_leaves_the_running_job(narrow, holder):
    job_id = new_job_id()
    waiting = in_background(narrow.execute, job_id=job_id, prompt="Wait", max_tokens=5)
    queued(narrow)
    assert narrow.cancel(job_id).status_code == 200
    answer = waiting.result(10)
    assert answer.end["stop_reason"] == "CANCELLED" and answer.end["tokens_out"] == 0
    assert narrow.health()["queue_depth"] == 0
    holder.until("token")


# clause: W-12
def test_cancel_is_idempotent_and_a_finished_or_unknown_job_is_404(narrow):
    with narrow.open(prompt="Go on", max_tokens=3000, ignore_eos=True) as job:
        job.until("token")
        replies = [narrow.cancel(job.job_id) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [200] * 3
    assert len({reply.text for reply in replies}) == 1
    narrow.wait_idle(FREE_S)
    assert narrow.cancel(job.job_id).status_code == 200, "the same again, after its end too"

    finished = new_job_id()
    narrow.execute(job_id=finished, prompt="Hi", max_tokens=1)
    for job_id in (finished, "never-heard-of"):
        reply = narrow.cancel(job_id)
        assert reply.status_code == 404
        assert reply.json()["error"]["code"] == "JOB_NOT_FOUND"
        assert reply.json()["error"]["retriable"] is False


# clause: W-12
def test_cancel_reads_json_whatever_the_content_type_says(narrow):
    with narrow.open(prompt="Go on", max_tokens=3000, ignore_eos=True) as job:
        job.until("token")
        reply = narrow.http.post("/cancel", content=json.dumps({"job_id": job.job_id}),
                                 headers={"Content-Type": "application/x-www-form-urlencoded"})
        assert reply.status_code == 200
        job.rest()
    refused = narrow.post("/cancel", {"job_id": "a", "why": "unknown field"})
    assert refused.status_code == 400


# clause: W-25
def test_a_client_that_leaves_its_stream_frees_the_slot(narrow):
    before = narrow.metrics().get('worker_requests_total{outcome="cancelled"}', 0)
    with narrow.open(prompt="Go on", max_tokens=3000, ignore_eos=True) as job:
        job.until("token")
    narrow.wait_idle(FREE_S)
    wait_until(lambda: narrow.metrics()['worker_requests_total{outcome="cancelled"}'] == before + 1,
               "the leaving client counts as a cancel")


# clause: W-25
@pytest.mark.parametrize("prompt,path", [
    ("Go on", "/v1/completions"), (long_text(3000, "leave "), "/v1/completions"),
    ("Go on", "/v1/chat/completions")], ids=["decode", "prefill", "chat"])
def test_a_client_that_leaves_before_its_whole_reply_frees_the_slot(narrow_worker, narrow, prompt, path):
    body = {"max_tokens": 900, "ignore_eos": True}
    body |= {"messages": [{"role": "user", "content": prompt}]} if "chat" in path else {"prompt": prompt}
    text = json.dumps(body).encode()
    client = socket.create_connection(("127.0.0.1", narrow_worker.port), timeout=20)
    client.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                   b"Content-Length: %d\r\n\r\n" % (path.encode(), len(text)) + text)
    wait_until(lambda: narrow.health()["slots_busy"] == 1, "the job has its slot")
    client.close()
    narrow.wait_idle(FREE_S)


# clause: W-25
def test_a_client_that_leaves_the_queue_is_forgotten(narrow_worker, narrow, holder):
    text = json.dumps({"job_id": new_job_id(), "prompt": "Wait"}).encode()
    client = socket.create_connection(("127.0.0.1", narrow_worker.port), timeout=20)
    client.sendall(b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s"
                   % (len(text), text))
    queued(narrow)
    client.close()
    wait_until(lambda: narrow.health()["queue_depth"] == 0, "nothing waits", FREE_S)
    holder.until("token")


# --- queue and attempts --------------------------------------------------------------------------

# clause: W-17, E-4
def test_a_full_queue_is_429_with_a_time_to_come_back(narrow, holder):
    waiting = in_background(narrow.execute, job_id="the-waiting-one", prompt="Wait", max_tokens=1)
    queued(narrow)
    reply = narrow.refused(429, prompt="One too many")
    error = reply.json()["error"]
    assert error["code"] == "QUEUE_FULL" and error["retriable"] is True
    assert int(reply.headers["retry-after"]) >= 1
    assert 0 < error["retry_after_ms"] <= int(reply.headers["retry-after"]) * 1000
    narrow.cancel("the-waiting-one")
    waiting.result(10)


# clause: W-17
def test_a_queued_job_runs_when_the_slot_is_free(narrow):
    with narrow.open(prompt="Hold", max_tokens=3000, ignore_eos=True) as first:
        first.until("token")
        waiting = in_background(narrow.execute, prompt="Then me", max_tokens=3, ignore_eos=True)
        queued(narrow)
    assert waiting.result(20).end["stop_reason"] == "MAX_TOKENS"


# clause: W-16
def test_an_equal_attempt_is_a_conflict_and_a_higher_one_replaces(api):
    job_id = new_job_id()
    fields = {"job_id": job_id, "prompt": "Go on", "max_tokens": 1500, "ignore_eos": True}
    with api.open(attempt=1, **fields) as first:
        first.until("token")
        for attempt in (0, 1):
            assert api.refused(409, attempt=attempt, **fields).json()["error"]["code"] == "CONFLICT"
        with api.open(attempt=2, **{**fields, "max_tokens": 4}) as second:
            assert first.rest().end["stop_reason"] == "CANCELLED"
            assert second.rest().end["stop_reason"] == "MAX_TOKENS"


# clause: W-16
def test_an_id_can_be_used_again_once_its_job_has_ended(api):
    job_id = new_job_id()
    for _ in range(2):
        assert api.execute(job_id=job_id, prompt="Hi", max_tokens=1).end["tokens_out"] == 1


# --- stop ----------------------------------------------------------------------------------------

# clause: W-42, W-17, W-11
@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "POST /shutdown"])
def test_a_drain_refuses_new_jobs_finishes_running_ones_and_exits_0(fresh_worker, how):
    worker = fresh_worker("--slots", 2, "--ctx-tokens", 512)
    api = worker.api
    with api.open(prompt="Finish me", max_tokens=250, ignore_eos=True) as job:
        job.until("token")
        if how == "POST /shutdown":
            assert api.post("/shutdown").status_code == 202
        else:
            worker.signal(getattr(signal, how))
        wait_until(lambda: api.health()["status"] == "draining", "draining", 2)
        reply = api.refused(503, prompt="Too late")
        assert reply.json()["error"]["code"] == "DRAINING"
        assert reply.json()["error"]["retriable"] is True
        assert api.get("/ready").status_code == 503
        end = job.rest().end
    assert (end["stop_reason"], end["tokens_out"]) == ("MAX_TOKENS", 250)
    api.close()
    assert worker.wait_exit() == 0


# clause: W-42
def test_the_drain_has_a_limit_after_which_jobs_end_with_a_retriable_error(fresh_worker):
    worker = fresh_worker("--slots", 1, "--drain-ms", 300)
    with worker.api.open(prompt="Never ends", max_tokens=3000, ignore_eos=True) as job:
        job.until("token")
        worker.signal(signal.SIGTERM)
        (error,) = job.rest().of("error")
        assert error["code"] == "DRAINING" and error["retriable"]
    assert worker.wait_exit() == 0


# clause: W-42
def test_a_reader_that_takes_nothing_does_not_spoil_the_exit(fresh_worker):
    """Symptom: such a reader kept its job alive past every limit, and the worker exited with 1."""
    worker = fresh_worker("--slots", 1, "--drain-ms", 300)
    body = json.dumps({"prompt": "Never ends", "max_tokens": 3000, "ignore_eos": True, "stream": True,
                       "logprobs": 5})
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.connect(("127.0.0.1", worker.port))
        stalled.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
                        f"Content-Length: {len(body)}\r\n\r\n{body}".encode())

        def parked():
            before = worker.api.metrics()["worker_tokens_generated_total"]
            time.sleep(0.5)  # the silence is what is looked for
            return 0 < before == worker.api.metrics()["worker_tokens_generated_total"]
        wait_until(parked, "the slot is parked behind its reader", 60)
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit(30) == 0, worker.output[1][-2000:]


# clause: W-42
def test_a_second_signal_exits_at_once(fresh_worker):
    worker = fresh_worker("--slots", 1)
    with worker.api.open(prompt="Never ends", max_tokens=3000, ignore_eos=True) as job:
        job.until("token")
        worker.signal(signal.SIGTERM)
        wait_until(lambda: worker.api.health()["status"] == "draining", "draining", 2)
        begin = time.monotonic()
        worker.signal(signal.SIGTERM)
        assert worker.wait_exit(5) in (143, -signal.SIGTERM)
        assert time.monotonic() - begin < 3


# --- token, health, metrics ----------------------------------------------------------------------

TOKEN = "a-token-of-more-than-sixteen-characters"


# clause: W-6
def test_with_a_token_set_every_route_but_the_probes_wants_it(fresh_worker):
    worker = fresh_worker("--slots", 1, "--ctx-tokens", 256,
                          environment={"LLORCH_WORKER_TOKEN": TOKEN})
    open_routes = ["/health", "/ready", "/metrics"]
    closed = [("POST", path) for path in ("/execute", "/cancel", "/shutdown", "/tokenize", "/detokenize",
                                          "/v1/chat/completions", "/v1/completions", "/v1/embeddings")]
    for path in open_routes:
        assert worker.api.http.get(path, headers={"Authorization": ""}).status_code == 200
    for method, path in [*closed, ("GET", "/v1/models")]:
        for wrong in ("", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}"):
            reply = worker.api.http.request(method, path, json={}, headers={"Authorization": wrong})
            assert reply.status_code == 401, (method, path, wrong)
            if not path.startswith("/v1"):
                assert reply.json()["error"]["code"] == "UNAUTHORIZED"
    assert worker.api.execute(prompt="Hi", max_tokens=1).end["tokens_out"] == 1
    assert TOKEN not in "".join(worker.output), "no token in a log"


# clause: W-8
def test_health_says_what_the_worker_is_and_does(worker, api):
    health = api.health()
    assert health["status"] == "healthy" and health["state"] == "idle"
    assert health["model"] == "smollm2" and health["backend"] == "cpu"
    assert health["worker_id"].startswith("worker-cpu-")
    assert health["slots_total"] == 8 and health["context_tokens"] == 2048
    assert health["memory_bytes"] > 50_000_000 and health["uptime_seconds"] >= 0
    with api.open(prompt="Busy", max_tokens=1500, ignore_eos=True) as job:
        job.until("token")
        busy = api.health()
        assert busy["state"] == "busy" and busy["slots_busy"] == 1


# clause: W-10
def test_metrics_count_requests_and_tokens_and_name_no_job(api):
    api.execute(job_id="not-in-a-label", prompt="Hi", max_tokens=1)
    before = api.metrics()
    answer = api.execute(prompt="One two three four", max_tokens=7, ignore_eos=True)
    after = api.metrics()

    def growth(name):
        return after[name] - before[name]
    assert growth("worker_tokens_generated_total") == 7
    assert growth("worker_tokens_in_total") == answer.started["prompt_tokens"]
    assert growth('worker_requests_total{outcome="completed"}') == 1
    assert growth("worker_inference_duration_ms_count") == 1
    for name in ("worker_memory_bytes", "worker_uptime_seconds", "worker_kv_cells_used",
                 "worker_prefix_hit_tokens_total"):
        assert name in after
    reply = api.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    assert "not-in-a-label" not in reply.text and "# TYPE worker_requests_total counter" in reply.text


# clause: W-46
def test_logs_are_json_lines_without_prompt_or_answer(fresh_worker):
    worker = fresh_worker("--slots", 1, "--ctx-tokens", 256)
    canary = "xylophone-canary-7731"
    answer = worker.api.execute(prompt=f"Repeat {canary} twice: {canary}", max_tokens=12,
                                temperature=0, ignore_eos=True, job_id="job-in-the-log")
    worker.api.post("/v1/chat/completions", {"messages": [{"role": "user", "content": canary}],
                                             "max_tokens": 2})
    worker.api.post("/execute", {"job_id": "bad", "prompt": canary, "top_p": 7})
    worker.stop()
    stderr = worker.output[1]
    lines = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    assert lines and all({"timestamp", "level", "component", "event"} <= set(line) for line in lines)
    assert any(line.get("job_id") == "job-in-the-log" for line in lines)
    assert canary not in "".join(worker.output) and "xylophone" not in "".join(worker.output)
    assert len(answer.text.strip()) < 8 or answer.text.strip() not in stderr
