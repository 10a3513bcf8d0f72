"""What orchestratord does when it stops, and what it knows when it is back."""

import signal

from support import REPLY_S, in_background, wait_until


def completion(boss, tokens, prompt="x"):
    return in_background(boss.api.post, "/v1/completions",
                         {"model": "fake", "prompt": prompt, "max_tokens": tokens})


def count(boss, status):
    return len(boss.api.get(f"/v2/tasks?status={status}").json()["jobs"])


# clause: O-3
def test_a_stop_ends_what_runs_refuses_what_waits_and_keeps_tasks(fleet):
    boss = fleet(slots=1, step_us=10_000)
    at_worker = [completion(boss, 100, prompt) for prompt in "ab"]  # one runs, one waits there
    wait_until(lambda: count(boss, "running") + count(boss, "dispatched") == 2, "they are at the worker")
    waiting = completion(boss, 100)
    task = boss.submit(model="fake", prompt="later", max_tokens=5)
    wait_until(lambda: count(boss, "queued") == 2, "two wait here")
    with boss.api.http.stream("GET", f"/v2/tasks/{task}/events") as reader:
        lines = reader.iter_lines()
        assert next(lines) == "id: 0"
        boss.signal(signal.SIGTERM)
        refused = waiting.result(REPLY_S)
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "draining", refused.text
        assert not [line for line in lines if line in ("event: end", "event: error")]
    for running in at_worker:
        reply = running.result(REPLY_S)
        assert reply.status_code == 200 and len(reply.json()["choices"][0]["text"]) == 100
    assert boss.wait_exit() == 0
    again = fleet(workers=0, flags=("--port", str(boss.port)), root_of=boss)
    assert len(again.answer(task).text) == 5


# clause: O-3
def test_a_task_whose_reader_the_stop_cuts_off_goes_on_after_it(fleet):
    flags = ("--drain-ms", "300", "--disconnect-grace-ms", "1")
    boss = fleet(step_us=10_000, flags=flags)
    task = boss.submit(model="fake", prompt="long", max_tokens=150)
    reader = in_background(boss.api.http.get, f"/v2/tasks/{task}/events")
    wait_until(lambda: count(boss, "running") == 1, "it runs")
    boss.signal(signal.SIGTERM)
    assert reader.exception(REPLY_S) is not None, "cut, without an end"
    boss.wait_exit()
    again = fleet(workers=0, flags=("--port", str(boss.port)), root_of=boss)
    assert len(again.answer(task).text) == 150


# clause: O-14
def test_a_repeated_key_finds_its_task_when_the_model_has_left(fleet):
    boss = fleet()
    body, headers = {"model": "fake", "prompt": "once", "max_tokens": 3}, {"Idempotency-Key": "k"}
    first = boss.api.post("/v2/tasks", body, headers=headers).json()["job_id"]
    boss.answer(first)
    boss.workers[0].signal(signal.SIGTERM)
    wait_until(lambda: boss.api.get("/v2/workers").json()["workers"] == [], "the worker leaves")
    again = boss.api.post("/v2/tasks", body, headers=headers)
    assert again.status_code == 202 and again.json()["job_id"] == first, again.text


# clause: O-10
def test_a_restart_asks_each_worker_once_what_it_has_cached(fleet):
    boss = fleet(workers=0)
    told = {"worker_id": "w", "host": "127.0.0.1", "port": 1, "pool_host": "h", "model": "m", "backend": "cpu",
            "slots_total": 1, "instance_id": "i"}
    assert boss.api.post("/workers/register", told).status_code == 200

    def beat():
        return boss.api.post("/workers/w/heartbeat", {"slots_busy": 0, "queue_depth": 0, "jobs": []}).json()
    assert beat() == {}
    boss.signal(signal.SIGTERM)
    boss.wait_exit()
    boss = fleet(workers=0, root_of=boss)
    assert [beat(), beat()] == [{"resync": True}, {}]


# clause: O-5
def test_an_event_that_is_not_known_any_more_is_an_error_not_a_silence(fleet):
    boss = fleet()
    task = boss.submit(model="fake", prompt="Hello", max_tokens=3)
    boss.answer(task)
    lost = boss.api.get(f"/v2/tasks/{task}/events?after=99")
    assert lost.status_code == 409 and "is not known" in lost.text, lost.text
    assert lost.json()["error"]["retriable"] is False, "a retry would go on from other tokens"
