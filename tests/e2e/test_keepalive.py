"""A connection stays usable after a streamed reply: back to back, and after up to 70 s of silence."""

import http.client
import json
import time

import pytest

from sdk import ASK, SHORT, client_for
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


# clause: W-39
def test_500_streams_over_one_connection_and_pauses_up_to_70_s_on_others(worker, api):
    """The pauses run side by side, so the whole costs little more than the longest of them."""
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
    all_at_once([back_to_back, *map(with_pauses, ([70], [35, 35], [1, 2, 5, 10, 20, 30], [60, 0, 0]))])


# clause: W-39
def test_the_python_client_keeps_one_connection_over_many_streams(worker, api):
    """Source of the address: httpx's network_stream extension."""
    addresses = set()
    with client_for(worker) as client:
        for _ in range(50):
            stream = client.chat.completions.create(messages=ASK, stream=True, **{**SHORT, "max_tokens": 2})
            list(stream)
            socket = stream.response.extensions["network_stream"]
            addresses.add(socket.get_extra_info("client_addr"))
    assert len(addresses) == 1


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
