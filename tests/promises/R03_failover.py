"""R3: kill -9 of a worker at random moments of real streams, two workers. Every client gets its whole
answer, no token missing or twice, the text of an undisturbed run."""

import concurrent.futures
import time

import fleet as fleets
import harness

STREAMS = 8
TOKENS = 120


def follow(fleet, job, prompt):
    """What is wrong with the answer, and its longest silence in ms."""
    frames, longest, last = [], 0.0, time.monotonic()
    try:
        for frame in fleet.events(job):
            now = time.monotonic()
            longest, last = max(longest, (now - last) * 1_000), now
            frames.append(frame)
    except TimeoutError as error:
        return str(error), longest
    return fleets.whole(frames, prompt, TOKENS), longest


async def measure(report, plan):
    kills = plan.pick(20, 200, 1000)
    wrong, gaps, quiet, number = [], [], [], 0
    with fleets.Fleet(workers=2, slots=STREAMS, step_us=2_000) as fleet, \
            concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
        for turn in range(kills + 1):
            prompts = [f"stream {number + i}" for i in range(STREAMS)]
            number += STREAMS
            jobs = [fleet.ask("POST", "/v2/tasks", {"model": "fake", "prompt": prompt,
                                                    "max_tokens": TOKENS})[1]["job_id"]
                    for prompt in prompts]
            running = [pool.submit(follow, fleet, *pair) for pair in zip(jobs, prompts)]
            if turn:  # the first turn is left alone, to know what silence is usual
                time.sleep(plan.random.uniform(0, 0.25))  # the random moment itself
                fleet.workers.pop(0).kill()
                fleet.add_worker()
            for job, future in zip(jobs, running):
                found, longest = future.result(fleets.LIMIT_S + 30)
                (gaps if turn else quiet).append(longest)
                if found:
                    wrong.append(f"turn {turn}, {job}: {found}")
            fleet.wait_workers(2)
    for line in wrong[:5]:
        report.note(line)
    report.note(f"{kills} kills, {STREAMS * kills} streams; longest silence undisturbed "
                f"{max(quiet):.0f} ms")
    report.exactly("streams not whole", len(wrong), 0)
    report.at_most("longest silence of a stream, p99", harness.percentile(gaps, 0.99),
                   int(max(quiet)) + 100, "ms")


if __name__ == "__main__":
    harness.run_script("R3", measure)
