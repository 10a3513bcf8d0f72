"""R2: a task's events, cut at random bytes and taken up again with Last-Event-ID, are byte for byte
those of a reader that nobody disturbs: while it runs, after its end, from the disk after a kill -9."""

import asyncio
import collections
import json
import random

import fleet as fleets
import harness

TOKENS = 60
AT_ONCE = 8  # tasks; each has a slot at once, so that its queued frame never tells a place in the queue
READERS = 2  # of each task that are cut while it runs, and as many after its end
CUT_BYTES = 1_500  # of one connection at most: the head of the reply and some fifteen frames
UNCUT_BYTES = 2**24
TASK_S = 60


def payload_of(received):
    """What came of a chunked body, on a connection that may have ended at any byte."""
    head, _, body = received.partition(b"\r\n\r\n")
    if body and not head.startswith(b"HTTP/1.1 200 "):
        raise ConnectionError(received[:300])
    payload = b""
    while b"\r\n" in body:
        size, _, body = body.partition(b"\r\n")
        payload += body[:int(size, 16)]
        body = body[int(size, 16) + 2:]
    return payload


def fields_of(frame):
    return dict(line.split(": ", 1) for line in frame.decode().split("\n"))


def is_kept(frame):
    """Comments and live figures are not of the stream that resumes."""
    return not frame.startswith(b":") and fields_of(frame)["event"] != "metrics"


async def one_connection(port, job, after, size, abort=False):
    """The frames that came whole in its first `size` bytes, and whether another one had begun."""
    connection = await harness.Connection.open(port)
    resumed = {} if after is None else {"Last_Event_ID": after}
    try:
        await connection.send(harness.message("GET", f"/v2/tasks/{job}/events", Connection="close", **resumed))
        received = await connection.reader.readexactly(size)
    except asyncio.IncompleteReadError as ended:
        received = ended.partial
    finally:
        connection.close(abort)
    *frames, begun = payload_of(received).split(b"\n\n")
    return [frame for frame in frames if is_kept(frame)], bool(begun)


async def undisturbed(port, job):
    return (await one_connection(port, job, None, UNCUT_BYTES))[0]


async def cut(port, job, chooser, when, cuts):
    """The frames of a task over as many connections as it takes; counts its cuts, also those in a frame."""
    frames, last = [], {"id": None, "event": None}
    while True:
        came, begun = await one_connection(port, job, last["id"], chooser.randrange(1, CUT_BYTES),
                                           abort=chooser.random() < 0.5)
        frames += came
        last = fields_of(frames[-1]) if frames else last
        if last["event"] in ("end", "error"):
            return frames
        cuts[when, begun] += 1


def difference(frames, wanted, what):
    """What is wrong with the frames of a reader that was cut, or None."""
    if frames == wanted:
        return None
    at = next((n for n, pair in enumerate(zip(frames, wanted)) if pair[0] != pair[1]),
              min(len(frames), len(wanted)))
    return f"{what}: {len(frames)} frames for {len(wanted)}, other from {at} on: {frames[at:at + 1]}"


class Task:
    """One task, its true frames, and what its readers got."""

    def __init__(self, plan, number):
        self.plan, self.number = plan, number
        self.prompt = f"resume {number}"
        self.job, self.frames, self.wrong = None, [], []

    def readers(self, port, when, cuts):
        for reader in range(READERS):
            # A source of its own: the seed gives it the same cuts, whoever comes first.
            chooser = random.Random(f"{self.plan.seed} {self.number} {when} {reader}")
            yield cut(port, self.job, chooser, when, cuts)

    def compare(self, got, when):
        found = [difference(frames, self.frames, f"{self.job} {when}") for frames in got]
        self.wrong += [line for line in found if line]

    async def run(self, port, cuts):
        body = {"model": "fake", "prompt": self.prompt, "max_tokens": TOKENS}
        self.job = json.loads((await harness.request(port, "POST", "/v2/tasks", body))[2])["job_id"]
        async with asyncio.timeout(TASK_S):
            self.frames, *got = await asyncio.gather(undisturbed(port, self.job),
                                                     *self.readers(port, "while it ran", cuts))
        fields = [fields_of(frame) for frame in self.frames]
        untrue = fleets.whole([(int(each["id"]), each["event"], json.loads(each["data"])) for each in fields],
                              self.prompt, TOKENS)
        self.wrong += [f"{self.job} undisturbed: {untrue}"] if untrue else []
        self.compare(got, "while it ran")
        await self.read_again(port, "after its end", cuts)

    async def read_again(self, port, when, cuts):
        async with asyncio.timeout(TASK_S):
            self.compare(await asyncio.gather(*self.readers(port, when, cuts)), when)


async def measure(report, plan):
    wanted = plan.pick(ci=1_000, full=10_000, soak=100_000)
    cuts, tasks = collections.Counter(), []
    with fleets.Fleet(workers=2, slots=AT_ONCE, step_us=5_000) as fleet:
        while cuts.total() < wanted and not any(task.wrong for task in tasks):
            batch = [Task(plan, len(tasks) + n) for n in range(AT_ONCE)]
            await asyncio.gather(*(task.run(fleet.port, cuts) for task in batch))
            tasks += batch
        fleet.boss.kill()
        fleet.start_boss()
        await harness.gather_bounded(
            (task.read_again(fleet.port, "after a restart", cuts) for task in tasks), AT_ONCE)
    wrong = [line for task in tasks for line in task.wrong]
    for line in wrong[:5]:
        report.note(line)
    times, within = collections.Counter(), 0
    for (when, begun), count in cuts.items():
        times[when] += count
        within += count * begun
    report.note(f"{len(tasks)} tasks; resumed " + ", ".join(f"{n} times {when}" for when, n in times.items()))
    report.figure("resumes", cuts.total(), f">= {wanted}", cuts.total() >= wanted)
    report.figure("of them after a cut within a frame", within, "> 0", within > 0)
    report.exactly("streams not byte-equal", len(wrong), 0)


if __name__ == "__main__":
    harness.run_script("R2", measure)
