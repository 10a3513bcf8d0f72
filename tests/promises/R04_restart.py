"""R4 restart: kill -9 of orchestratord under load with 100 000 ended tasks in its database. It
answers again within a second, a new task gets its first token, and what was on its way goes on."""

import concurrent.futures
import contextlib
import http.client
import pathlib
import sqlite3
import threading
import time

import fleet as fleets
import harness

LOAD = 24  # tasks on their way
COPY = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO jobs SELECT {columns} FROM jobs, n WHERE job_id = :job"""


def fill(path, job, count):
    """So many more ended tasks like this one, with their events and decisions."""
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        columns = [row[1] for row in base.execute("PRAGMA table_info(jobs)")]
        made = {"row": "NULL", "job_id": "printf('%08x-0000-4000-8000-%012x', i, i)",
                "accepted_at_ms": "accepted_at_ms - i"}
        base.execute(COPY.format(columns=", ".join(made.get(name, name) for name in columns)),
                     {"count": count, "job": job})
        base.execute("""INSERT INTO frames SELECT jobs.row, like_it.frames FROM jobs,
                        (SELECT frames FROM frames JOIN jobs USING(row) WHERE job_id = :job) like_it
                        WHERE job_id LIKE '%-0000-4000-8000-%'""", {"job": job})
        base.execute("""INSERT INTO decisions SELECT NULL, jobs.job_id, 0, at_ms, json
                        FROM jobs, (SELECT at_ms, json FROM decisions WHERE job_id = :job LIMIT 1)
                        WHERE job_id LIKE '%-0000-4000-8000-%'""", {"job": job})
        return base.execute("SELECT count(*) FROM jobs").fetchone()[0]


def store(fleet, count):
    """The database with one real task and its copies."""
    job = fleet.ask("POST", "/v2/tasks",
                    {"model": "fake", "prompt": "stored", "max_tokens": 20})[1]["job_id"]
    list(fleet.events(job))
    fleet.boss.stop()  # everything is written now
    (path,) = pathlib.Path(fleet.boss.home).rglob("orchestrator.db")
    stored = fill(path, job, count)
    fleet.start_boss()
    fleet.wait_workers(2)
    return stored


def keep_busy(fleet, stop, results, pool):
    number = 0
    running = {}
    while not stop.is_set() or running:
        for future in [future for future in running if future.done()]:
            results.append(future.result())
            del running[future]
        if stop.is_set() or len(running) >= LOAD:
            time.sleep(0.002)
            continue
        number += 1
        prompt = f"load {number}"
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            status, body = fleet.ask("POST", "/v2/tasks",
                                     {"model": "fake", "prompt": prompt, "max_tokens": 60})
            if status == 202:
                running[pool.submit(follow, fleet, body["job_id"], prompt)] = prompt


def follow(fleet, job, prompt):
    try:
        return fleets.whole(list(fleet.events(job)), prompt, 60)
    except TimeoutError as error:
        return str(error)


def first_token_s(fleet):
    """Until a new task has its first token."""
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            status, body = fleet.ask("POST", "/v2/tasks", {"model": "fake", "prompt": "again",
                                                           "max_tokens": 2})
            if status == 202:
                for _, kind, _ in fleet.events(body["job_id"]):
                    if kind == "token":
                        return time.monotonic()
        time.sleep(0.002)


async def measure(report, plan):
    kills = plan.pick(3, 20, 100)
    wanted = plan.pick(10_000, 100_000, 100_000)
    listening, token, results = [], [], []
    with fleets.Fleet(workers=2, slots=LOAD, step_us=5_000) as fleet, \
            concurrent.futures.ThreadPoolExecutor(LOAD + 2) as pool:
        stored = store(fleet, wanted)
        stop = threading.Event()
        feeder = pool.submit(keep_busy, fleet, stop, results, pool)
        for _ in range(kills):
            time.sleep(plan.random.uniform(0.3, 0.8))  # the random moment itself
            fleet.boss.kill()
            begun = time.monotonic()
            fleet.start_boss()
            listening.append((time.monotonic() - begun) * 1000)
            token.append((first_token_s(fleet) - begun) * 1000)
        old = fleet.ask("GET", "/v2/tasks/00000001-0000-4000-8000-000000000001")
        stop.set()
        feeder.result(60)
    report.note(f"{kills} kills, {stored} tasks stored, {len(results)} on their way meanwhile")
    wrong = [result for result in results if result]
    for line in wrong[:3]:
        report.note(line)
    report.exactly("tasks not whole", len(wrong), 0)
    report.exactly("a stored task is still known", old[1].get("status"), "completed")
    report.at_most("start to listening, longest", max(listening), 1_000, "ms")
    report.at_most("start to a new task's first token, longest", max(token), 1_000, "ms")


if __name__ == "__main__":
    harness.run_script("R4", measure)
