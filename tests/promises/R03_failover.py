"""R3: kill -9 of a worker at random moments of streams, two workers. Every client gets its whole answer, no
token missing or twice, the text of an undisturbed run; with fake workers, and with real ones."""

import concurrent.futures
import time

import fleet as fleets
import harness

STREAMS = 8
TOKENS = 120
REAL_STREAMS = 4
REAL_TOKENS = 40
PROMPTS = [f"{number} things to know about the {what}:" for number, what in
           enumerate(("sea", "moon", "wind", "city"), 3)]
LONG = "The old house stood on the hill above the river and looked at the town. " * 12
# What is computed in one step with what was sent before is the same in any company; so is what is
# computed in several, where it is asked for.
REAL_TASKS = [{"model": "smollm2", "prompt": prompt, "max_tokens": REAL_TOKENS, "temperature": 0,
               "ignore_eos": True} for prompt in PROMPTS]
REAL_TASKS += [task | {"prompt": LONG + task["prompt"], "deterministic": True} for task in REAL_TASKS]


def follow(fleet, job):
    """The frames of a task (or why it has no end), and its longest silence in ms."""
    frames, longest, last = [], 0.0, time.monotonic()
    try:
        for frame in fleet.events(job):
            now = time.monotonic()
            longest, last = max(longest, (now - last) * 1_000), now
            frames.append(frame)
    except TimeoutError as error:
        return str(error), longest
    return frames, longest


def run_turn(fleet, pool, tasks, kill_after_s):
    """Runs tasks side by side, a worker killed meanwhile; [(job, frames or why not, silence in ms)]."""
    jobs = [fleet.ask("POST", "/v2/tasks", task)[1]["job_id"] for task in tasks]
    running = [pool.submit(follow, fleet, job) for job in jobs]
    if kill_after_s is not None:
        time.sleep(kill_after_s)  # the random moment itself
        fleet.workers.pop(0).kill()
        fleet.add_worker()
    done = [(job, *future.result(fleets.LIMIT_S + 30)) for job, future in zip(jobs, running)]
    fleet.wait_workers(2)
    return done


def fake_streams(report, plan, kills):
    wrong, gaps, quiet, number = [], [], [], 0
    with fleets.Fleet(workers=2, slots=STREAMS, step_us=2_000) as fleet, \
            concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
        for turn in range(kills + 1):
            prompts = [f"stream {number + i}" for i in range(STREAMS)]
            number += STREAMS
            tasks = [{"model": "fake", "prompt": prompt, "max_tokens": TOKENS} for prompt in prompts]
            # The first turn is left alone, to know what silence is usual.
            kill_after_s = plan.random.uniform(0, 0.25) if turn else None
            done = run_turn(fleet, pool, tasks, kill_after_s)
            for prompt, (job, frames, longest) in zip(prompts, done):
                (gaps if turn else quiet).append(longest)
                found = frames if isinstance(frames, str) else fleets.whole(frames, prompt, TOKENS)
                if found:
                    wrong.append(f"turn {turn}, {job}: {found}")
    for line in wrong[:5]:
        report.note(line)
    report.note(f"{kills} kills, {STREAMS * kills} streams; longest silence undisturbed "
                f"{max(quiet):.0f} ms")
    report.exactly("streams not whole", len(wrong), 0)
    report.at_most("longest silence of a stream, p99", harness.percentile(gaps, 0.99),
                   int(max(quiet)) + 100, "ms")


def token_ids(frames):
    """Of one whole answer; None when it is not whole."""
    if isinstance(frames, str) or [seq for seq, _, _ in frames] != list(range(REAL_TOKENS + 3)):
        return None
    ids = [data["id"] for _, kind, data in frames if kind == "token"]
    return ids if len(ids) == REAL_TOKENS and frames[-1][1] == "end" else None


def real_streams(report, plan, kills):
    """With a model: the token ids of an undisturbed run."""
    wrong, moved, done = [], 0, []
    with fleets.Fleet(workers=2, slots=REAL_STREAMS, model=harness.model_path()) as fleet, \
            concurrent.futures.ThreadPoolExecutor(REAL_STREAMS) as pool:
        want = [token_ids(run_turn(fleet, pool, [task], None)[0][1]) for task in REAL_TASKS]
        begun = time.monotonic()
        run_turn(fleet, pool, REAL_TASKS[-REAL_STREAMS:], None)
        usual_s = time.monotonic() - begun
        for turn in range(kills):
            picked = plan.random.sample(range(len(REAL_TASKS)), REAL_STREAMS)
            answers = run_turn(fleet, pool, [REAL_TASKS[at] for at in picked],
                               plan.random.uniform(0, usual_s))
            done += [(turn, at, job, frames) for at, (job, frames, _) in zip(picked, answers)]
        failures = fleet.failures()
    for turn, at, job, frames in done:
        sent = failures.get(job, [])
        moved += any(count > 0 for count in sent)
        if want[at] is None or token_ids(frames) != want[at]:
            wrong.append(f"turn {turn}, {job}, task {at}, sent before failures {sent}: "
                         f"{frames if isinstance(frames, str) else token_ids(frames)}")
    for line in wrong[:5]:
        report.note(line)
    report.note(f"real workers: {kills} kills, {REAL_STREAMS * kills} streams, {moved} gone on with from "
                "tokens that had been sent")
    report.exactly("streams of real workers with other tokens", len(wrong), 0)


async def measure(report, plan):
    fake_streams(report, plan, plan.pick(20, 200, 1000))
    real_streams(report, plan, plan.pick(20, 200, 1000))


if __name__ == "__main__":
    harness.run_script("R3", measure)
