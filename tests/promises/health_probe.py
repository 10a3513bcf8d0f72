"""Asks a worker for /health at a steady pace until a byte or the end comes on stdin.

    health_probe.py PORT INTERVAL_MS     prints the latencies in milliseconds as a JSON list
"""

import json
import select
import socket
import sys
import time

REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
REPLY_S = 30


def ask(sock):
    """Milliseconds from the request to the last byte of its reply."""
    begin = time.perf_counter()
    sock.sendall(REQUEST)
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += receive(sock)
    head, _, body = raw.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    missing = int(lengths[0].split(b":")[1]) - len(body)
    while missing > 0:
        missing -= len(receive(sock))
    assert head.startswith(b"HTTP/1.1 200"), head
    return (time.perf_counter() - begin) * 1000


def receive(sock):
    part = sock.recv(65536)
    assert part, "the worker closed the connection"
    return part


def main():
    port, interval_s = int(sys.argv[1]), float(sys.argv[2]) / 1000
    latencies = []
    with socket.create_connection(("127.0.0.1", port), REPLY_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not select.select([sys.stdin], [], [], interval_s)[0]:
            latencies.append(ask(sock))
    print(json.dumps(latencies))


if __name__ == "__main__":
    main()
