"""A worker and its orchestrator: registration, heartbeats, restarts, farewell."""

import signal
import threading

import pytest

from support import free_port, wait_until

FIELDS = {"worker_id", "host", "port", "pool_host", "model", "backend", "gpu_id", "slots_total",
          "context_tokens", "tokenizer_hash", "memory_bytes", "capabilities", "version", "instance_id"}
BEAT_FIELDS = {"slots_busy", "queue_depth", "jobs", "prefill_tokens_per_second",
               "decode_tokens_per_second", "memory_free_bytes", "cache"}


@pytest.fixture
def registered(fake_orchestrator, fresh_worker):
    """registered(…flags) → (worker, its orchestrator), registered."""
    def start(*arguments, environment=None):
        orchestrator = fake_orchestrator()
        worker = fresh_worker("--slots", 2, "--ctx-tokens", 512, "--orchestrator-url", orchestrator.url,
                              *arguments, environment=environment)
        orchestrator.wait_for("register")
        return worker, orchestrator
    return start


# clause: W-43
def test_registration_says_who_where_and_what(registered):
    worker, orchestrator = registered("--worker-id", "w-7", "--pool-host", "attic")
    (call,) = orchestrator.of("register")
    assert call.path == "/workers/register" and set(call.body) == FIELDS
    body = call.body
    assert (body["worker_id"], body["pool_host"], body["host"]) == ("w-7", "attic", "127.0.0.1")
    assert body["port"] == worker.port
    assert (body["model"], body["backend"], body["gpu_id"]) == ("smollm2", "cpu", None)
    assert (body["slots_total"], body["context_tokens"]) == (2, 512)
    assert len(body["tokenizer_hash"]) >= 8 and body["memory_bytes"] > 50_000_000
    assert isinstance(body["capabilities"], list) and body["version"] and body["instance_id"]


# clause: W-44
def test_heartbeats_come_each_second_and_name_the_running_jobs(registered):
    worker, orchestrator = registered("--worker-id", "w-8")
    with worker.api.open(job_id="beating", prompt="Go on", max_tokens=480, ignore_eos=True) as job:
        job.until("token")
        seen = len(orchestrator.of("heartbeat"))
        beats = orchestrator.wait_for("heartbeat", seen + 2)
    beats = orchestrator.wait_for("heartbeat", len(beats) + 3)
    assert all(call.path == "/workers/w-8/heartbeat" for call in beats)
    assert all(set(call.body) == BEAT_FIELDS for call in beats)
    busy = [call.body for call in beats if call.body["slots_busy"] == 1]
    assert busy and busy[0]["jobs"][0]["job_id"] == "beating"
    assert set(busy[0]["jobs"][0]) == {"job_id", "prompt_done", "tokens_out"}
    assert beats[-1].body["slots_busy"] == 0 and beats[-1].body["jobs"] == []
    assert beats[-1].body["decode_tokens_per_second"] > 0
    gaps = [after.at - before.at for before, after in zip(beats, beats[1:])]
    assert 0.5 < sum(gaps) / len(gaps) < 2, gaps


# clause: W-44
def test_a_finished_prompt_is_reported_once_and_again_after_a_resync(registered):
    worker, orchestrator = registered()
    worker.api.execute(messages=[{"role": "user", "content": "word " * 200}], max_tokens=1)

    def added():
        return [entry for call in orchestrator.of("heartbeat") for entry in call.body["cache"]["added"]]
    first = wait_until(added, "the prompt's hash chain", 5)
    version = orchestrator.of("heartbeat")[-1].body["cache"]["version"]
    seen = len(orchestrator.of("heartbeat"))
    later = orchestrator.wait_for("heartbeat", seen + 2)[seen + 1:]
    assert all(call.body["cache"]["added"] == [] for call in later), "nothing twice"
    orchestrator.answer_next("heartbeat", 200, {"resync": True})
    seen = len(orchestrator.of("heartbeat"))
    again = wait_until(lambda: [entry for call in orchestrator.of("heartbeat")[seen:]
                                for entry in call.body["cache"]["added"]], "all entries again", 6)
    assert set(again) == set(first)
    assert orchestrator.of("heartbeat")[-1].body["cache"]["version"] >= version


# clause: W-44
def test_a_404_makes_it_register_again(registered):
    worker, orchestrator = registered()
    orchestrator.wait_for("heartbeat")
    orchestrator.answer_next("heartbeat", 404, {"error": {"code": "NOT_FOUND", "message": "who?"}})
    first, second = orchestrator.wait_for("register", 2)[:2]
    assert first.body["instance_id"] == second.body["instance_id"], "the same process"
    orchestrator.wait_for("heartbeat", 3)


# clause: W-45
def test_it_outlives_a_restart_of_the_orchestrator_and_serves_meanwhile(registered, fake_orchestrator):
    worker, orchestrator = registered()
    port = orchestrator.port
    orchestrator.stop()
    assert worker.api.execute(prompt="Hi", max_tokens=2, ignore_eos=True).end["tokens_out"] == 2
    successor = fake_orchestrator(port)
    successor.answer_next("heartbeat", 404)
    successor.wait_for("register", seconds=30)
    successor.wait_for("heartbeat", 2, seconds=30)


# clause: W-45
def test_it_waits_for_an_orchestrator_that_is_not_there_yet(fresh_worker, fake_orchestrator):
    port = free_port()
    worker = fresh_worker("--slots", 1, "--ctx-tokens", 256, "--orchestrator-url",
                          f"http://127.0.0.1:{port}")
    assert worker.api.execute(prompt="Hi", max_tokens=1).end["tokens_out"] == 1
    fake_orchestrator(port).wait_for("register", seconds=30)


# clause: W-45
def test_a_refused_registration_is_tried_again(fresh_worker, fake_orchestrator):
    orchestrator = fake_orchestrator()
    for status in (503, 500, 401):
        orchestrator.answer_next("register", status, {"error": {"code": "INTERNAL", "message": "no"}})
    fresh_worker("--slots", 1, "--ctx-tokens", 256, "--orchestrator-url", orchestrator.url)
    orchestrator.wait_for("register", 4, seconds=30)
    orchestrator.wait_for("heartbeat")


# clause: W-45, W-42
def test_it_deregisters_when_it_stops(registered):
    worker, orchestrator = registered("--worker-id", "w-9")
    worker.signal(signal.SIGTERM)
    assert worker.wait_exit() == 0
    (call,) = orchestrator.of("w-9", method="DELETE")
    assert call.path == "/v2/workers/w-9"
    assert orchestrator.calls[-1].method == "DELETE", "no beat after the farewell"


# clause: W-45
def test_a_dead_orchestrator_does_not_keep_it_from_stopping(registered):
    worker, orchestrator = registered()
    orchestrator.stop()
    worker.signal(signal.SIGTERM)
    assert worker.wait_exit(15) == 0


# clause: W-43
def test_its_key_goes_to_the_orchestrator(registered):
    key = "a-worker-key-of-some-length"
    _, orchestrator = registered(environment={"LLORCH_API_TOKEN": key})
    assert orchestrator.of("register")[0].headers["authorization"] == f"Bearer {key}"


# clause: W-7
def test_a_wildcard_address_wants_a_host_to_register(start_worker, model_path, fake_orchestrator):
    orchestrator = fake_orchestrator()
    token = {"LLORCH_WORKER_TOKEN": "a-token-of-more-than-sixteen"}
    refused = start_worker("--model", model_path, "--host", "0.0.0.0", "--orchestrator-url",
                           orchestrator.url, environment=token)
    assert refused.wait_exit() == 2
    assert "--advertise" in refused.output[1]
    named = start_worker("--model", model_path, "--host", "0.0.0.0", "--advertise", "127.0.0.1",
                         "--ctx-tokens", 256, "--orchestrator-url", orchestrator.url, environment=token)
    named.wait_ready()
    assert orchestrator.wait_for("register")[0].body["host"] == "127.0.0.1"


# clause: W-45
def test_a_slow_orchestrator_does_not_slow_the_worker(fresh_worker, fake_orchestrator):
    """An orchestrator that accepts and never answers costs the jobs nothing."""
    released = threading.Event()
    orchestrator = fake_orchestrator()
    orchestrator._take = lambda call: (released.wait(10), (200, {}))[1]
    worker = fresh_worker("--slots", 1, "--ctx-tokens", 256, "--orchestrator-url", orchestrator.url)
    assert worker.api.execute(prompt="Hi", max_tokens=20, ignore_eos=True).end["tokens_out"] == 20
    released.set()
