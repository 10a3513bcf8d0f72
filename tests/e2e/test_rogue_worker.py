"""orchestratord with a worker that does not keep to the contract: one frame after another, no end."""

import contextlib
import http.server
import json
import threading

from support import wait_until

TOKENS_SENT = 5_000  # then it gives up
WANTED = 10


class RogueWorker:
    """Answers every job with tokens for as long as it is listened to."""

    def __init__(self):
        self.most_sent = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 30

            def do_GET(self):
                self.reply("application/json", b'{"status":"healthy"}')

            def do_POST(self):
                job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path != "/execute":
                    return self.reply("application/json", b"{}")
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.event(1, "started", job_id=job["job_id"], model="fake", seed=1,
                               started_at="2026-01-01T00:00:00.000Z", prompt_tokens=1, cached_tokens=0)
                    for i in range(len(job.get("resume_tokens", [])), TOKENS_SENT):
                        outer.most_sent = max(outer.most_sent, i)
                        self.event(f"{i + 2}:5", "token", t="x", i=i, id=5)

            def event(self, number, kind, **data):
                text = f"id: {number}\nevent: {kind}\ndata: {json.dumps({'type': kind} | data)}\n\n"
                self.wfile.write(text.encode())

            def reply(self, kind, body):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def register(self, boss):
        reply = boss.api.post("/workers/register", {
            "worker_id": "worker-cpu-rogue", "host": "127.0.0.1", "port": self.port, "pool_host": "",
            "model": "fake", "backend": "cpu", "gpu_id": None, "slots_total": 1,
            "context_tokens": 4096, "tokenizer_hash": "", "memory_bytes": 0, "capabilities": [],
            "version": "0", "instance_id": "rogue"})
        assert reply.status_code in (200, 201), reply.text

    def stop(self):
        self.server.shutdown()
        self.thread.join(timeout=10)
        self.server.server_close()


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
