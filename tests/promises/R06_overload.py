"""R6 overload: from once to ten times what the fleet can do. What it completes does not fall, a
refusal takes no longer than 10 ms, and its Retry-After is about when a place really came."""

import asyncio
import contextlib
import json
import random
import statistics
import time

import fleet as fleets
import harness

SLOTS, TOKENS, DECODE_TPS = 4, 40, 100
WORKERS = 2
CAPACITY_PER_S = WORKERS * SLOTS / (TOKENS / DECODE_TPS + 0.02)
TIMED = {"LLORCH_FAKE_PREFILL_TPS": 3_000, "LLORCH_FAKE_DECODE_TPS": DECODE_TPS,
         "LLORCH_FAKE_BYTES_PER_TOKEN": 4}


class Load:
    """Requests that come at their time, whatever becomes of those before."""

    def __init__(self, port):
        self.port = port
        self.completed = []  # times
        self.refused_ms = []
        self.other = []

    async def one(self, number):
        body = {"model": "fake", "prompt": f"load {number} " + "x" * 100, "max_tokens": TOKENS}
        begun = time.monotonic()
        try:
            status, headers, reply = await harness.request(self.port, "POST", "/v1/completions", body)
        except (OSError, EOFError, TimeoutError) as error:
            self.other.append(repr(error))
            return
        if status == 200:
            self.completed.append(time.monotonic())
        elif status == 429 and "retry-after" in headers and "retry-after-ms" in headers:
            self.refused_ms.append((time.monotonic() - begun) * 1000)
        else:
            self.other.append(f"{status} {reply[:200]}")

    async def offer(self, rate, seconds, source):
        begun = time.monotonic()
        at = begun
        async with asyncio.TaskGroup() as group:
            number = 0
            while at < begun + seconds:
                at += source.expovariate(rate)
                await asyncio.sleep(max(at - time.monotonic(), 0))
                number += 1
                group.create_task(self.one(number))
            ended = time.monotonic()
        warm = begun + 1  # until all slots are busy
        return sum(warm <= when < ended for when in self.completed) / (ended - warm)


async def goodput(report, plan, port):
    seconds = plan.pick(6, 20, 60)
    done, refusals, other = {}, [], []
    for times in (1, 2, 4, 10):
        load = Load(port)
        done[times] = await load.offer(times * CAPACITY_PER_S, seconds, plan.random)
        refusals += load.refused_ms
        other += load.other
        report.note(f"offered {times}x of {CAPACITY_PER_S:.1f}/s: {done[times]:.1f}/s completed, "
                    f"{len(load.refused_ms)} refused")
    peak = max(done.values())
    worst = min(value for times, value in done.items() if times > 1)
    report.figure("completed, worst of 2x to 10x, of the peak", f"{worst / peak:.3f}", ">= 0.95",
                  worst >= 0.95 * peak)
    report.exactly("neither completed nor refused with Retry-After", len(other), 0)
    for line in other[:3]:
        report.note(line)
    report.at_most(f"refusal p99 (n={len(refusals)})", harness.percentile(refusals, 0.99), 10.0, "ms")


async def submit(port, **fields):
    body = {"model": "fake", "prompt": "probe", "max_tokens": 1} | fields
    status, headers, reply = await harness.request(port, "POST", "/v2/tasks", body)
    return status, int(headers.get("retry-after-ms", -1)), json.loads(reply)


async def until_taken(port, **fields):
    """(told, real) ms of one refusal, asking every few ms; None when it was not refused."""
    begun = time.monotonic()
    status, told, _ = await submit(port, **fields)
    if status == 202:
        return None
    while status != 202:
        await asyncio.sleep(0.004)
        status, _, _ = await submit(port, **fields)
    return told, (time.monotonic() - begun) * 1000


def report_truth(report, what, samples):
    if not samples:
        report.figure(f"Retry-After of a {what}", "no sample", "<= 30 %", False)
        return
    off = [abs(told - real) / max(real, 1) for told, real in samples]
    report.note(f"{what}: told {statistics.median(told for told, _ in samples):.0f} ms, real "
                f"{statistics.median(real for _, real in samples):.0f} ms (medians, n={len(samples)})")
    report.at_most(f"Retry-After of a {what}, median off by", 100 * statistics.median(off), 30.0, "%")


async def truth_of_429(report, plan, port):
    """The queue is kept full; each refused task asks again until it is taken."""
    source = random.Random(plan.seed)
    samples = []
    wanted = plan.pick(25, 100, 500)
    deadline = time.monotonic() + 300
    while len(samples) < wanted and time.monotonic() < deadline:
        sample = await until_taken(port, max_tokens=source.randint(20, 200))
        if sample:
            samples.append(sample)
    report_truth(report, "full queue (429)", samples[5:])  # the first are before any history


async def drained(port):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        _, _, reply = await harness.request(port, "GET", "/v2/tasks?limit=1000")
        if all(row["status"] in ("completed", "failed", "cancelled")
               for row in json.loads(reply)["jobs"]):
            return
        await asyncio.sleep(0.05)


async def truth_of_504(report, plan, port):
    """A backlog; a task whose deadline is too near asks again until it can be met."""
    source = random.Random(plan.seed)
    samples = []
    for _ in range(plan.pick(6, 20, 60)):
        for _ in range(20):
            await submit(port, max_tokens=source.randint(50, 200))
        await asyncio.sleep(source.uniform(0, 0.5))
        sample = await until_taken(port, max_tokens=20, deadline_ms=2_000, priority="batch")
        if sample:
            samples.append(sample)
        await drained(port)
    report_truth(report, "deadline (504)", samples)


async def truth_of_503(report, plan):
    """The only worker goes and comes back, each time after about as long."""
    samples = []
    with fleets.Fleet(workers=1, slots=2) as fleet:
        for turn in range(plan.pick(4, 10, 30)):
            fleet.workers.pop().stop()  # it deregisters
            away = asyncio.create_task(asyncio.sleep(plan.random.uniform(0.9, 1.1)))
            await asyncio.sleep(plan.random.uniform(0, 0.3))
            asking = asyncio.create_task(until_taken(fleet.port))
            await away
            await asyncio.to_thread(fleet.add_worker)
            if (sample := await asking) and turn > 0:  # the first time nothing is known yet
                samples.append(sample)
    report_truth(report, "fleet without a worker (503)", samples)


async def measure(report, plan):
    with fleets.Fleet(workers=WORKERS, slots=SLOTS, step_us=2_000, worker=TIMED,
                      flags=("--queue-capacity", "16")) as fleet:
        await goodput(report, plan, fleet.port)
    with fleets.Fleet(workers=1, slots=SLOTS, step_us=2_000, worker=TIMED,
                      flags=("--queue-capacity", "8")) as fleet:
        await truth_of_429(report, plan, fleet.port)
    with fleets.Fleet(workers=1, slots=SLOTS, step_us=2_000, worker=TIMED) as fleet:
        with contextlib.suppress(TimeoutError):
            await truth_of_504(report, plan, fleet.port)
    await truth_of_503(report, plan)


if __name__ == "__main__":
    harness.run_script("R6", measure)
