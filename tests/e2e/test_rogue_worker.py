"""orchestratord with a worker that does not keep to the contract: one frame after another, no end."""

import contextlib
import json

from scripted_worker import ScriptedWorker
from support import wait_until

TOKENS_SENT = 5_000  # then it gives up
WANTED = 10


class RogueWorker(ScriptedWorker):
    """Answers every job with tokens for as long as it is listened to."""

    most_sent = 0

    def execute(self, handler, body):
        job = json.loads(body)
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.end_headers()

        def event(number, kind, **data):
            text = f"id: {number}\nevent: {kind}\ndata: {json.dumps({'type': kind} | data)}\n\n"
            handler.wfile.write(text.encode())
        with contextlib.suppress(OSError):
            event(1, "started", job_id=job["job_id"], model="fake", seed=1,
                  started_at="2026-01-01T00:00:00.000Z", prompt_tokens=1, cached_tokens=0)
            for i in range(len(job.get("resume_tokens", [])), TOKENS_SENT):
                self.most_sent = max(self.most_sent, i)
                event(f"{i + 2}:5", "token", t="x", i=i, id=5)


# clause: O-11
def test_a_worker_that_never_ends_is_cut_off(fleet):
    boss = fleet(workers=0)
    rogue = RogueWorker()
    try:
        rogue.register(boss)
        job = boss.submit(model="fake", prompt="go on", max_tokens=WANTED)
        task = wait_until(lambda: next_attempt(boss, job), "the attempt fails", 20)
        assert task["tokens_out"] == WANTED
        assert rogue.most_sent < TOKENS_SENT // 2
    finally:
        rogue.stop()


def next_attempt(boss, job):
    task = boss.api.get(f"/v2/tasks/{job}").json()
    return task if task["attempt"] > 0 else None
