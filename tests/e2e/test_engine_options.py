"""What the engine can be asked to show or to choose: guesses, traces, calibration."""

import json
import pathlib
import signal

from support import wait_until

GREEDY = {"temperature": 0, "ignore_eos": True}
SIBLINGS = list(pathlib.Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list"))
CIRCLE = "January, February, March, April, " * 6


# clause: W-64
def test_an_answer_that_repeats_is_guessed_and_stays_the_same(fresh_worker):
    guessing = fresh_worker("--slots", 2)
    plain = fresh_worker("--slots", 2, "--draft-tokens", 0)
    told = guessing.api.execute(prompt=CIRCLE, max_tokens=200, **GREEDY)
    assert told.ids == plain.api.execute(prompt=CIRCLE, max_tokens=200, **GREEDY).ids
    assert len(told.ids) == 200 == told.end["tokens_out"]
    shown = guessing.api.metrics()
    assert 0 < shown["worker_draft_hit_tokens_total"] <= shown["worker_draft_tokens_total"]
    assert shown["worker_tokens_generated_total"] == 200
    assert plain.api.metrics()["worker_draft_tokens_total"] == 0


# clause: W-64
def test_a_deterministic_job_is_not_guessed_for(fresh_worker):
    worker = fresh_worker("--slots", 1)
    worker.api.execute(prompt=CIRCLE, max_tokens=60, deterministic=True, **GREEDY)
    assert worker.api.metrics()["worker_draft_tokens_total"] == 0


# clause: W-65
def test_a_trace_shows_steps_and_jobs(fresh_worker, start_worker, model_path, tmp_path):
    path = tmp_path / "steps.json"
    worker = fresh_worker("--slots", 1, "--trace", path)
    job = worker.api.execute(prompt="Once upon a time", max_tokens=5, **GREEDY)
    refused = start_worker("--model", model_path, "--trace", path)
    assert refused.wait_exit() == 5 and str(path) in refused.output[1]
    worker.signal(signal.SIGTERM)
    assert worker.wait_exit() == 0
    events = json.loads(path.read_text())
    steps = [event for event in events if event["name"] == "step"]
    assert sum(step["args"]["drawn"] for step in steps) == 5
    assert steps[0]["args"]["prefill_tokens"] == job.started["prompt_tokens"]
    answer, = [event for event in events if event["name"] == "answer"]
    assert answer["tid"] == 1 and answer["args"]["tokens_out"] == 5
    parts = sum(worker_event["dur"] for worker_event in events
                if worker_event["name"] in ("plan", "decode", "sample"))
    whole = sum(step["dur"] for step in steps)
    assert abs(parts - whole) < 0.01 * whole + 1


# clause: W-10
def test_metrics_say_where_the_time_goes(fresh_worker):
    worker = fresh_worker("--slots", 1)
    end = worker.api.execute(prompt=CIRCLE, max_tokens=20, **GREEDY).end

    def seconds():
        shown = worker.api.metrics()
        return {name: shown[f'worker_engine_seconds_total{{part="{name}"}}']
                for name in ("prefill", "decode", "sampling", "waiting")}

    part = seconds()
    assert min(part.values()) > 0
    # An idle worker waits: the time counts while it passes, not when the next job ends it.
    wait_until(lambda: seconds()["waiting"] > part["waiting"], "the wait to be counted")
    assert part["decode"] < end["decode_time_ms"] / 1000 + 0.05
    assert part["prefill"] < end["prefill_ms"] / 1000 + 0.05


# clause: W-66
def test_what_calibration_chose_is_kept_for_the_next_start(run, root, model_path):
    shown = run("llorch-candled", "--model", model_path, "--calibrate", "--json", timeout=120)
    assert shown.returncode == 0, shown.stderr
    rows = json.loads(shown.stdout)["rows"]
    assert len(rows) >= 4 and rows[0]["decode_ms"] > 0 and rows[0]["prefill_ms_per_token"] > 0
    chosen, = [row for row in rows if row["chosen"]]
    kept = json.loads(next((root / ".runtime/calibration").iterdir()).read_text())
    assert kept["chosen"] == {name: chosen[name] for name in kept["chosen"]}
    table = run("llorch-candled", "--model", model_path, "--calibrate", timeout=120)
    assert table.returncode == 0 and "chosen" in table.stdout and "flash attention" in table.stdout


# clause: W-66
def test_a_second_start_measures_nothing(start_worker, model_path, tmp_path):
    """On a machine where every core is a physical one the first start has nothing to try either."""
    shared_cores = len({path.read_text() for path in SIBLINGS}) < len(SIBLINGS)
    root = {"LLORCH_ROOT": str(tmp_path), "LLORCH_WORKER_THREADS": ""}

    def tried():
        worker = start_worker("--model", model_path, environment=root).wait_ready()
        return '"event":"calibrated"' in worker.output[1]
    assert tried() == shared_cores
    assert not shared_cores or not tried()
    for file in (tmp_path / ".runtime/calibration").glob("*"):
        file.write_text(file.read_text()[:40])  # a damaged file is as none
        assert tried()
        json.loads(file.read_text())
