"""R12 policy script: syntax errors, endless loops, exhausted limits, huge strings and hot reload
while requests are served. None is lost, the built-in policy decides, errors have line and column."""

import concurrent.futures
import http.client
import re
import threading
import time

import fleet as fleets
import harness

GOOD = "fn schedule_job(job, workers) { workers.least_loaded() }"
BROKEN = {
    "syntax error": "fn schedule_job(job, workers) { workers.least_loaded( }",
    "unknown function": "fn schedule_job(job, workers) { nothing_like_it(job) }",
    "endless loop": "fn schedule_job(job, workers) { loop { } }",
    "deep recursion": "fn f(n) { f(n + 1) }\nfn schedule_job(job, workers) { f(0) }",
    "huge string": 'fn schedule_job(job, workers) { let s = "x"; loop { s += s; } }',
    "huge array": "fn schedule_job(job, workers) { let a = []; loop { a.push(1); } }",
    "throws": 'fn schedule_job(job, workers) { throw "no" }',
    "nonsense answer": "fn schedule_job(job, workers) { 42 }",
    "unknown worker": 'fn schedule_job(job, workers) { "worker-that-is-not-there" }',
    "admission loops": "fn should_admit(job, depth) { loop { } }",
}
REFUSED = ("syntax error",)  # before it could run; the old one stays
TOKENS = 20


def deploy(fleet, script):
    """(status, reply) of a script given as the body."""
    connection = http.client.HTTPConnection("127.0.0.1", fleet.port, timeout=fleets.LIMIT_S)
    try:
        connection.request("POST", "/v2/policy/deploy", script.encode())
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()


def keep_asking(fleet, stop, wrong, count):
    number = 0
    while not stop.is_set():
        number += 1
        prompt = f"policy {threading.get_ident()} {number}"
        status, body = fleet.ask("POST", "/v2/tasks",
                                 {"model": "fake", "prompt": prompt, "max_tokens": TOKENS})
        if status != 202:
            wrong.append(f"status {status}: {body}")
            continue
        count.append(1)
        if found := fleets.whole(list(fleet.events(body["job_id"])), prompt, TOKENS):
            wrong.append(found)


def faults_in(fleet):
    return (fleet.root / "boss/log").read_text(errors="replace")


async def measure(report, plan):
    rounds = plan.pick(1, 5, 50)
    readers = 6
    wrong, count = [], []
    with fleets.Fleet(workers=2, slots=8, step_us=1_000) as fleet, \
            concurrent.futures.ThreadPoolExecutor(readers) as pool:
        stop = threading.Event()
        asking = [pool.submit(keep_asking, fleet, stop, wrong, count) for _ in range(readers)]
        placed = {}
        for _ in range(rounds):
            for name, script in BROKEN.items():
                status, reply = deploy(fleet, script)
                if name in REFUSED:
                    good = status == 400 and re.search(r"line 1\b.*(column|position) \d+", reply)
                    if not good:
                        wrong.append(f"{name}: {status} {reply[:200]}")
                placed[name] = status
                time.sleep(0.4)
                status, reply = deploy(fleet, GOOD)
                if status != 200:
                    wrong.append(f"the good one after '{name}': {status} {reply[:200]}")
                time.sleep(0.1)
        stop.set()
        for future in asking:
            future.result(60)
        log = faults_in(fleet)
        status, _ = fleet.ask("GET", "/v2/policy")
    for line in wrong[:5]:
        report.note(line)
    report.note(f"{len(placed)} bad scripts, {rounds} rounds, {len(count)} tasks meanwhile; deployed: "
                + ", ".join(f"{name} {status}" for name, status in placed.items()))
    report.exactly("requests lost, or not whole, or a bad answer to a deploy", len(wrong), 0)
    report.exactly("faults are logged with line and column",
                   bool(re.search(r'"line":\d+.*"column":\d+|line \d+, (column|position) \d+', log)), True)
    report.exactly("GET /v2/policy", status, 200)


if __name__ == "__main__":
    harness.run_script("R12", measure)
