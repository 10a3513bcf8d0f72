"""A worker in Python for orchestratord: registered and healthy; what it does with jobs a test says."""

import http.server
import threading


class ScriptedWorker:
    """Subclasses give execute(handler, job_bytes), which answers POST /execute, or does not."""

    def __init__(self):
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 30

            def do_GET(self):
                self.reply(b'{"status":"healthy"}')

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path != "/execute":
                    return self.reply(b"{}")
                outer.execute(self, body)

            def reply(self, body):
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
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

    def register(self, boss, slots=1):
        reply = boss.api.post("/workers/register", {
            "worker_id": "worker-cpu-scripted", "host": "127.0.0.1", "port": self.port,
            "pool_host": "", "model": "fake", "backend": "cpu", "gpu_id": None,
            "slots_total": slots, "context_tokens": 4096, "tokenizer_hash": "", "memory_bytes": 0,
            "capabilities": [], "version": "0", "instance_id": "scripted"})
        assert reply.status_code in (200, 201), reply.text

    def stop(self):
        self.server.shutdown()
        self.thread.join(timeout=10)
        self.server.server_close()
