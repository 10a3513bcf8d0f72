"""What orchestratord adds between a worker and its client: nothing to the bytes, little to memory."""

import json
import re
import socket
import threading

import httpx
from scripted_worker import ScriptedWorker
from support import REPLY_S, free_port, wait_until


def request_of(port, path, body, more=""):
    """The bytes of one POST."""
    text = json.dumps(body)
    return (f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            f"{more}Content-Length: {len(text)}\r\n\r\n{text}").encode()


def open_stream(port, body):
    stream = socket.create_connection(("127.0.0.1", port), timeout=REPLY_S)
    stream.sendall(request_of(port, "/v1/completions", body))
    return stream


def chunks_of(stream, raw=b""):
    """The chunks of the reply on this socket; `raw`: what has been read of it."""
    while not raw.endswith(b"\r\n0\r\n\r\n"):
        part = stream.recv(65536)
        assert part, "cut off"
        raw += part
    head, _, rest = raw.partition(b"\r\n\r\n")
    assert b"chunked" in head
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        yield rest[:int(size, 16)]
        rest = rest[int(size, 16) + 2:]


def frames_of(api, body):
    """The frames of a /v1 stream, without what differs from reply to reply."""
    with api.http.stream("POST", "/v1/completions", json=body) as response:
        assert response.status_code == 200
        text = "".join(response.iter_text())
    return re.sub(r'"(id|created|system_fingerprint)":("[^"]*"|\d+)', r'"\1":0', text).split("\n\n")


# clause: O-50
def test_a_client_reads_the_frames_its_worker_would_have_sent(fleet):
    boss = fleet()
    body = {"model": "fake", "prompt": "same", "max_tokens": 40, "stream": True, "seed": 1,
            "stream_options": {"include_usage": True}}

    def plain(frames):  # comments say nothing, and figures of time differ
        return [re.sub(r'"llorch":\{[^}]*\}', "", frame) for frame in frames
                if frame and not frame.startswith(":")]
    direct = plain(frames_of(boss.workers[0].api, body))
    assert plain(frames_of(boss.api, body)) == direct
    assert len(direct) >= 42 and direct[-1] == "data: [DONE]"


# clause: O-50
def test_a_reader_that_takes_nothing_loses_nothing_and_holds_nobody_up(fleet):
    boss = fleet(slots=2, step_us=0)
    body = {"model": "fake", "prompt": "slow", "max_tokens": 3500, "stream": True}
    with boss.api.http.stream("POST", "/v1/completions", json=body) as response:
        want = "".join(response.iter_lines())
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.settimeout(REPLY_S)
        slow.connect(("127.0.0.1", boss.port))
        slow.sendall(request_of(boss.port, "/v1/completions", body))
        begun = slow.recv(64)
        for _ in range(20):  # others are answered meanwhile
            assert boss.answer(boss.submit(model="fake", prompt="x", max_tokens=50)).end
        whole = b"".join(chunks_of(slow, begun)).decode()

    def text_of(stream):
        return "".join(re.findall(r'"text":"([^"]*)"', stream))
    assert len(text_of(want)) == 3500
    assert text_of(whole) == text_of(want)


# clause: O-50, W-54
def test_frames_that_come_fast_go_together_where_the_client_allows_it(fleet):
    boss = fleet(step_us=300)
    worker = boss.workers[0].port
    tokens = 128
    asked = {"job_id": "held", "prompt": "fast", "max_tokens": tokens}
    with socket.create_connection(("127.0.0.1", worker), timeout=REPLY_S) as stream:
        stream.sendall(request_of(worker, "/execute", asked, "X-Hold-Ms: 8\r\n"))
        counts = [chunk.count(b'"t":"') for chunk in chunks_of(stream)]
    held = [count for count in counts if count]  # the writes that have tokens
    assert sum(held) == tokens
    assert held[0] < max(held) and len(held) < tokens / 4, held


class PatientWorker(ScriptedWorker):
    """Notes how long it may hold the frames of each job, and answers none."""

    def __init__(self):
        self.may_hold_ms, self.over = [], threading.Event()
        super().__init__()

    def execute(self, handler, _body):
        self.may_hold_ms.append(int(handler.headers["X-Hold-Ms"]))
        self.over.wait(REPLY_S)

    def stop(self):
        self.over.set()
        super().stop()


# clause: O-50
def test_a_worker_may_hold_frames_longer_the_more_jobs_there_are(fleet):
    boss = fleet(workers=0)
    jobs = 60
    patient = PatientWorker()
    try:
        patient.register(boss, slots=jobs)
        for _ in range(jobs):
            boss.submit(model="fake", prompt="wait", max_tokens=8)
        wait_until(lambda: len(patient.may_hold_ms) >= jobs, "all jobs are there", 20)
        want = [min(1 + number // 8, 8) for number in range(1, jobs + 1)]
        assert sorted(patient.may_hold_ms) == want
    finally:
        patient.stop()


class MuteWorker:
    """Registers with an orchestrator for embeddings, takes requests and never answers."""

    def __init__(self, boss):
        self.port = free_port()
        self.asked, self.left = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", self.port))
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        told = {"worker_id": "mute", "host": "127.0.0.1", "port": self.port, "pool_host": "here",
                "model": "mute", "backend": "cpu", "gpu_id": None, "slots_total": 1,
                "context_tokens": 512, "tokenizer_hash": "0123456789abcdef", "memory_bytes": 1,
                "capabilities": ["embeddings"], "version": "1", "instance_id": "i"}
        assert boss.api.post("/workers/register", told).status_code == 200

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(REPLY_S)
            try:
                if b"/v1/embeddings" not in connection.recv(65536):
                    continue
                self.asked.set()
                gone = connection.recv(1) == b""
            except ConnectionResetError:
                gone = True
            if gone:
                self.left.set()


# clause: O-53
def test_a_client_that_leaves_before_the_first_byte_ends_the_request_at_the_worker(fleet):
    boss = fleet(workers=0)
    mute = MuteWorker(boss)
    client = socket.create_connection(("127.0.0.1", boss.port), timeout=REPLY_S)
    client.sendall(request_of(boss.port, "/v1/embeddings", {"model": "mute", "input": "x"}))
    assert mute.asked.wait(REPLY_S)
    client.close()
    assert mute.left.wait(REPLY_S), "the worker still works for nobody"
    mute.listener.close()


# clause: O-51
def test_a_large_prompt_is_taken(fleet):
    boss = fleet(slots=2)
    prompt = "word " * 200_000  # of a megabyte: decoded aside
    with httpx.Client(base_url=boss.url, trust_env=False, timeout=REPLY_S) as client:
        refused = client.post("/v1/completions", json={"model": "fake", "prompt": prompt})
        bad = client.post("/v1/completions", json={"model": "fake", "prompt": prompt, "max_tokens": -1})
    assert refused.status_code in (200, 400)  # 400: more than the fake worker's context
    assert bad.status_code == 400 and "max_tokens" in bad.text
