"""Someone else's OpenAI-compatible server: answers word by word, refuses, breaks off or hangs as told."""

import http.server
import json
import threading
import time
from dataclasses import dataclass

WORDS = ("one ", "two ", "three ", "four ")


@dataclass
class Plan:
    """What becomes of one POST."""
    status: int = 200           # anything else is refused with `body` and `headers`
    body: object = None
    headers: tuple = ()
    die_after: int | None = None    # break off after so many words; 0: before the head, -1: after the role
    hang_after: int | None = None   # send nothing more, until stop(); 0: before the head
    gap_s: float = 0.0              # between words
    done: bool = True               # the finish frame, usage and [DONE] are sent


class FakeOpenAI:
    """Serves on loopback until stop(). `plans` are used up in order, then every answer is whole.

    `posts` are the (path, headers, body) that came; `left` counts clients that broke off; `busiest` is
    how many it answered at once. An answer is over before its last bytes leave: who has them may ask again."""

    def __init__(self, models=("theirs",), key=None):
        self.models = models
        self.key = key
        self.plans = []
        self.posts = []
        self.left = 0
        self.busy = 0
        self.busiest = 0
        self.healthy = True
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            working = False     # at a POST, counted in `busy`

            def do_GET(self):
                if outer.refuses_key(self.headers):
                    return self.reply(401, {"error": {"message": "bad key"}})
                if self.path != "/v1/models":
                    return self.reply(404, {"error": {"message": "no such path"}})
                if not outer.healthy:
                    return self.reply(500, {"error": {"message": "out of order"}})
                self.reply(200, {"object": "list", "data": [{"id": name} for name in outer.models]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer.posts.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                    plan = outer.plans.pop(0) if outer.plans else Plan()
                    outer.busy += 1
                    outer.busiest = max(outer.busiest, outer.busy)
                self.working = True
                try:
                    self.answer(body, plan)
                except OSError:
                    with outer._lock:
                        outer.left += 1
                    self.close_connection = True
                finally:
                    self.over()

            def over(self):
                with outer._lock:
                    outer.busy -= self.working
                self.working = False

            def answer(self, body, plan):
                if outer.refuses_key(self.headers):
                    return self.reply(401, {"error": {"message": "bad key"}})
                if plan.status != 200:
                    return self.reply(plan.status, plan.body or {"error": {"message": "no"}}, plan.headers)
                if body["model"] not in outer.models:
                    return self.reply(404, {"error": {"message": f"no model {body['model']}"}})
                if plan.die_after == 0:
                    self.close_connection = True
                    return None
                if plan.hang_after == 0:
                    return self.hang()
                if self.path == "/v1/embeddings":
                    inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
                    return self.reply(200, {"object": "list", "model": body["model"],
                                            "data": [{"object": "embedding", "index": i, "embedding": [0.5, 1.5]}
                                                     for i in range(len(inputs))],
                                            "usage": {"prompt_tokens": 7, "total_tokens": 7}})
                chat = self.path == "/v1/chat/completions"
                usage = {"prompt_tokens": 5, "completion_tokens": len(WORDS), "total_tokens": 5 + len(WORDS)}
                if not body.get("stream"):
                    time.sleep(plan.gap_s)
                    text = "".join(WORDS)
                    choice = {"index": 0, "finish_reason": "stop"}
                    choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
                    return self.reply(200, self.named(body, [choice]) | {"usage": usage})
                return self.stream(body, plan, chat, usage)

            def stream(self, body, plan, chat, usage):
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                if chat:
                    self.frame(body, {"role": "assistant", "content": ""})
                if plan.die_after == -1:
                    return
                for count, word in enumerate(WORDS):
                    if count == plan.die_after:
                        return
                    if count == plan.hang_after:
                        return self.hang()
                    if count:
                        time.sleep(plan.gap_s)
                    self.frame(body, {"content": word} if chat else word)
                if not plan.done:
                    return
                self.frame(body, {} if chat else "", "stop")
                if (body.get("stream_options") or {}).get("include_usage"):
                    self.send(self.named(body, []) | {"usage": usage})
                self.over()
                self.wfile.write(b"data: [DONE]\n\n")

            def named(self, body, choices):
                return {"id": "theirs-1", "object": "x", "created": 1, "model": body["model"],
                        "their_field": 1, "choices": choices}

            def frame(self, body, part, reason=None):
                choice = {"index": 0, "finish_reason": reason}
                choice |= {"text": part} if isinstance(part, str) else {"delta": part}
                self.send(self.named(body, [choice]))

            def send(self, frame):
                self.wfile.write(b"data: " + json.dumps(frame).encode() + b"\n\n")

            def hang(self):
                """Until the client has gone or the test is over."""
                self.connection.settimeout(0.05)
                self.close_connection = True
                while not outer._stopped.is_set():
                    try:
                        if not self.connection.recv(1):
                            raise BrokenPipeError
                    except TimeoutError:
                        continue

            def reply(self, status, body, headers=()):
                data = json.dumps(body).encode()
                self.over()
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def refuses_key(self, headers):
        return self.key is not None and headers.get("Authorization") != f"Bearer {self.key}"

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/v1"

    def stop(self):
        self._stopped.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)
