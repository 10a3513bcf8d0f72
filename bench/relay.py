#!/usr/bin/env python3
"""Measures orchestratord as a relay beside nginx, in interleaved rounds, and writes a Markdown table.

One fake worker answers all of them: direct, through nginx, and through orchestratord by /v1 and by
/v2. Each round takes every case over every way, in an order that turns. Started by bench/relay.sh.
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

READY_S = 20
STOP_S = 15
LOAD_S = 120
WAYS = ("direct", "nginx", "/v1", "/v2")
TOKENS = 32

NGINX = """
worker_processes 1;
worker_rlimit_nofile 20000;
pid {root}/nginx.pid;
error_log {root}/error.log;
daemon off;
events {{ worker_connections 19000; }}
http {{
  access_log off;
  client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/f;
  uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
  keepalive_requests 1000000;
  upstream worker {{ server 127.0.0.1:{worker}; keepalive 256; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://worker;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host 127.0.0.1;
      proxy_buffering off;
      proxy_read_timeout 300s;
    }}
  }}
}}
"""


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    except OSError:
        return 0, ""
    finally:
        connection.close()


def wait_for(holds, what):
    end = time.monotonic() + READY_S
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"relay: {what} after {READY_S} s")
        time.sleep(0.01)


@contextlib.contextmanager
def started(command, root, name, **environment):
    """A process with its log in `root`, stopped at the end."""
    with open(root / f"{name}.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=root,
                                   env=dict(os.environ, **environment))
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def fleet(options, step_us, slots):
    """Worker, nginx and orchestratord, ready: {way: (port, pid of what relays or None)}."""
    with contextlib.ExitStack() as stack:
        root = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        boss_port, nginx_port, worker_port = free_port(), free_port(), free_port()
        boss = stack.enter_context(started(
            [options.work / "bin/orchestratord", "--port", str(boss_port), "--db",
             root / "orchestrator.db", "--policy", options.policy or root / "none.rhai",
             "--queue-capacity", "-1"],
            root, "orchestratord", LLORCH_ROOT=str(root)))
        wait_for(lambda: get(boss_port, "/health")[0] == 200, "orchestratord does not answer")
        stack.enter_context(started(
            [options.work / "tests/llorch-fake-worker", "--model", "any", "--model-id", "fake",
             "--port", str(worker_port), "--orchestrator-url", f"http://127.0.0.1:{boss_port}",
             "--queue", "65536"],
            root, "worker", LLORCH_ROOT=str(root), LLORCH_FAKE_SLOTS=str(slots),
            LLORCH_FAKE_STEP_US=str(step_us), LLORCH_FAKE_PREFILL="1000000"))
        wait_for(lambda: get(worker_port, "/ready")[0] == 200, "the worker is not ready")
        wait_for(lambda: get(boss_port, "/ready")[0] == 200, "no worker is registered")
        (root / "nginx.conf").write_text(
            NGINX.format(root=root, port=nginx_port, worker=worker_port))
        master = stack.enter_context(started(
            [options.nginx, "-c", root / "nginx.conf", "-p", root], root, "nginx"))
        wait_for(lambda: get(nginx_port, "/ready")[0] == 200, "nginx does not answer")
        children = pathlib.Path(f"/proc/{master.pid}/task/{master.pid}/children")
        relaying = int(children.read_text().split()[0])
        yield {"direct": (worker_port, None), "nginx": (nginx_port, relaying),
               "/v1": (boss_port, boss.pid), "/v2": (boss_port, boss.pid)}


def cpu_us(pid):
    """Of all threads of the process so far; ended threads are not in it."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1000


def load_command(options, way, port, flags):
    route = "tasks" if way == "/v2" else "chat"
    return [options.work / "bin/llorch-load", "--url", f"http://127.0.0.1:{port}", "--model", "fake",
            "--route", route, "--ignore-eos", "--json", "--limit-s", str(LOAD_S), *flags]


def load(options, way, port, flags):
    done = subprocess.run(load_command(options, way, port, flags), capture_output=True, text=True,
                          timeout=LOAD_S + 30, check=False)
    if not done.stdout:
        raise SystemExit(f"relay: llorch-load failed: {done.stderr}")
    return json.loads(done.stdout)


def measure(options, way, place, clients, requests, seed):
    port, pid = place
    before = cpu_us(pid) if pid else 0
    result = load(options, way, port, ["--concurrency", str(clients), "--requests", str(requests),
                                       "--max-tokens", str(TOKENS), "--seed", str(seed)])
    used = cpu_us(pid) - before if pid else 0
    return {"requests_per_s": result["requests_ok"] / result["wall_s"],
            "cpu_us_a_request": used / max(result["requests_ok"], 1),
            "ttft_p50_us": result["ttft_ms"]["p50"] * 1000,
            "ttft_p99_us": result["ttft_ms"]["p99"] * 1000,
            "client_cpu_s": result["client_cpu_s"], "errors": result["errors"]}


def rotated(round_number):
    at = round_number % len(WAYS)
    return WAYS[at:] + WAYS[:at]


def throughput_rounds(options):
    rounds = []
    for number in range(options.rounds):  # its own processes each: where their memory lies matters
        told = {}
        with fleet(options, options.step_us, options.clients) as places:
            for way in WAYS:  # warm: connections, allocators, caches
                measure(options, way, places[way], options.clients, options.clients * 4, 999)
            for way in rotated(number):
                told[way] = {
                    "clients": measure(options, way, places[way], options.clients,
                                       options.requests, number + 1),
                    "single": measure(options, way, places[way], 1, options.single, number + 101)}
        rounds.append(told)
        print(f"round {number + 1}: " + ", ".join(
            f"{way} {told[way]['clients']['requests_per_s']:.0f}/s" for way in WAYS),
            file=sys.stderr)
    return rounds


def memory_kib(pid, field="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    return 0


def kernel_kib():
    """What the kernel holds for sockets: its slabs, and the bytes in their queues."""
    slab = 0
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Slab:"):
            slab = int(line.split()[1])
    for line in pathlib.Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            slab += int(line.split()[-1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    return slab


def sockets(pid):
    """Open files of a process; a stream through it has two."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def streams(options, way, count):
    """So many streams of 2 tokens a second at once: what each takes, and how many are lost."""
    with fleet(options, 500_000, count) as places:
        port, pid = places[way]
        measure(options, way, places[way], 8, 8, 998)
        empty, kernel, files = memory_kib(pid), kernel_kib(), sockets(pid)
        used = cpu_us(pid)
        begun = time.monotonic()
        client = subprocess.Popen(
            load_command(options, way, port, [
                "--concurrency", str(count), "--requests", str(count),
                "--max-tokens", str(options.stream_tokens), "--seed", "7"]),
            stdout=subprocess.PIPE, text=True)
        most, kernel_full = 0, kernel
        while client.poll() is None:
            most = max(most, (sockets(pid) - files) // 2)
            kernel_full = max(kernel_full, kernel_kib())
            time.sleep(0.5)
        told = json.loads(client.stdout.read())
        wall = time.monotonic() - begun
        peak = memory_kib(pid, "VmHWM")
        return {"streams": count, "open_at_once": most, "answered": told["requests_ok"],
                "errors": told["errors"], "kib_a_stream": (peak - empty) / count,
                "kernel_kib_a_stream_all_processes": (kernel_full - kernel) / count,
                "rss_mib": peak / 1024, "gap_p99_ms": told["gap_ms"]["p99"],
                "cpu_share": (cpu_us(pid) - used) / 1e6 / wall}


def spread(values, digits):
    values = sorted(values)
    return (f"{statistics.median(values):.{digits}f} "
            f"({values[0]:.{digits}f}–{values[-1]:.{digits}f})")


def table(rounds, options):
    rows = ["| figure | " + " | ".join(WAYS) + " | /v1 to nginx | /v2 to nginx |",
            "|---|" + "---|" * (len(WAYS) + 2)]

    def row(title, case, key, digits, minus_direct=False, ratio=True):
        def of(told, way):
            value = told[way][case][key]
            return value - told["direct"][case][key] if minus_direct else value
        values = {way: [of(told, way) for told in rounds] for way in WAYS}
        cells = [spread(values[way], digits) if any(values[way]) else "–" for way in WAYS]
        ratios = [f"{statistics.median([of(t, w) / of(t, 'nginx') for t in rounds]):.2f}x"
                  if ratio and all(values["nginx"]) else "" for w in WAYS[2:]]
        rows.append(f"| {title} | " + " | ".join(cells + ratios) + " |")

    row(f"{options.clients} clients: requests/s", "clients", "requests_per_s", 0)
    row(f"{options.clients} clients: µs of processor a request", "clients", "cpu_us_a_request", 0)
    row(f"{options.clients} clients: TTFT p50, µs", "clients", "ttft_p50_us", 0)
    row("1 client: TTFT p50, µs", "single", "ttft_p50_us", 0)
    row("1 client: TTFT p99, µs", "single", "ttft_p99_us", 0)
    row("1 client: added TTFT p50, µs", "single", "ttft_p50_us", 0, True, False)
    row("1 client: added TTFT p99, µs", "single", "ttft_p99_us", 0, True, False)
    row("1 client: µs of processor a request", "single", "cpu_us_a_request", 0)
    return "\n".join(rows)


def stream_table(told):
    rows = ["| way | streams | open at once | answered | KiB a stream | kernel KiB a stream, "
            "all processes | gap p99 | processor |", "|---|---|---|---|---|---|---|---|"]
    for way, result in told.items():
        rows.append(f"| {way} | {result['streams']} | {result['open_at_once']} | "
                    f"{result['answered']} | {result['kib_a_stream']:.1f} | "
                    f"{result['kernel_kib_a_stream_all_processes']:.1f} | "
                    f"{result['gap_p99_ms']:.0f} ms | {result['cpu_share'] * 100:.0f} % |")
    return "\n".join(rows)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                  if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}"


def parse(arguments):
    repo = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, default=repo / "build/relay",
                        help="build folder with bin/ and tests/")
    parser.add_argument("--policy", type=pathlib.Path, help="a script; else the built-in one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=6400, help="of the many clients, a round")
    parser.add_argument("--single", type=int, default=500, help="requests of the one client")
    parser.add_argument("--step-us", type=int, default=0, help="pace of the worker's engine")
    parser.add_argument("--streams", type=int, default=8000, help="open at once; 0: none")
    parser.add_argument("--nginx-streams", type=int, default=6000)
    parser.add_argument("--stream-tokens", type=int, default=40)
    parser.add_argument("--out", type=pathlib.Path, help="every figure of every round as JSON")
    options = parser.parse_args(arguments)
    options.nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if not options.nginx:
        parser.error("nginx is not installed; tools/setup.sh --bench")
    return options


def main():
    options = parse(sys.argv[1:])
    told = {"machine": machine(), "rounds": [], "streams": {}}
    print(f"{told['machine']}; {options.rounds} rounds, answers of {TOKENS} tokens\n")
    if options.rounds:
        told["rounds"] = throughput_rounds(options)
        print(table(told["rounds"], options), flush=True)
        failed = [f"round {number + 1}, {way}, {case}: {result['errors']}"
                  for number, ways in enumerate(told["rounds"]) for way, cases in ways.items()
                  for case, result in cases.items() if result["errors"]]
        print("\n" + ("Failed requests: " + "; ".join(failed) if failed else "No request failed."))
    if options.streams:
        for way, count in (("nginx", options.nginx_streams), ("/v1", options.streams),
                           ("/v2", options.streams)):
            told["streams"][way] = streams(options, way, count)
        print("\n" + stream_table(told["streams"]))
        for way, result in told["streams"].items():
            if result["errors"]:
                print(f"\nFailed streams through {way}: {result['errors']}")
    if options.out:
        options.out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
