"""R13 cancel: in the queue, in prefill, in decode, streaming or not, by /cancel or by leaving; of a worker and
of orchestratord before one.

First on an engine with a steady pace, where "within one step" is a number; then at random, where afterwards
every slot is free and neither files nor, of a worker with a real model, memory have grown."""

import asyncio
import json
import time

import fleet as fleets
import harness

STEP_MS = 200
SLACK_MS = 50   # HTTP, the scheduler of a busy machine, this client
SLOTS = 4
TOKENS = 500
AT_ONCE = 12  # clients that cancel at random


class Bare(harness.Worker):
    """A worker that clients talk to."""

    async def begin(self, prompt, leave):
        """A connection to the events of a new job, and its id; `leave` makes no difference here."""
        body = harness.job(prompt, max_tokens=TOKENS, ignore_eos=True)
        connection = await harness.Connection.open(self.port)
        await connection.send(harness.message("POST", "/execute", body))
        return connection, body["job_id"]


class Front:
    """orchestratord and the one worker behind it, to be used as a Bare one."""

    busy, idle = harness.Worker.busy, harness.Worker.idle
    open_files_settled = harness.Worker.open_files_settled

    def __init__(self, fleet):
        self.boss, self.port, self.worker_port = fleet.boss, fleet.port, fleet.workers[0].port

    async def health(self):
        boss, worker = [json.loads((await harness.request(port, "GET", "/health"))[2])
                        for port in (self.port, self.worker_port)]
        return boss | {"slots_busy": worker["slots_busy"],
                       "queue_depth": boss["queue_depth"] + worker["queue_depth"]}

    def open_files(self):
        return fleets.files_open(self.boss)

    async def begin(self, prompt, leave):
        """What is left by its client lives with its connection, on /v1; what is cancelled is a task."""
        body = {"model": "fake", "prompt": prompt, "max_tokens": TOKENS}
        connection = await harness.Connection.open(self.port)
        if leave:
            await connection.send(harness.message("POST", "/v1/completions", body | {"stream": True}))
            return connection, None
        _, _, reply = await harness.request(self.port, "POST", "/v2/tasks", body)
        job_id = json.loads(reply)["job_id"]
        await connection.send(harness.message("GET", f"/v2/tasks/{job_id}/events"))
        return connection, job_id


async def freed_ms(worker, slots_busy, queue_depth, since):
    """Milliseconds until the worker shows at most this load; infinite after 10 s."""
    while time.monotonic() - since < 10:
        health = await worker.health()
        if health["slots_busy"] <= slots_busy and health["queue_depth"] <= queue_depth:
            return (time.monotonic() - since) * 1000
    return float("inf")


async def first_token(connection):
    stream = harness.Stream(connection, *await connection.read_head())
    async for kind, _ in stream.events():
        if kind in ("token", ""):  # events of /v1 have no name
            return


async def steady_cancel(worker, phase, leave):
    """Milliseconds from the cancel of one job in this phase until its seat is free."""
    others = []
    if phase == "queue":
        others = [(await worker.begin("other", leave=True))[0] for _ in range(SLOTS)]
        await worker.busy(SLOTS)
    # One token a byte and 512 a step: this prompt is in prefill for some seven steps.
    connection, job_id = await worker.begin("p" * 3500 if phase == "prefill" else "short", leave)
    await worker.busy(len(others) or 1, queued=int(phase == "queue"))
    if phase == "decode":
        await first_token(connection)
    since = time.monotonic()
    if leave:
        connection.close(abort=True)
    else:
        status, _, body = await harness.request(worker.port, "POST", "/cancel", {"job_id": job_id})
        assert status == 200, body
    took = await freed_ms(worker, len(others), 0, since)
    connection.close()
    for other in others:
        other.close()
    await worker.idle()
    return took


async def steady(report, name, worker, rounds, slack_ms=SLACK_MS):
    for phase in ("queue", "prefill", "decode"):
        took = [await steady_cancel(worker, phase, leave=n % 2 == 1) for n in range(2 * rounds)]
        report.at_most(f"{name}: cancel in {phase} until free, worst of {len(took)}", max(took),
                       float(STEP_MS + slack_ms), "ms")


def random_prompt(plan):
    words = plan.random.choice((3, 30, 300))
    return " ".join(plan.random.choice(("red", "sun", "tree", "code", "rain", "who")) for _ in range(words))


async def random_cancel(worker, plan):
    """One job on one of the routes, ended at a random moment; whether its worker behaved."""
    rng = plan.random
    route = rng.choice(("/execute", "/v1/chat/completions", "/v1/completions"))
    by_id = route == "/execute" and rng.random() < 0.5
    wait_s, abort, streaming = rng.choice((0, 0.01, 0.1, 0.5)) * rng.random(), rng.random() < 0.5, rng.random() < 0.5
    body = harness.job(random_prompt(plan), max_tokens=200, ignore_eos=True)
    job_id = body["job_id"]
    if route != "/execute":
        prompt = body.pop("prompt")
        del body["job_id"]
        body["stream"] = streaming
        body |= ({"prompt": prompt} if route == "/v1/completions"
                 else {"messages": [{"role": "user", "content": prompt}]})
    connection = await harness.Connection.open(worker.port)
    try:
        await connection.send(harness.message("POST", route, body))
        await asyncio.sleep(wait_s)
        if not by_id:
            return True
        status, _, _ = await harness.request(worker.port, "POST", "/cancel", {"job_id": job_id})
        if status == 404:  # before its job was known, or after its end: nothing to wait for
            return True
        again, _, _ = await harness.request(worker.port, "POST", "/cancel", {"job_id": job_id})
        head_status, headers = await asyncio.wait_for(connection.read_head(), 30)
        end = await asyncio.wait_for(harness.Stream(connection, head_status, headers).until("end"), 30)
        return status == again == 200 and end is not None and end["stop_reason"] == "CANCELLED"
    finally:
        connection.close(abort)


async def random_at_worker(report, plan):
    count = plan.pick(ci=100, full=1_000, soak=100_000)
    # More clients than slots and fewer than slots and places: some wait in the queue, none is refused.
    async with harness.Worker.real("--slots", SLOTS, "--queue", 64, "--ctx-tokens", 1024) as worker:
        warm = max(count // 5, 40)
        wrong = (await harness.gather_bounded(
            (random_cancel(worker, plan) for _ in range(warm)), AT_ONCE)).count(False)
        idle = await worker.idle(60)
        files, rss = worker.open_files(), await worker.rss_beside_snapshots()
        wrong += (await harness.gather_bounded(
            (random_cancel(worker, plan) for _ in range(count)), AT_ONCE)).count(False)
        report.exactly(f"cancels without their answer, of {count + warm}", wrong, 0)
        report.exactly("every slot free afterwards", idle and await worker.idle(60), True)
        grown = await worker.open_files_settled(files) - files
        report.at_most("open files more than after the warm-up", grown, 0)
        more = await worker.rss_beside_snapshots() - rss
        report.at_most("memory more than after the warm-up", more / 2**20, 8.0, "MiB")
        answer = await harness.Stream.open(worker.port, harness.job(max_tokens=8, ignore_eos=True))
        end = await asyncio.wait_for(answer.until("end"), 60)
        answer.close()
        report.exactly("tokens of a job afterwards", end and end["tokens_out"], 8)


async def random_task(front, plan):
    """One job of orchestratord, ended at a random moment; whether its cancel was kept."""
    rng = plan.random
    leave, abort = rng.random() < 0.5, rng.random() < 0.5
    wait_s = rng.choice((0, 0.01, 0.1, 0.5)) * rng.random()
    connection, job_id = await front.begin(random_prompt(plan), leave)
    try:
        await asyncio.sleep(wait_s)
        if leave:
            return True
        statuses = [(await harness.request(front.port, "POST", "/cancel", {"job_id": job_id}))[0]
                    for _ in range(2)]
        head_status, headers = await asyncio.wait_for(connection.read_head(), 30)
        end = await asyncio.wait_for(harness.Stream(connection, head_status, headers).until("end"), 30)
        return statuses == [200, 200] and end is not None and end["stop_reason"] == "CANCELLED"
    finally:
        connection.close(abort)


async def random_at_front(report, plan):
    count = plan.pick(ci=100, full=1_000, soak=100_000)
    with fleets.Fleet(workers=1, slots=SLOTS, step_us=4_000) as fleet:
        front = Front(fleet)
        await harness.gather_bounded((random_task(front, plan) for _ in range(40)), AT_ONCE)
        idle = await front.idle(60)
        files = front.open_files()
        wrong = (await harness.gather_bounded(
            (random_task(front, plan) for _ in range(count)), AT_ONCE)).count(False)
        report.exactly(f"orchestratord: cancels without their answer, of {count}", wrong, 0)
        report.exactly("orchestratord: every slot free afterwards", idle and await front.idle(60), True)
        report.exactly("orchestratord: jobs left", (await front.health())["jobs"], 0)
        grown = await front.open_files_settled(files + SLOTS) - files  # it keeps connections to the worker
        report.at_most("orchestratord: open files more than after 40", grown, SLOTS)


async def measure(report, plan):
    async with Bare.fake("--queue", 8, slots=SLOTS, step_us=STEP_MS * 1000) as worker:
        await steady(report, "worker", worker, plan.pick(ci=2, full=5, soak=50))
    with fleets.Fleet(workers=1, slots=SLOTS, step_us=STEP_MS * 1000) as fleet:
        # Beside other tests its two looks for each of the worker's one may take longer.
        await steady(report, "orchestratord", Front(fleet), plan.pick(ci=1, full=5, soak=50),
                     plan.pick(ci=5 * SLACK_MS, full=SLACK_MS, soak=SLACK_MS))
    await random_at_worker(report, plan)
    await random_at_front(report, plan)


if __name__ == "__main__":
    harness.run_script("R13", measure)
