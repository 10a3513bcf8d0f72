#!/usr/bin/env python3
"""What the orchestrator's order and placement are worth, on workers without a model.

    bench/fleet.py [--cases queue,placement,unshared,real] [--rounds 5] [--short] [--out FILE]

Real orchestratord, real worker HTTP, and but for the case "real" an engine that keeps to the speeds of a small machine: 300
tokens/s of prompts, 100 tokens/s of each stream, a prefix cache. All speeds are multiplied by the
scale of the case and all times divided by it again in the table, so that a round takes a minute.
In each round every arm runs once, in turn, with the same arrivals; ratios are of one round.
"""

import argparse
import asyncio
import contextlib
import json
import pathlib
import random
import statistics
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests/promises"))
import fleet as fleets  # noqa: E402
import harness  # noqa: E402

PREFILL_TPS, DECODE_TPS = 300, 100
BYTES_PER_TOKEN = 4
KV_BYTES = 30 * 3 * 64 * 2 * 2  # of smollm2, a token: layers, key heads, width, keys and values, half precision
STEP_US = 2_000
REQUEST_S = 300


class Job:
    """One request and what became of it, in ms of the fleet's own time."""

    def __init__(self, at_s, prompt, tokens, kind):
        self.at_s, self.prompt, self.tokens, self.kind = at_s, prompt, tokens, kind
        self.sent = self.first = self.ended = 0.0
        self.got = 0
        self.problem = None

    def ttft_ms(self, scale):
        return (self.first - self.sent) * 1000 * scale

    def latency_ms(self, scale):
        return (self.ended - self.sent) * 1000 * scale


def words(source, count_bytes):
    text = "".join(source.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(count_bytes))
    return text


async def send(port, job):
    """One streamed completion on a connection of its own."""
    body = json.dumps({"model": "fake", "prompt": job.prompt, "max_tokens": job.tokens,
                       "temperature": 0, "seed": 1, "stream": True, "ignore_eos": True}).encode()
    head = (f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n").encode()
    job.sent = time.monotonic()
    writer = None
    try:
        async with asyncio.timeout(REQUEST_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + body)
            status = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
            if status != b"200":
                job.problem = f"status {status.decode()}: {(await reader.read(300)).decode()}"
                return
            tail = b""
            while part := await reader.read(65536):
                text = tail + part
                job.got += text.count(b'"text":"') - tail.count(b'"text":"')
                if job.got and not job.first:
                    job.first = time.monotonic()
                if b"[DONE]" in text:
                    job.ended = time.monotonic()
                    return
                tail = text[-16:]
            job.problem = "cut"
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        job.problem = repr(error)
    finally:
        if writer:
            writer.close()


class Arm:
    """One orchestratord with its flags, and fresh workers behind it."""

    def __init__(self, name, flags, workers, slots, cache_tokens, scale):
        self.name, self.flags, self.scale = name, flags, scale
        self.count, self.slots, self.cache_tokens = workers, slots, cache_tokens

    def worker(self, number, port, home):
        return fleets.Process(
            [harness.fake_worker_program(), "--model", "any", *worker_flags(number, port)], home,
            LLORCH_FAKE_SLOTS=self.slots, LLORCH_FAKE_STEP_US=STEP_US,
            LLORCH_FAKE_PREFILL_TPS=PREFILL_TPS * self.scale,
            LLORCH_FAKE_DECODE_TPS=DECODE_TPS * self.scale,
            LLORCH_FAKE_CACHE_TOKENS=self.cache_tokens, LLORCH_FAKE_BYTES_PER_TOKEN=BYTES_PER_TOKEN)

    async def run(self, jobs):
        with tempfile.TemporaryDirectory(prefix="llorch-bench-") as folder, \
                contextlib.ExitStack() as stack:
            root = pathlib.Path(folder)
            boss = fleets.Process([harness.program("orchestratord"), "--port", "0",
                                   "--queue-capacity", "-1", *self.flags], root / "boss")
            stack.callback(boss.stop)
            for number in range(self.count):
                worker = self.worker(number, boss.port, root / f"worker-{number}")
                stack.callback(worker.process.wait, 10)
                stack.callback(worker.process.kill)
            await self.warm_up(boss.port)
            begun = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    delay = begun + job.at_s / self.scale - time.monotonic()
                    if delay > 0:
                        await asyncio.sleep(delay)
                    group.create_task(send(boss.port, job))
            if problems := [job.problem for job in jobs if job.problem]:
                raise RuntimeError(f"{self.name}: {len(problems)} requests failed: {problems[0]}")
            return begun

    async def warm_up(self, port):
        """Until every worker has shown its speeds in a heartbeat."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            await asyncio.gather(*(send(port, Job(0, f"{time.monotonic_ns()} {n}", 4, "warm"))
                                   for n in range(self.count * self.slots)))
            _, _, body = await harness.request(port, "GET", "/v2/workers")
            rows = json.loads(body)["workers"]
            if len(rows) == self.count and all(row["decode_tokens_per_second"] > 0 for row in rows):
                return
            await asyncio.sleep(0.1)
        raise RuntimeError("the workers show no speeds")


class RealArm(Arm):
    """The same over workers with a model, which keep prompts in their slots and in some memory."""

    def worker(self, number, port, home):
        return fleets.Process(
            [harness.program("llorch-candled"), "--model", harness.model_path(), "--threads", "1",
             "--slots", self.slots, "--kv-ram-mib", self.cache_tokens * KV_BYTES // 2**20,
             *worker_flags(number, port)], home)


def worker_flags(number, port):
    return ["--model-id", "fake", "--port", "0", "--ctx-tokens", "8192", "--worker-id", f"w{number}",
            "--orchestrator-url", f"http://127.0.0.1:{port}"]


def arrivals(source, rate, count):
    at = 0.0
    for _ in range(count):
        yield at
        at += source.expovariate(rate)


# Cases: name → (arms, jobs of a seed, figures of a run, ratios of a round)


class Queue:
    """Mixed load at three times what two slots can do: short jobs must not wait for long ones."""

    scale = 10
    title = "70 % ≤ 24 tokens, 30 % ≤ 256, 3x saturation, two slots"
    compare = ("fair", "fifo")

    def __init__(self, short):
        self.count = 300 if short else 500
        self.arms = [Arm(name, ["--order", name], 1, 2, 0, self.scale) for name in self.compare]

    def jobs(self, seed):
        source = random.Random(seed)
        rate = 3 * 2 / (0.7 * 12.5 / DECODE_TPS + 0.3 * 140.5 / DECODE_TPS + 20 / PREFILL_TPS)
        return [Job(at, f"{number} {words(source, 76)}",
                    source.randint(1, 24) if (brief := source.random() < 0.7)
                    else source.randint(25, 256), "short" if brief else "long")
                for number, at in enumerate(arrivals(source, rate, self.count))]

    def figures(self, jobs, begun):
        short = [job for job in jobs if job.kind == "short"]
        long = [job for job in jobs if job.kind == "long"]
        ended = max(job.ended for job in jobs)
        seconds = (ended - begun) * self.scale
        return {"short p50 ms": percentile(short, 0.5, self.scale),
                "short p99 ms": percentile(short, 0.99, self.scale),
                "long p99 ms": percentile(long, 0.99, self.scale),
                "longest of a long one ms": max(job.latency_ms(self.scale) for job in long),
                "tokens/s": sum(job.tokens for job in jobs) / seconds}

    def ratios(self, fair, fifo):
        return {"short p99: fifo / fair (>= 8)": fifo["short p99 ms"] / fair["short p99 ms"],
                "throughput: fair / fifo (>= 0.98)": fair["tokens/s"] / fifo["tokens/s"],
                "longest of a long one: fair / fifo": (fair["longest of a long one ms"]
                                                       / fifo["longest of a long one ms"])}


class Placement:
    """16 families of prompts that begin alike; each worker's cache holds five of them."""

    scale = 20
    title = "4 workers with room for 5 of 16 prefixes of 1 500 tokens, 0.8 requests/s"
    compare = ("cost", "round-robin")
    rate = 0.8

    def __init__(self, short):
        self.count = 400 if short else 800
        self.arms = [Arm(name, ["--placement", name], 4, 2, 5 * 1_500, self.scale)
                     for name in self.compare]

    def jobs(self, seed):
        source = random.Random(seed)
        families = [words(source, 1_500 * BYTES_PER_TOKEN) for _ in range(16)]
        return [Job(at, source.choice(families) + f" {number} {words(source, 76)}", 16, "any")
                for number, at in enumerate(arrivals(source, self.rate, self.count))]

    def figures(self, jobs, begun):
        ttft = [job.ttft_ms(self.scale) for job in jobs]
        return {"mean TTFT ms": statistics.fmean(ttft), "TTFT p50 ms": statistics.median(ttft),
                "TTFT p99 ms": harness.percentile(ttft, 0.99),
                "tokens/s": sum(job.tokens for job in jobs)
                / ((max(job.ended for job in jobs) - begun) * self.scale)}

    def ratios(self, ours, other):
        return {"mean TTFT: round-robin / cost (>= 3)": other["mean TTFT ms"] / ours["mean TTFT ms"]}


class Unshared(Placement):
    """The price of looking for prefixes where there are none."""

    title = "4 workers, prompts of 1 500 tokens that share nothing, 0.5 requests/s"
    compare = ("cost", "least-loaded")
    rate = 0.5

    def __init__(self, short):
        super().__init__(short)
        self.count = 200 if short else 400

    def jobs(self, seed):
        source = random.Random(seed)
        return [Job(at, f"{number} {words(source, 1_500 * BYTES_PER_TOKEN)}", 16, "any")
                for number, at in enumerate(arrivals(source, self.rate, self.count))]

    def ratios(self, ours, other):
        return {"mean TTFT: cost / least-loaded (<= 1.02)":
                ours["mean TTFT ms"] / other["mean TTFT ms"]}


class Real(Placement):
    """Two workers with a model; each keeps five of eight families in memory.
    Each family is asked for once, in peace, before anything is counted."""

    scale = 1
    title = "2 workers with smollm2 on a core each and room for 5 of 8 prefixes of 300 words, 1.2 requests/s"
    compare = ("cost", "round-robin")
    rate = 1.2
    families = 8
    cold_s = 2  # from one cold family to the next

    def __init__(self, short):
        self.count = 30 if short else 72
        self.arms = [RealArm(name, ["--placement", name], 2, 2, 5 * 330, 1) for name in self.compare]

    def jobs(self, seed):
        source = random.Random(seed)
        vocabulary = ("river stone cloud winter paper garden music window table engine yellow "
                      "market forest letter bridge silver").split()
        families = [" ".join(source.choices(vocabulary, k=300)) for _ in range(self.families)]
        cold = [Job(number * self.cold_s, f"{prefix} first", 8, "any") for number, prefix in enumerate(families)]
        return cold + [Job(self.families * self.cold_s + at, f"{source.choice(families)} {number}", 8, "any")
                       for number, at in enumerate(arrivals(source, self.rate, self.count))]

    def figures(self, jobs, begun):
        return super().figures(jobs[self.families:], begun + self.families * self.cold_s)


CASES = {"queue": Queue, "placement": Placement, "unshared": Unshared, "real": Real}


def percentile(jobs, share, scale):
    return harness.percentile([job.latency_ms(scale) for job in jobs], share)


async def measure(name, case, rounds, seed):
    """{arm: [figures of each round]} and the ratios of each round."""
    runs = {arm.name: [] for arm in case.arms}
    ratios = []
    for turn in range(rounds):
        for arm in case.arms if turn % 2 == 0 else reversed(case.arms):
            jobs = case.jobs(seed + turn)
            begun = await arm.run(jobs)
            runs[arm.name].append(case.figures(jobs, begun))
        ours, other = (runs[arm][-1] for arm in case.compare)
        ratios.append(case.ratios(ours, other))
        print(f"{name} round {turn + 1}/{rounds}: " +
              ", ".join(f"{what} {value:.2f}" for what, value in ratios[-1].items()), flush=True)
    return runs, ratios


def spread(values, digits):
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def print_table(case, runs, ratios):
    print(f"\n{case.title}; median (smallest–largest) of {len(ratios)} rounds\n")
    print("| figure | " + " | ".join(runs) + " |\n|---|" + "---|" * len(runs))
    for figure in next(iter(runs.values()))[0]:
        print(f"| {figure} | " + " | ".join(
            spread([run[figure] for run in rows], 0) for rows in runs.values()) + " |")
    for what in ratios[0]:
        print(f"| {what} | " + spread([ratio[what] for ratio in ratios], 2) + " |" * (len(runs) - 1)
              + " |")
    print(flush=True)


async def run_all(options):
    results = {}
    for name in options.cases.split(","):
        case = CASES[name](options.short)
        rounds = options.rounds or (1 if options.short else 5)
        runs, ratios = await measure(name, case, rounds, options.seed)
        print_table(case, runs, ratios)
        results[name] = {"title": case.title, "scale": case.scale, "runs": runs, "ratios": ratios}
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="queue,placement,unshared", help=f"of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=None, help="5; 1 with --short")
    parser.add_argument("--short", action="store_true", help="fewer requests, one round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default=None, help="JSON with every figure of every round")
    options = parser.parse_args()
    if unknown := [name for name in options.cases.split(",") if name not in CASES]:
        parser.error(f"no case {', '.join(unknown)}: there are {', '.join(CASES)}")
    harness.raise_file_limit()
    asyncio.run(run_all(options))


if __name__ == "__main__":
    main()
