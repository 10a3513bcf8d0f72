"""Where jobs go and when, with workers that keep to given speeds and have a prefix cache."""

import time

from support import wait_until

SPEEDS = {"LLORCH_FAKE_PREFILL_TPS": "6000", "LLORCH_FAKE_DECODE_TPS": "1000",
          "LLORCH_FAKE_CACHE_TOKENS": "2900", "LLORCH_FAKE_BYTES_PER_TOKEN": "4"}


def asked(boss, prompt, tokens=4):
    """The worker of a task, and what it found of the prompt."""
    job = boss.submit(model="fake", prompt=prompt, max_tokens=tokens)
    answer = boss.answer(job)
    started = next(event.data for event in answer.events if event.type == "started")
    return boss.api.get(f"/v2/tasks/{job}").json()["worker_id"], started["cached_tokens"], job


# clause: O-61
def test_a_job_goes_where_its_beginning_is_kept(fleet):
    boss = fleet(workers=3, **SPEEDS)
    beginnings = [letter * 4_000 for letter in "abc"]
    homes = {}
    for beginning in beginnings:
        homes[beginning], found, _ = asked(boss, beginning + " first")
        assert found == 0
    for turn in range(3):
        for beginning in beginnings:
            worker, found, _ = asked(boss, beginning + f" turn {turn}")
            assert worker == homes[beginning] and found == 15 * 256 // 4


# clause: O-61
def test_what_a_worker_has_lost_is_no_reason_any_more(fleet):
    boss = fleet(workers=1, **SPEEDS)
    beginnings = [letter * 4_000 for letter in "abcd"]  # of 1 000 tokens; three of them fit
    for _ in range(3):
        for beginning in beginnings:
            assert asked(boss, beginning)[1] == 0
    worker, _, job = asked(boss, "a" * 4_000)
    (candidate,) = boss.api.get(f"/v2/explain/{job}").json()["decisions"][0]["candidates"]
    assert candidate["worker_id"] == worker and candidate["cached_tokens"] == 0
    assert candidate["displaced_ms"] >= 0


# clause: O-62
def test_a_full_queue_says_when_there_is_room(fleet):
    boss = fleet(workers=1, slots=1, flags=("--queue-capacity", "1"),
                 **SPEEDS | {"LLORCH_FAKE_DECODE_TPS": "100"})
    for number in range(12):  # so that jobs are known to keep to their estimates
        asked(boss, f"learn {number}")
    wait_until(lambda: boss.api.get("/v2/workers").json()["workers"][0]["decode_tokens_per_second"],
               "a beat with the worker's speeds", 10)
    long = [boss.submit(model="fake", prompt=f"long {n}", max_tokens=100) for n in range(3)]
    with boss.events(long[0]) as first:
        first.until("token")
        refused = boss.api.post("/v2/tasks", {"model": "fake", "prompt": "x", "max_tokens": 1})
        begun = time.monotonic()
        assert refused.status_code == 429
        told_ms = int(refused.headers["retry-after-ms"])
        assert int(refused.headers["Retry-After"]) * 1000 >= told_ms
        first.rest()
    real_ms = (time.monotonic() - begun) * 1000
    assert 0.5 * real_ms < told_ms < 1.5 * real_ms


# clause: O-64
def test_without_a_worker_the_reply_says_how_long_that_usually_lasts(fleet):
    boss = fleet(workers=1)
    boss.workers[0].stop()

    def refused():
        reply = boss.api.post("/v2/tasks", {"model": "fake", "prompt": "x"})
        return reply if reply.status_code == 503 else None
    wait_until(refused, "no worker is left", 10)
    assert refused().headers["retry-after-ms"] == "1000"
