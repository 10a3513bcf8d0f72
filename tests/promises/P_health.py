"""/health stays under 5 ms while 8 slots decode and a prompt of 4 000 tokens is in prefill."""

import asyncio

import harness

SLOTS = 9
CONTEXT = 6144
DECODE_TOKENS = 4000
PREFILL_S = 600


async def decode(worker, number, begun):
    stream = await harness.Stream.open(worker.port, harness.job(
        f"Story number {number}:", max_tokens=DECODE_TOKENS, ignore_eos=True))
    try:
        async for kind, _ in stream.events():
            if kind == "token":
                begun.add(number)
    finally:
        stream.close()


async def prefill(worker):
    """A job of one token: it ends when its prompt has been read. Gives the prompt's tokens."""
    stream = await harness.Stream.open(worker.port, harness.job(
        " ".join(f"item {n}" for n in range(1000)), max_tokens=1, ignore_eos=True))
    tokens = 0
    try:
        assert stream.status == 200, f"the long prompt is refused: {stream.status}"
        async for kind, data in stream.events():
            if kind == "started":
                tokens = data["prompt_tokens"]
    finally:
        stream.close()
    return tokens


async def measure(report, plan):
    async with harness.Worker.real("--slots", SLOTS, "--ctx-tokens", CONTEXT) as worker:
        begun = set()
        running = [asyncio.create_task(decode(worker, n, begun)) for n in range(8)]
        for _ in range(1500):
            if len(begun) == 8:
                break
            await asyncio.sleep(0.02)
        report.exactly("slots that decode", len(begun), 8)
        async with harness.HealthProbe(worker.port) as probe:
            tokens = await asyncio.wait_for(prefill(worker), PREFILL_S)
        report.figure("tokens of the prompt in prefill", tokens, ">= 4000", tokens >= 4000)
        report.exactly("slots that still decode", sum(not task.done() for task in running), 8)
        probe.report(report)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        report.exactly("every slot free after the clients left", await worker.idle(), True)


if __name__ == "__main__":
    harness.run_script("health", measure)
