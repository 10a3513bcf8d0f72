"""R10 hostile network: slowloris, one byte a second, sliced requests, resets, garbage, clients that
vanish. Slow ones are cut at their deadline, sliced ones get the right answer, /health stays quick."""

import asyncio
import time

import harness

STEP_US = 5_000
TOKENS = 20
HEAD_LIMIT_S = 10  # limits::head_read_ms
BODY_LIMIT_S = 60  # limits::body_read_ms


async def expected_text(worker, prompt):
    return await whole_answer(await harness.Connection.open(worker.port), prompt, [10**9], 0)


async def whole_answer(connection, prompt, cuts, pause_s):
    """The text for a request that is sent in slices."""
    data = harness.message("POST", "/execute", harness.job(prompt, max_tokens=TOKENS, ignore_eos=True))
    at = 0
    try:
        for cut in [*(c for c in cuts if c < len(data)), len(data)]:
            await connection.send(data[at:cut])
            at = cut
            if pause_s:
                await asyncio.sleep(pause_s)
        stream = harness.Stream(connection, *await connection.read_head())
        text = ""
        async for kind, event in stream.events():
            if kind == "token":
                text += event["t"]
            elif kind == "end":
                return text
        return None
    finally:
        connection.close()


async def sliced(worker, plan, number):
    """Whether a request cut at random places gets the text of its prompt."""
    prompt = f"prompt {number % 5}"
    cuts = sorted(plan.random.sample(range(1, 300), plan.random.randrange(1, 40)))
    connection = await harness.Connection.open(worker.port)
    return prompt, await whole_answer(connection, prompt, cuts, plan.random.choice((0, 0.002, 0.02)))


async def dripped(worker, at_once, data, limit_s):
    """A byte a second until the worker closes: seconds past the limit it took, or None for never."""
    connection = await harness.Connection.open(worker.port)
    begin = time.monotonic()
    try:
        await connection.send(at_once)
        for byte in data:
            connection.writer.write(bytes([byte]))
            if time.monotonic() - begin > limit_s + 10:
                break
            try:
                async with asyncio.timeout(1):
                    while await connection.reader.read(4096):
                        pass
            except TimeoutError:
                # The end may have come in the moment between two reads.
                if not connection.reader.at_eof():
                    continue
            return max(0.0, time.monotonic() - begin - limit_s)
        return None
    except OSError:
        return max(0.0, time.monotonic() - begin - limit_s)
    finally:
        connection.close(abort=True)


async def leaves(worker, plan):
    """A stream that is reset or left half-closed at a random moment."""
    rng = plan.random
    wait_s, way = rng.random() * 0.3, rng.choice(("reset", "close", "half"))
    connection = await harness.Connection.open(worker.port)
    await connection.send(harness.message("POST", "/execute", harness.job(
        f"leaves {wait_s}", max_tokens=400, ignore_eos=True)))
    await asyncio.sleep(wait_s)
    if way == "half":
        connection.writer.write_eof()
        await asyncio.sleep(0.2)
    connection.close(abort=way != "close")


async def garbage(worker, plan):
    """Bytes that are no request: a 4xx or a closed connection, never a 200."""
    rng = plan.random
    kinds = (rng.randbytes(rng.randrange(1, 2000)),
             b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
             b"POST /execute HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
             b"POST /execute HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
             b"GET /health HTTP/1.1\r\n\r\n",
             b"GET /health HTTP/9.9\r\nHost: a\r\n\r\n",
             b"POST /execute HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n")
    connection = await harness.Connection.open(worker.port)
    try:
        await connection.send(rng.choice(kinds))
        connection.writer.write_eof()
        async with asyncio.timeout(HEAD_LIMIT_S + 5):
            answer = await connection.reader.read(4096)
        return not answer or (answer.startswith(b"HTTP/1.1 ") and answer[9:10] in (b"4", b"5"))
    except OSError:
        return True
    except TimeoutError:
        return False
    finally:
        connection.close(abort=True)


async def again_and_again(worker, plan, count):
    """Short hostile visits, some dozens at a time; how many garbage ones were answered wrongly."""
    async def visit():
        if plan.random.random() < 0.5:
            await leaves(worker, plan)
            return True
        return await garbage(worker, plan)
    return (await harness.gather_bounded((visit() for _ in range(count)), 40)).count(False)


async def measure(report, plan):
    slow = plan.pick(ci=100, full=1_000, soak=2_000)
    async with harness.Worker.fake("--queue", 512, slots=64, step_us=STEP_US) as worker:
        wanted = {f"prompt {n}": await expected_text(worker, f"prompt {n}") for n in range(5)}
        files = worker.open_files()
        head_bytes = harness.head("GET", "/health", X_Padding="x" * 200)
        post_head = harness.head("POST", "/execute", b"x" * 200)
        async with harness.HealthProbe(worker.port) as probe:
            drips = [dripped(worker, b"", head_bytes, HEAD_LIMIT_S) for _ in range(slow)]
            if plan.scale != "ci":  # a body has a minute
                drips += [dripped(worker, post_head, b"x" * 200, BODY_LIMIT_S) for _ in range(slow // 10)]
            dripping = asyncio.gather(*drips)
            answers = await harness.gather_bounded(
                (sliced(worker, plan, n) for n in range(plan.pick(50, 500, 5_000))), 20)
            wrong_replies = await again_and_again(worker, plan, plan.pick(200, 2_000, 20_000))
            late = await dripping
        never = sum(took is None for took in late)
        report.exactly(f"slow requests never cut, of {len(late)}", never, 0)
        report.at_most("a slow request past its deadline, worst",
                       max((took for took in late if took is not None), default=0.0), 2.0, "s")
        wrong = sum(text != wanted[prompt] for prompt, text in answers)
        report.exactly(f"wrong answers to {len(answers)} sliced requests", wrong, 0)
        report.exactly("garbage answered as if it were a request", wrong_replies, 0)
        probe.report(report, "/health p99 meanwhile")
        report.exactly("every slot free afterwards", await worker.idle(), True)
        report.at_most("open files more than at the start",
                       await worker.open_files_settled(files) - files, 0)


if __name__ == "__main__":
    harness.run_script("R10", measure)
