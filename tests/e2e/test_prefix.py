"""Prompts that begin alike are computed once: in a slot, beside a job, out of a snapshot.

contract: §2 started.cached_tokens, cache_scope, --kv-ram-mib
"""

import pytest

from support import all_at_once, in_background, long_text, new_job_id

GREEDY = {"temperature": 0, "ignore_eos": True, "max_tokens": 16}


@pytest.fixture
def worker(start_worker, model_path, request):
    """A worker with the flags given by the test's marker."""
    return start_worker("--model", model_path, "--ctx-tokens", 2048, *request.param).wait_ready()


def slots(count, *more):
    return pytest.mark.parametrize("worker", [("--slots", count, *more)], indirect=True,
                                   ids=[f"{count} slots"])


def ask(worker, prompt, **fields):
    return worker.api.execute(prompt=prompt, **(GREEDY | fields))


# clause: W-51
@slots(1)
def test_conversations_in_turn_over_one_slot_are_computed_once(worker):
    prompts = [long_text(300, f"story {number} ") for number in range(3)]
    first = [ask(worker, prompt) for prompt in prompts]
    assert [answer.started["cached_tokens"] for answer in first] == [0, 0, 0]
    resident = ask(worker, prompts[2])       # still in the slot
    again = [ask(worker, prompt) for prompt in prompts]
    for answer in [resident, *again]:
        assert answer.started["cached_tokens"] == answer.started["prompt_tokens"] - 1
    assert again[2].ids == resident.ids, "the answer depends on where its prompt came from"
    assert worker.api.metrics()["worker_kv_snapshot_bytes"] > 0


# clause: W-51
@slots(1)
def test_no_scope_sees_what_another_computed(worker):
    prompt = long_text(300)
    assert ask(worker, prompt, cache_scope="a").started["cached_tokens"] == 0
    assert ask(worker, long_text(300, "else "), cache_scope="a").started["cached_tokens"] < 16
    assert ask(worker, prompt, cache_scope="b").started["cached_tokens"] == 0
    assert ask(worker, prompt, cache_scope="a").started["cached_tokens"] > 250


# clause: W-52
@slots(8)
def test_eight_jobs_with_one_beginning_compute_it_once(worker):
    shared = long_text(400)
    answers = all_at_once([lambda i=i: ask(worker, f"{shared} and then, number {i}:") for i in range(8)])
    computed = [answer.started["prompt_tokens"] - answer.started["cached_tokens"] for answer in answers]
    assert sorted(computed)[-1] > 350 and sum(sorted(computed)[:-1]) < 7 * 32
    assert all(len(answer.ids) == 16 for answer in answers)


# clause: W-52
@slots(3)
def test_a_waiting_job_goes_on_when_the_one_before_it_is_cancelled(worker):
    shared = long_text(1500)
    leader = new_job_id()
    with worker.api.open(job_id=leader, prompt=shared + " first", **GREEDY) as job:
        job.until("started")
        followers = [in_background(ask, worker, f"{shared} number {i}") for i in range(2)]
        job.until("metrics")  # a second of prefill
        assert worker.api.cancel(leader).status_code == 200
        assert job.rest().end["stop_reason"] == "CANCELLED"
    answers = [follower.result(60) for follower in followers]
    assert all(len(answer.ids) == 16 for answer in answers)
    computed = sorted(answer.started["prompt_tokens"] - answer.started["cached_tokens"] for answer in answers)
    assert computed[0] < 32, "the second follower computed the prompt again"
    worker.api.wait_idle()


# clause: W-53
@slots(1, "--kv-ram-mib", 0)
def test_without_memory_for_snapshots_only_the_slot_is_used(worker):
    prompts = [long_text(300, f"story {number} ") for number in range(2)]
    for prompt in prompts:
        assert ask(worker, prompt).started["cached_tokens"] < 16
    assert ask(worker, prompts[1]).started["cached_tokens"] > 250
    assert ask(worker, prompts[0]).started["cached_tokens"] < 16
    assert worker.api.metrics()["worker_kv_snapshot_bytes"] == 0


# clause: W-53
@slots(1, "--kv-ram-mib", 24)
def test_snapshots_stay_within_their_memory_and_the_used_one_stays(worker):
    kept = long_text(300, "kept ")
    ask(worker, kept)
    for number in range(6):
        ask(worker, long_text(300, f"passing {number} "))
        answer = ask(worker, kept)
        assert answer.started["cached_tokens"] > 250
        assert 0 < worker.api.metrics()["worker_kv_snapshot_bytes"] <= 24 << 20


# clause: W-53
@slots(1)
def test_a_deterministic_job_takes_nothing_and_leaves_nothing(worker):
    prompt = long_text(300)
    ask(worker, prompt)
    alone = ask(worker, prompt, deterministic=True)
    assert alone.started["cached_tokens"] == 0
    ask(worker, long_text(300, "else "))
    assert ask(worker, prompt, deterministic=True).ids == alone.ids
