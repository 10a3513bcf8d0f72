"""A connection stays usable after a streamed reply: back to back, and after up to 70 s of silence."""

import contextlib
import http.client
import json
import socket
import threading
import time

import openai
import pytest

from sdk import ASK, SHORT, run_node_tests
from support import all_at_once

HEADERS = {"Content-Type": "application/json"}
STREAM = json.dumps({"prompt": "Hi", "stream": True, "max_tokens": 1, "temperature": 0})


class OneConnection:
    """A plain HTTP/1.1 connection that fails instead of opening a second one."""

    def __init__(self, port):
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.http.connect()
        self.http.auto_open = 0
        self.port = self.http.sock.getsockname()[1]

    def stream(self, path="/v1/completions", body=STREAM):
        """One streamed reply, read to its last byte; the connection is the same before and after."""
        self.http.request("POST", path, body, HEADERS)
        reply = self.http.getresponse()
        text = reply.read().decode()
        assert reply.status == 200 and text.endswith("data: [DONE]\n\n"), text[-200:]
        assert (reply.getheader("connection") or "keep-alive").lower() == "keep-alive"
        assert self.http.sock is not None, "the worker announced a close"
        assert self.http.sock.getsockname()[1] == self.port

    def close(self):
        self.http.close()


class CountingProxy:
    """Carries bytes both ways between a free port and a worker's, and counts connections."""

    def __init__(self, worker_port):
        self.worker_port = worker_port
        self.connections = 0
        self.closed_by_worker = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = []

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        for one in [self.listener, *self.open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            worker = socket.create_connection(("127.0.0.1", self.worker_port))
            self.open += [client, worker]
            left = threading.Event()
            for source, sink in ((client, worker), (worker, client)):
                threading.Thread(target=self._carry, args=(source, sink, left), daemon=True).start()

    def _carry(self, source, sink, left):
        """`left`: one of the two has hung up already."""
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        if not left.is_set() and sink in self.open[::2]:
            self.closed_by_worker += 1
        left.set()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


# clause: W-39
def test_500_streams_over_one_connection_and_pauses_up_to_70_s_on_others(worker, api):
    """By Python's own HTTP client and by the official JavaScript one, side by side: the whole costs
    little more than the longest pause."""
    def back_to_back():
        connection = OneConnection(worker.port)
        for number in range(500):
            connection.stream()
            if number % 100 == 50:
                time.sleep(0.5)  # not synchronisation: a client that thinks
        connection.close()

    def with_pauses(pauses):
        def run():
            connection = OneConnection(worker.port)
            connection.stream()
            for pause in pauses:
                time.sleep(pause)  # the silence is what is tried
                connection.stream()
            connection.close()
        return run

    def javascript(pauses):
        def run():
            run_node_tests("openai_pauses.test.mjs", worker, LLORCH_PAUSES_S=json.dumps(pauses))
        return run
    pauses = ([70], [35, 35], [1, 2, 5, 10, 20, 30], [60, 0, 0])
    all_at_once([back_to_back, *map(with_pauses, pauses), *map(javascript, pauses)])


# clause: W-39
def test_the_python_client_reuses_its_connections_and_is_never_hung_up_on(worker, api):
    """The SDK hangs up by itself on [DONE] (openai._streaming: response.close()); what counts is
    that the worker never does, and that whole replies share one connection."""
    with CountingProxy(worker.port) as proxy, openai.OpenAI(
            base_url=f"http://127.0.0.1:{proxy.port}/v1", api_key="unused", max_retries=0) as client:
        for _ in range(50):
            stream = client.chat.completions.create(messages=ASK, stream=True, **{**SHORT, "max_tokens": 2})
            list(stream)
        streams = proxy.connections
        for _ in range(50):
            client.chat.completions.create(messages=ASK, **{**SHORT, "max_tokens": 2})
        assert proxy.connections <= streams + 1
        assert proxy.closed_by_worker == 0


# clause: W-39
@pytest.mark.parametrize("path,body", [
    ("/execute", lambda i: {"job_id": f"alive-{i}", "prompt": "Hi", "max_tokens": 1}),
    ("/v1/chat/completions", lambda i: {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}),
    ("/v1/completions", lambda i: {"prompt": "Hi", "temperature": 9}),
    ("/cancel", lambda i: {"job_id": "nobody"}),
    ("/no/such/route", lambda i: {}),
    ("/tokenize", lambda i: {"content": "Hi"})])
def test_every_kind_of_reply_keeps_the_connection(worker, api, path, body):
    connection = OneConnection(worker.port)
    for number in range(3):
        connection.http.request("POST", path, json.dumps(body(number)), HEADERS)
        reply = connection.http.getresponse()
        assert reply.read() and connection.http.sock is not None
        connection.http.request("GET", "/health")
        assert json.loads(connection.http.getresponse().read())["status"] == "healthy"
    connection.stream()
    connection.close()
