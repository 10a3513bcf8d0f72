"""R11 clock: the wall clock jumps by an hour either way, and the orchestrator stands still for a
while. No worker loses its lease, no stream breaks or moves, and deadlines keep their time."""

import concurrent.futures
import json
import pathlib
import shutil
import signal
import subprocess
import time

import fleet as fleets
import harness

STREAMS = 8
TOKENS = 400
STEP_US = 10_000


def library(folder):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang-19")
    if not compiler:
        raise harness.Missing("no C compiler for the clock that jumps")
    built = folder / "clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", built,
                    pathlib.Path(__file__).with_name("clock.c"), "-ldl"], check=True, timeout=60)
    return built


def follow(fleet, job, prompt):
    try:
        return fleets.whole(list(fleet.events(job)), prompt, TOKENS)
    except TimeoutError as error:
        return str(error)


def log_lines(fleet):
    for line in (fleet.root / "boss/log").read_text(errors="replace").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def lost_leases(fleet):
    """Times that a worker was declared unhealthy."""
    return sum(line.get("event") == "worker_changed" and line.get("status") == "unhealthy"
               for line in log_lines(fleet))


def deadline_kept_ms(fleet, disturb):
    """How far from its 1.5 s a deadline ended a task, with the disturbance inside that time."""
    begun = time.monotonic()
    job = fleet.ask("POST", "/v2/tasks", {"model": "fake", "prompt": "late", "max_tokens": 4_000,
                                          "deadline_ms": 1_500})[1]["job_id"]
    time.sleep(0.3)
    disturb()
    *_, (_, kind, data) = fleet.events(job)
    if kind != "error" or data.get("error", data)["code"] != "DEADLINE_UNMET":
        return 1_000_000.0
    return abs((time.monotonic() - begun) * 1000 - 1_500)


def streams_through(fleet, pool, disturb, name):
    """What is wrong with streams that are on their way during the disturbance."""
    prompts = [f"{name} {number}" for number in range(STREAMS)]
    jobs = [fleet.ask("POST", "/v2/tasks", {"model": "fake", "prompt": prompt,
                                            "max_tokens": TOKENS})[1]["job_id"] for prompt in prompts]
    running = [pool.submit(follow, fleet, *pair) for pair in zip(jobs, prompts)]
    time.sleep(0.5)
    disturb()
    wrong = [found for found in (future.result(fleets.LIMIT_S + 30) for future in running) if found]
    moved = sum(fleet.ask("GET", f"/v2/tasks/{job}")[1].get("attempt", 0) for job in jobs)
    return wrong, moved


async def measure(report, plan):
    with fleets.Fleet(workers=0) as empty:  # only for its folder
        folder = empty.root
        built = folder / "clock.so"
        built = library(folder)
        offset = folder / "offset"
        offset.write_text("0")
        clock = {"LD_PRELOAD": built, "LLORCH_CLOCK": offset}
        with fleets.Fleet(workers=2, slots=STREAMS + 2, step_us=STEP_US, boss=clock,
                          worker=clock) as fleet, \
                concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
            for hours in (1, -1, 0):
                def jump(seconds=hours * 3_600):
                    offset.write_text(str(seconds))
                before = lost_leases(fleet)
                wrong, moved = streams_through(fleet, pool, jump, f"jump {hours}")
                what = f"wall clock at {hours:+d} h"
                for line in wrong[:2]:
                    report.note(line)
                report.exactly(f"{what}: streams not whole", len(wrong), 0)
                report.exactly(f"{what}: jobs that moved", moved, 0)
                report.exactly(f"{what}: leases lost", lost_leases(fleet) - before, 0)
            report.at_most("a jump inside a deadline: it ends off by",
                           deadline_kept_ms(fleet, lambda: offset.write_text("3600")), 250.0, "ms")
            standstill(report, plan, fleet, pool)


def standstill(report, plan, fleet, pool):
    seconds = plan.pick(6, 12, 60)

    def stop():
        fleet.boss.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        fleet.boss.process.send_signal(signal.SIGCONT)
    before = lost_leases(fleet)
    wrong, moved = streams_through(fleet, pool, stop, "stop")
    time.sleep(1.5)  # a beat of each worker
    for line in wrong[:2]:
        report.note(line)
    report.exactly(f"stopped for {seconds} s: streams not whole", len(wrong), 0)
    report.exactly(f"stopped for {seconds} s: jobs that moved", moved, 0)
    report.exactly(f"stopped for {seconds} s: leases lost", lost_leases(fleet) - before, 0)
    late = deadline_kept_ms(fleet, lambda: None)
    report.at_most("after it a deadline ends off by", late, 250.0, "ms")


if __name__ == "__main__":
    harness.run_script("R11", measure)
