"""R1: kill -9 of orchestratord at random moments. Every accepted task ends exactly once, and its
events, read across the restarts, have no gap, no duplicate and no other text."""

import concurrent.futures
import http.client
import threading
import time

import fleet as fleets
import harness

AT_ONCE = 24  # tasks on their way


def submit_until(fleet, stop, ledger, plan_random):
    """Keeps tasks on their way; only what was answered 202 is in the ledger."""
    number = 0
    while not stop.is_set():
        if sum(not done for _, _, _, done in ledger.values()) >= AT_ONCE:
            time.sleep(0.002)
            continue
        number += 1
        prompt, tokens = f"task {number}", plan_random.randrange(5, 80)
        try:
            status, body = fleet.ask("POST", "/v2/tasks", {
                "model": "fake", "prompt": prompt, "max_tokens": tokens})
        except (OSError, http.client.HTTPException, ValueError):
            time.sleep(0.005)  # it is down just now
            continue
        if status == 202:
            ledger[body["job_id"]] = (prompt, tokens, time.monotonic(), False)


def follow(fleet, job, prompt, tokens):
    try:
        return fleets.whole(list(fleet.events(job)), prompt, tokens)
    except TimeoutError as error:
        return str(error)


async def measure(report, plan):
    kills = plan.pick(20, 200, 1000)
    restarts, wrong, ledger = [], [], {}
    stop = threading.Event()
    with fleets.Fleet(workers=2, slots=8, step_us=2_000) as fleet, \
            concurrent.futures.ThreadPoolExecutor(AT_ONCE + 2) as pool:
        feeder = pool.submit(submit_until, fleet, stop, ledger, plan.random)
        followed = {}
        for _ in range(kills):
            until = time.monotonic() + plan.random.uniform(0.02, 0.4)
            while time.monotonic() < until:
                for job, (prompt, tokens, _, _) in list(ledger.items()):
                    if job not in followed:
                        followed[job] = pool.submit(follow, fleet, job, prompt, tokens)
                for job, future in followed.items():
                    if future.done() and not ledger[job][3]:
                        ledger[job] = (*ledger[job][:3], True)
                time.sleep(0.002)
            fleet.boss.kill()
            begun = time.monotonic()
            fleet.start_boss()
            restarts.append((time.monotonic() - begun) * 1_000)
        stop.set()
        feeder.result(60)
        for job, (prompt, tokens, _, _) in list(ledger.items()):
            if job not in followed:
                followed[job] = pool.submit(follow, fleet, job, prompt, tokens)
        for job, future in followed.items():
            if found := future.result(fleets.LIMIT_S + 30):
                wrong.append(f"{job}: {found}")
        states = [fleet.ask("GET", f"/v2/tasks/{job}")[1].get("status") for job in ledger]
    for line in wrong[:5]:
        report.note(line)
    report.note(f"{kills} kills, {len(ledger)} tasks accepted")
    report.exactly("tasks lost, cut or with another text", len(wrong), 0)
    report.exactly("tasks that did not complete", sum(state != "completed" for state in states), 0)
    report.at_most("restart to listening, p99", harness.percentile(restarts, 0.99), 1_000, "ms")


if __name__ == "__main__":
    harness.run_script("R1", measure)
