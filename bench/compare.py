#!/usr/bin/env python3
"""Measures llorch-candled against llama-server in interleaved rounds and writes a Markdown table.

Each round starts one server after the other, on the same model, threads and slots, and runs every
case against each; the order alternates. Started by bench/compare.sh, which builds both.
With --other the second server is llorch-candled, too, with those flags: what a feature is worth.
"""
import argparse
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import platform
import signal
import socket
import statistics
import subprocess
import sys
import time

READY_LIMIT_S = 120
STOP_LIMIT_S = 15
CASE_LIMIT_S = 300
GREEDY_TOKENS = 32
SERVERS = ("llorch", "llama-server")
FIRST_TOKENS = 4


@dataclasses.dataclass(frozen=True)
class Figure:
    """One row of the table: where it is in the load client's JSON, and whether more is better."""
    title: str
    path: str
    unit: str
    more_is_better: bool


@dataclasses.dataclass(frozen=True)
class Case:
    title: str
    flags: tuple
    figures: tuple
    beside: bool = False  # another program, which computes without end


CASES = {
    "single": Case("1 stream", ("--requests", "6", "--prompt-words", "40"), (
        Figure("decode", "stream_tokens_per_s.p50", "tok/s", True),
        Figure("TTFT p50", "ttft_ms.p50", "ms", False))),
    "edit": Case(
        "1 stream, the answer repeats the prompt",
        ("--route", "completions", "--requests", "4", "--prompt-words", "80", "--prompt-repeats", "3",
         "--max-tokens", "200"), (
            Figure("decode", "stream_tokens_per_s.p50", "tok/s", True),)),
    "chat4": Case("4 streams", ("--concurrency", "4", "--requests", "12"), (
        Figure("all streams", "tokens_per_s", "tok/s", True),)),
    "busy": Case("1 stream beside a busy program", ("--requests", "4", "--prompt-words", "40"), (
        Figure("decode", "stream_tokens_per_s.p50", "tok/s", True),
        Figure("TTFT p50", "ttft_ms.p50", "ms", False),
        Figure("gap p99", "gap_ms.p99", "ms", False)), beside=True),
    "prefill": Case(
        "a prompt of 2 000 words", ("--requests", "2", "--prompt-words", "2000", "--max-tokens", "2"), (
            Figure("TTFT p50", "ttft_ms.p50", "ms", False),)),
    "streams": Case("8 streams", ("--concurrency", "8", "--requests", "24"), (
        Figure("all streams", "tokens_per_s", "tok/s", True),
        Figure("gap p50", "gap_ms.p50", "ms", False),
        Figure("TTFT p50", "ttft_ms.p50", "ms", False))),
    "prefix": Case(
        "8 clients, one cold 400-word prefix",
        ("--concurrency", "8", "--requests", "24", "--shared-prefix-words", "400"), (
            Figure("all streams", "tokens_per_s", "tok/s", True),
            Figure("TTFT p50", "ttft_ms.p50", "ms", False),
            Figure("TTFT p99", "ttft_ms.p99", "ms", False))),
    "prefixes": Case(
        "8 clients, 16 prefixes in turn",
        ("--concurrency", "8", "--requests", "48", "--shared-prefix-words", "400",
         "--prefixes", "16"), (
            Figure("all streams", "tokens_per_s", "tok/s", True),
            Figure("TTFT p99", "ttft_ms.p99", "ms", False),
            Figure("longest gap", "gap_ms.max", "ms", False))),
    "inject": Case(
        "4 streams, a 4 000-token prompt arrives",
        ("--background-streams", "4", "--inject-prompt-tokens", "4000"), (
            Figure("their longest gap", "loaded_gap_ms.max", "ms", False),
            Figure("their gap p99", "loaded_gap_ms.p99", "ms", False),
            Figure("quiet gap p99", "quiet_gap_ms.p99", "ms", False),
            Figure("the prompt's TTFT", "injected_ttft_ms", "ms", False))),
}
START = (Figure("start to ready", "ready_s", "s", False),
         Figure("start to first token", "first_token_s", "s", False))
DEFAULT_CASES = "single,streams,prefix,prefixes,inject,prefill"


def lookup(result, path):
    """The number at "a.b" of a result; None when a round did not give it."""
    for name in path.split("."):
        if not isinstance(result, dict) or name not in result:
            return None
        result = result[name]
    return result


def summary(rounds, case, figure):
    """Median, least and most per server, and the median of the ratios round by round.

    A ratio above 1 says that llorch is better, whichever way the figure counts.
    """
    columns, pairs = {server: [] for server in SERVERS}, []
    for one in rounds:
        values = [lookup(one.get(server, {}).get(case, {}), figure.path) for server in SERVERS]
        for server, value in zip(SERVERS, values):
            if value is not None:
                columns[server].append(value)
        if None not in values and all(value > 0 for value in values):
            ours, theirs = values
            pairs.append(ours / theirs if figure.more_is_better else theirs / ours)
    spread = {server: (statistics.median(column), min(column), max(column)) if column else None
              for server, column in columns.items()}
    return spread, statistics.median(pairs) if pairs else None


def show(number):
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def table(rounds, cases, other="llama-server"):
    lines = [f"| case | figure | llorch-candled | {other} | ratio |", "|---|---|---|---|---|"]
    rows = [("start", "start", figure) for figure in START] if rounds else []
    rows += [(CASES[name].title, name, figure) for name in cases for figure in CASES[name].figures]
    for title, name, figure in rows:
        spread, ratio = summary(rounds, name, figure)
        cells = []
        for server in SERVERS:
            if spread[server] is None:
                cells.append("–")
            else:
                median, least, most = (show(value) for value in spread[server])
                cells.append(f"{median} {figure.unit} ({least}–{most})")
        better = "–" if ratio is None else f"{ratio:.2f}x"
        lines.append(f"| {title} | {figure.title} | {cells[0]} | {cells[1]} | {better} |")
    return "\n".join(lines)


def failures(rounds):
    """"llama-server, inject: 2 x connection" for every kind of failed request."""
    counts = {}
    for one in rounds:
        for server, results in one.items():
            for case, result in results.items():
                for kind, count in result.get("errors", {}).items():
                    key = (server, case, kind)
                    counts[key] = counts.get(key, 0) + count
    return [f"{server}, {case}: {count} x {kind}"
            for (server, case, kind), count in sorted(counts.items())]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def is_ours(server, options):
    """Whether it is llorch-candled: with --other both are."""
    return server == "llorch" or bool(options.other)


def command_of(server, options, port, slots):
    common = ["--host", "127.0.0.1", "--port", str(port)]
    threads = str(options.threads)
    if is_ours(server, options):
        own = options.other.split() if server != "llorch" else []
        return [str(options.work / "bin/llorch-candled"), "--model", str(options.model), *common,
                "--threads", threads, "--slots", str(slots), "--ctx-tokens", str(options.ctx), *own]
    return [str(options.work / "server/bin/llama-server"), "-m", str(options.model), *common,
            "-t", threads, "-np", str(slots), "-c", str(options.ctx * slots)]


@contextlib.contextmanager
def running(server, options, log, slots):
    """Starts a server, gives its port and seconds to ready, and stops it by its own process id."""
    port = free_port()
    path = "/ready" if is_ours(server, options) else "/health"
    begin = time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen(command_of(server, options, port, slots), stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT)
    try:
        while not answers(port, path):
            if process.poll() is not None or time.monotonic() - begin > READY_LIMIT_S:
                sys.exit(f"error: {server} did not become ready\nnext: read {log}")
            time.sleep(0.005)
        ready_s = time.monotonic() - begin
        first_token(port)
        yield port, {"ready_s": ready_s, "first_token_s": time.monotonic() - begin}
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def first_token(port):
    """Returns when the first text of an answer has come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CASE_LIMIT_S)
    try:
        connection.request("POST", "/v1/completions", json.dumps(
            {"model": "default", "prompt": "Once upon a time", "max_tokens": FIRST_TOKENS,
             "stream": True}), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        while True:
            line = reply.readline()
            if not line:
                sys.exit("error: the first answer ended without text\nnext: read the server's log")
            if line.startswith(b'data: {') and json.loads(line[6:])["choices"][0].get("text"):
                return
    finally:
        connection.close()


def load(options, port, seed, flags):
    command = [str(options.work / "bin/llorch-load"), "--url", f"http://127.0.0.1:{port}",
               "--json", "--fresh", "--ignore-eos", "--seed", str(seed),
               "--limit-s", str(CASE_LIMIT_S), *flags]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=CASE_LIMIT_S + 30, check=False)
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        return {"errors": {f"client exit {done.returncode}": 1}}


@contextlib.contextmanager
def busy_program():
    """Computes for as long as a case may take, at usual priority."""
    work = f"import time\nend = time.monotonic() + {CASE_LIMIT_S}\nwhile time.monotonic() < end: pass"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.DEVNULL) as program:
        try:
            yield
        finally:
            program.kill()


def measure(options, cases):
    """rounds[i][server][case] = the load client's JSON."""
    rounds = []
    logs = options.work / "logs"
    for number in range(options.rounds):
        one = {}
        for server in SERVERS if number % 2 == 0 else reversed(SERVERS):
            log = logs / f"{server}-{number}.log"
            with running(server, options, log, options.slots) as (port, start):
                results = {"start": start}
                load(options, port, 1, ("--max-tokens", "8"))
                for index, name in enumerate(cases):
                    # A seed of its own per round and case: no server finds a prompt in its cache.
                    seed = 1000 * (number + 1) + index
                    with busy_program() if CASES[name].beside else contextlib.nullcontext():
                        results[name] = load(options, port, seed, CASES[name].flags)
                one[server] = results
            print(f"round {number + 1} of {options.rounds}: {server}", file=sys.stderr)
        rounds.append(one)
    return rounds


def post(port, path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CASE_LIMIT_S)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        reply = connection.getresponse()
        text = reply.read().decode()
        if reply.status != 200:
            sys.exit(f"error: {path}: answered {reply.status}: {text[:200]}")
        return text
    finally:
        connection.close()


def greedy_ids(ours, port, prompt, again):
    """The token ids of a greedy answer of at most GREEDY_TOKENS; `again`: the prompt is cached."""
    if ours:
        text = post(port, "/execute", {"job_id": f"greedy-{time.monotonic_ns()}", "prompt": prompt,
                                       "max_tokens": GREEDY_TOKENS, "temperature": 0})
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
        return [event["id"] for event in events if event["type"] == "token"]
    reply = json.loads(post(port, "/completion", {
        "prompt": prompt, "n_predict": GREEDY_TOKENS, "temperature": 0, "cache_prompt": again,
        "return_tokens": True}))
    return reply["tokens"][:reply["tokens_predicted"]]


def compare_answers(options):
    """How many of the prompts both answer with the same ids at one slot, and which differ: asked
    for the first time, and again. The worker computes the last token of a prompt by itself always,
    llama-server only where the others are in its cache; rounding depends on it."""
    prompts = json.loads((pathlib.Path(__file__).parent / "data/greedy_prompts.json").read_text())
    first, again = {}, {}
    for server in SERVERS:
        ours = is_ours(server, options)
        log = options.work / "logs" / f"{server}-greedy.log"
        with running(server, options, log, 1) as (port, _):
            asked = [(greedy_ids(ours, port, prompt, False), greedy_ids(ours, port, prompt, True))
                     for prompt in prompts]
        first[server], again[server] = zip(*asked)
    return (f"Greedy answers at one slot, {GREEDY_TOKENS} tokens, equal token for token: asked first "
            f"{equality_text(prompts, *first.values())}, asked again "
            f"{equality_text(prompts, *again.values())}.")


def equality_text(prompts, ours, theirs):
    differing = [repr(prompt[:40]) for prompt, a, b in zip(prompts, ours, theirs) if a != b]
    return (f"{len(prompts) - len(differing)} of {len(prompts)}" +
            (f" (not {', '.join(differing)})" if differing else ""))


def machine(options):
    cpu = platform.processor() or "unknown processor"
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break

    def revision(folder):
        done = subprocess.run(["git", "-C", folder, "rev-parse", "--short", "HEAD"],
                              capture_output=True, text=True, check=False)
        return done.stdout.strip() or "unknown"

    return (f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at start; "
            f"{options.model.name}, {options.threads} threads, {options.slots} slots of "
            f"{options.ctx} tokens; llama.cpp {revision(options.work / 'llama.cpp')}, "
            f"llorch {revision(pathlib.Path(__file__).parent)}; {options.rounds} rounds")


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=pathlib.Path, required=True, help="what compare.sh built")
    parser.add_argument("--model", type=pathlib.Path, help="a .gguf file (default: smollm2)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", default=DEFAULT_CASES, help="of " + ", ".join(CASES))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--ctx", type=int, default=6144, help="tokens per slot")
    parser.add_argument("--other", default="", metavar="FLAGS",
                        help="compare with llorch-candled FLAGS instead of llama-server")
    parser.add_argument("--out", type=pathlib.Path, help="also write the table here")
    options = parser.parse_args(arguments)
    unknown = set(options.cases.split(",")) - set(CASES)
    if unknown:
        parser.error(f"--cases: {', '.join(sorted(unknown))} is not one of {', '.join(CASES)}")
    if options.rounds < 1:
        parser.error("--rounds: want 1 or more")
    if options.model is None:
        root = pathlib.Path(os.environ.get("LLORCH_ROOT", pathlib.Path(__file__).parent.parent))
        found = sorted(root.glob(".test-models/**/SmolLM2-135M-Instruct.Q4_1.gguf"))
        if not found:
            parser.error("--model: smollm2 is not downloaded; next: llorch-pool models download "
                         "smollm2, or name a file")
        options.model = found[0]
    if not options.model.is_file():
        parser.error(f"--model: {options.model} is no file")
    return options


def main():
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped
    cases = options.cases.split(",")
    line = machine(options)
    (options.work / "logs").mkdir(exist_ok=True)
    equal = compare_answers(options)
    rounds = measure(options, cases)
    (options.work / "results.json").write_text(json.dumps({"machine": line, "rounds": rounds}))
    text = f"{line}.\n\n{table(rounds, cases, options.other or 'llama-server')}\n"
    failed = failures(rounds)
    text += "\nFailed requests: " + ("; ".join(failed) if failed else "none") + f".\n\n{equal}\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
