"""R5 drain: SIGTERM under 2 000 streams. None fails, and new work is refused within 100 ms."""

import asyncio
import json
import signal
import time

import harness

STEP_US = 400_000  # 2.5 tokens a second and stream: this client has one core for all of them
TOKENS = 30


async def follow(worker, number, begun):
    """One stream to its end; the reason it failed, or None."""
    stream = await harness.Stream.open(
        worker.port, harness.job(f"stream {number}", max_tokens=TOKENS, ignore_eos=True))
    try:
        if stream.status != 200:
            return f"status {stream.status}"
        indexes = []
        async for kind, data in stream.events():
            if kind == "token":
                indexes.append(data["i"])
                begun.add(number)
            elif kind == "end":
                whole = indexes == list(range(TOKENS)) and data["stop_reason"] == "MAX_TOKENS"
                return None if whole else f"{len(indexes)} tokens, {data['stop_reason']}"
            elif kind == "error":
                return data["error"]["code"]
        return "ended without its end event"
    except (OSError, asyncio.IncompleteReadError) as error:
        return repr(error)
    finally:
        stream.close()


async def try_kept(connection):
    """Whether a job on a connection from before the signal is refused; True or what it got."""
    try:
        await connection.send(harness.message("POST", "/execute", harness.job(max_tokens=1)))
        status, headers = await connection.read_head()
        body = await connection.read_body(headers)
        return status == 503 and json.loads(body)["error"]["code"] == "DRAINING"
    except (OSError, asyncio.IncompleteReadError):
        return True  # closed: a refusal too


async def try_fresh(port):
    try:
        status, _, _ = await harness.request(port, "POST", "/execute", harness.job(max_tokens=1), 5)
        return status == 503
    except (OSError, asyncio.IncompleteReadError):
        return True


async def refusal_ms(port, connections, signalled):
    """When new work was refused for good: milliseconds after the signal."""
    accepted_at = 0.0
    for connection in connections:
        asked = time.monotonic()
        kept, fresh = await try_kept(connection), await try_fresh(port)
        if not (kept and fresh):
            accepted_at = max(accepted_at, (asked - signalled) * 1000)
        await asyncio.sleep(0.01)
    return accepted_at


async def measure(report, plan):
    streams = plan.pick(ci=200, full=2_000, soak=2_000)
    # Places in the queue are for the jobs that are tried while draining: a full one hides a fault.
    async with harness.Worker.fake("--queue", 64, "--drain-ms", 60_000, slots=streams,
                                   step_us=STEP_US) as worker:
        kept = [await harness.Connection.open(worker.port) for _ in range(30)]
        begun = set()
        running = [asyncio.create_task(follow(worker, n, begun)) for n in range(streams)]
        deadline = time.monotonic() + 30
        while len(begun) < streams and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        report.exactly("streams with a first token at SIGTERM", len(begun), streams)
        signalled = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        report.at_most("last new job taken after SIGTERM",
                       await refusal_ms(worker.port, kept, signalled), 100.0, "ms")
        failures = [why for why in await asyncio.gather(*running) if why]
        report.exactly(f"failed streams of {streams}", len(failures), 0)
        if failures:
            report.note(f"first failure: {failures[0]}")
        report.exactly("exit status", await worker.exited(), 0)


if __name__ == "__main__":
    harness.run_script("R5", measure)
