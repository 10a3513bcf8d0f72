"""R5 drain: SIGTERM under 2 000 streams, of a worker and of orchestratord before one. None fails, and new
work is refused within 100 ms."""

import asyncio
import signal
import subprocess
import time
import typing

import fleet as fleets
import harness

STEP_US = 400_000  # 2.5 tokens a second and stream: this client has one core for all of them
TOKENS = 30
DRAIN_MS = 60_000


class Target(typing.NamedTuple):
    """A program to be drained, and the route that its clients take."""
    name: str
    port: int
    process: subprocess.Popen
    path: str
    job: typing.Callable
    read: typing.Callable


def completion(prompt, max_tokens):
    return {"model": "fake", "prompt": prompt, "max_tokens": max_tokens, "stream": True}


async def read_events(stream, begin):
    """Why a stream of /execute failed, or None; calls begin() at each of its tokens."""
    indexes = []
    async for kind, data in stream.events():
        if kind == "token":
            indexes.append(data["i"])
            begin()
        elif kind == "end":
            whole = indexes == list(range(TOKENS)) and data["stop_reason"] == "MAX_TOKENS"
            return None if whole else f"{len(indexes)} tokens, {data['stop_reason']}"
        elif kind == "error":
            return data["error"]["code"]
    return "ended without its end event"


async def read_chunks(stream, begin):
    """The same of a stream of /v1/completions; each token of the fake worker is a character."""
    text, reason = "", None
    async for _, data in stream.events():
        if data == harness.DONE:
            return None if (len(text), reason) == (TOKENS, "length") else f"{len(text)} tokens, {reason}"
        if "error" in data:
            return data["error"]["code"]
        (choice,) = data["choices"]
        text, reason = text + choice["text"], choice["finish_reason"]
        begin()
    return "ended without [DONE]"


async def follow(target, number, begun):
    """One stream to its end; the reason it failed, or None."""
    stream = await harness.Stream.open(target.port, target.job(f"stream {number}", max_tokens=TOKENS),
                                       target.path)
    try:
        if stream.status != 200:
            return f"status {stream.status}"
        return await target.read(stream, lambda: begun.add(number))
    except (OSError, asyncio.IncompleteReadError) as error:
        return repr(error)
    finally:
        stream.close()


async def try_kept(target, connection):
    """Whether a job on a connection from before the signal is refused; True or what it got."""
    try:
        await connection.send(harness.message("POST", target.path, target.job("late", max_tokens=1)))
        status, _ = await connection.read_head()
        return status == 503
    except (OSError, asyncio.IncompleteReadError):
        return True  # closed: a refusal too


async def try_fresh(target):
    try:
        status, _, _ = await harness.request(target.port, "POST", target.path,
                                             target.job("late", max_tokens=1), 5)
        return status == 503
    except (OSError, asyncio.IncompleteReadError):
        return True


async def refusal_ms(target, connections, signalled):
    """When new work was refused for good: milliseconds after the signal."""
    accepted_at = 0.0
    for connection in connections:
        asked = time.monotonic()
        kept, fresh = await try_kept(target, connection), await try_fresh(target)
        if not (kept and fresh):
            accepted_at = max(accepted_at, (asked - signalled) * 1000)
        await asyncio.sleep(0.01)
    return accepted_at


async def drain(report, target, streams):
    kept = [await harness.Connection.open(target.port) for _ in range(30)]
    begun = set()
    running = [asyncio.create_task(follow(target, n, begun)) for n in range(streams)]
    deadline = time.monotonic() + 30
    while len(begun) < streams and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    report.exactly(f"{target.name}: streams with a first token at SIGTERM", len(begun), streams)
    signalled = time.monotonic()
    target.process.send_signal(signal.SIGTERM)
    report.at_most(f"{target.name}: last new job taken after SIGTERM",
                   await refusal_ms(target, kept, signalled), 100.0, "ms")
    failures = [why for why in await asyncio.gather(*running) if why]
    report.exactly(f"{target.name}: failed streams of {streams}", len(failures), 0)
    if failures:
        report.note(f"first failure: {failures[0]}")
    report.exactly(f"{target.name}: exit status", await harness.exit_status(target.process), 0)


async def measure(report, plan):
    streams = plan.pick(ci=200, full=2_000, soak=2_000)
    # Places in the queue are for the jobs that are tried while draining: a full one hides a fault.
    async with harness.Worker.fake("--queue", 64, "--drain-ms", DRAIN_MS, slots=streams,
                                   step_us=STEP_US) as worker:
        await drain(report, Target("worker", worker.port, worker.process, "/execute",
                                   lambda prompt, **fields: harness.job(prompt, ignore_eos=True, **fields),
                                   read_events), streams)
    with fleets.Fleet(workers=1, slots=streams, step_us=STEP_US,
                      flags=("--queue-capacity", "-1", "--drain-ms", DRAIN_MS)) as fleet:
        await drain(report, Target("orchestratord", fleet.port, fleet.boss.process, "/v1/completions",
                                   completion, read_chunks), streams)


if __name__ == "__main__":
    harness.run_script("R5", measure)
