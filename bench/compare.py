#!/usr/bin/env python3
"""Measures llorch-candled against llama-server in interleaved rounds and writes a Markdown table.

Each round starts one server after the other, on the same model, threads and slots, and runs every
case against each; the order alternates. Started by bench/compare.sh, which builds both.
llama-server runs each case with the flags that were best for it in a round tried before (--best),
or with its defaults. With --also another llorch-candled has a column of its own.
With --other the second server is llorch-candled, too, with those flags: what a feature is worth.
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time

from compare_table import CASES, DEFAULTS, SERVERS, best_flags, failures, table

READY_LIMIT_S = 120
STOP_LIMIT_S = 15
CASE_LIMIT_S = 300
GREEDY_TOKENS = 32
# What llama-server is tried with by --best; its default of attention is "auto", which is "on" here.
TRIED = (DEFAULTS, ("-kvu",), ("-fa", "off"), ("-kvu", "-fa", "off"), ("--cache-ram", "0"))
TRIAL_SEED = 500
RESTART_WORDS = 3990  # of one token each
WORDS = "the a of and to in is it you that he was for on are with as his they at".split()
WRITTEN = 'worker_kv_disk_writes_total{outcome="written"}'
WRITTEN_LIMIT_S = 20
FIRST_TOKENS = 4
DEFAULT_CASES = "single,streams,prefix,prefixes,inject,prefill"


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
    return server != "llama-server" or bool(options.other)


def command_of(server, options, port, slots, flags):
    common = ["--host", "127.0.0.1", "--port", str(port)]
    threads = str(options.threads)
    if is_ours(server, options):
        own = options.other.split() if server == "llama-server" else []
        program = options.also.get(server, options.work / "bin/llorch-candled")
        return [str(program), "--model", str(options.model), *common, "--threads", threads,
                "--slots", str(slots), "--ctx-tokens", str(options.ctx), *own, *flags]
    return [str(options.work / "server/bin/llama-server"), "-m", str(options.model), *common,
            "-t", threads, "-np", str(slots), "-c", str(options.ctx * slots), *flags]


@contextlib.contextmanager
def running(server, options, log, slots, flags=DEFAULTS):
    """Starts a server, gives its port, seconds to ready and process, and stops it by its own id."""
    port = free_port()
    path = "/ready" if is_ours(server, options) else "/health"
    begin = time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen(command_of(server, options, port, slots, flags),
                                   stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT)
    try:
        while not answers(port, path):
            if process.poll() is not None or time.monotonic() - begin > READY_LIMIT_S:
                sys.exit(f"error: {server} did not become ready\nnext: read {log}")
            time.sleep(0.005)
        ready_s = time.monotonic() - begin
        first_token(port)
        yield port, {"ready_s": ready_s, "first_token_s": time.monotonic() - begin}, process
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def streamed(port, fields):
    """The texts of an answer as they come; none if the request is refused."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CASE_LIMIT_S)
    try:
        connection.request("POST", "/v1/completions", json.dumps(
            {"model": "default", "stream": True, **fields}), {"Content-Type": "application/json"})
        for line in connection.getresponse():
            choices = json.loads(line[6:]).get("choices") if line.startswith(b"data: {") else []
            if choices and choices[0].get("text"):
                yield choices[0]["text"]
    finally:
        connection.close()


def first_token(port):
    """Returns when the first text of an answer has come."""
    with contextlib.closing(streamed(port, {"prompt": "Once upon a time",
                                            "max_tokens": FIRST_TOKENS})) as texts:
        if next(texts, None) is None:
            sys.exit("error: the first answer ended without text\nnext: read the server's log")


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


def run_cases(server, options, name, flags, seeds):
    """{case: the load client's JSON} of one process, which is asked each case of {case: seed}."""
    with running(server, options, options.work / "logs" / f"{name}.log", options.slots, flags) as (
            port, start, _):
        results = {"start": start}
        load(options, port, 1, ("--max-tokens", "8"))
        for case, seed in seeds.items():
            if not CASES[case].restarts:
                with busy_program() if CASES[case].beside else contextlib.nullcontext():
                    results[case] = load(options, port, seed, CASES[case].flags)
    for case, seed in seeds.items():
        if CASES[case].restarts:
            results[case] = restarted(server, options, name, flags, seed)
    return results


def restarted(server, options, name, flags, seed):
    """A prompt of 4 000 tokens is asked; the server ends by SIGKILL, starts and is asked again."""
    words = (WORDS * RESTART_WORDS)[:RESTART_WORDS]
    random.Random(seed).shuffle(words)
    asked = []
    with tempfile.TemporaryDirectory() as folder:
        if is_ours(server, options):
            flags = (*flags, "--kv-dir", f"{folder}/kv")
        for turn in ("before", "after"):
            log = options.work / "logs" / f"{name}-{turn}.log"
            with running(server, options, log, options.slots, flags) as (port, _, process):
                asked.append(ask(port, " ".join(words)))
                if turn == "before":
                    if is_ours(server, options) and not is_written(port):
                        return {"errors": {"no snapshot on disk": 1}}
                    process.kill()
                    process.wait()
    (cold_ms, cold_text), (again_ms, again_text) = asked
    if not cold_text or not again_text:
        return {"errors": {"no answer": 1}}
    return {"cold_ttft_ms": cold_ms, "ttft_ms": again_ms,
            "errors": {} if cold_text == again_text else {"another answer": 1}}


def ask(port, prompt):
    """Milliseconds to the first text of a greedy answer, and the whole of it, empty if refused."""
    begin, first_ms, text = time.monotonic(), 0, ""
    try:
        for piece in streamed(port, {"prompt": prompt, "max_tokens": GREEDY_TOKENS,
                                     "temperature": 0}):
            first_ms = first_ms or 1000 * (time.monotonic() - begin)
            text += piece
    except OSError:
        return 0, ""
    return first_ms, text


def is_written(port):
    """Waits until a snapshot is on the disk, which the worker's metrics say."""
    end = time.monotonic() + WRITTEN_LIMIT_S
    while time.monotonic() < end:
        told = get(port, "/metrics")
        if WRITTEN in told and f"{WRITTEN} 0" not in told:
            return True
        time.sleep(0.05)
    return False


def try_flags(options, cases):
    seeds = {case: TRIAL_SEED + index for index, case in enumerate(cases)
             if not CASES[case].restarts}
    trials = {}
    for number, flags in enumerate(TRIED):
        trials[flags] = run_cases("llama-server", options, f"tried-{number}", flags, seeds)
        print(f"tried: llama-server {' '.join(flags)}", file=sys.stderr)
    return best_flags(trials, cases)


def measure(options, cases):
    """rounds[i][server][case] = the load client's JSON."""
    rounds = []
    servers = (*SERVERS, *options.also)
    for number in range(options.rounds):
        one = {}
        # A seed of its own per round and case: no server finds a prompt in its cache.
        seeds = {case: 1000 * (number + 1) + index for index, case in enumerate(cases)}
        for server in servers if number % 2 == 0 else reversed(servers):
            results = {}
            wanted = options.flags if server == "llama-server" else {}
            # The start is measured with the defaults, and so they are started in any case.
            for flags in dict.fromkeys([DEFAULTS, *wanted.values()]):
                some = {case: seed for case, seed in seeds.items()
                        if wanted.get(case, DEFAULTS) == flags}
                name = "-".join([server, str(number), *flags])
                results = run_cases(server, options, name, flags, some) | results
            # Of two starts the first counts, which is that with the defaults.
            one[server] = results
            print(f"round {number + 1} of {options.rounds}: {server}", file=sys.stderr)
        rounds.append(one)
    return rounds


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CASE_LIMIT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


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
        with running(server, options, log, 1) as (port, _, _):
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
    parser.add_argument("--best", action="store_true",
                        help="try llama-server's other flags first, and use the best for each case")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=PROGRAM",
                        help="a column for this llorch-candled, too; may be given again")
    parser.add_argument("--out", type=pathlib.Path, help="also write the table here")
    options = parser.parse_args(arguments)
    unknown = set(options.cases.split(",")) - set(CASES)
    if unknown:
        parser.error(f"--cases: {', '.join(sorted(unknown))} is not one of {', '.join(CASES)}")
    if any("=" not in one for one in options.also):
        parser.error("--also: want NAME=PROGRAM")
    options.also = dict(one.split("=", 1) for one in options.also)
    for name, program in options.also.items():
        if name in SERVERS or "/" in name:
            parser.error(f"--also: {name} is no name for a column of its own")
        if not os.access(program, os.X_OK):
            parser.error(f"--also: {program} is no program")
    if options.best and options.other:
        parser.error("--best: not with --other, which leaves llama-server out")
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
    options.flags = try_flags(options, cases) if options.best else {}
    rounds = measure(options, cases)
    (options.work / "results.json").write_text(json.dumps(
        {"machine": line, "flags": options.flags, "rounds": rounds}))
    text = f"{line}.\n\n{table(rounds, cases, options)}\n"
    failed = failures(rounds)
    text += "\nFailed requests: " + ("; ".join(failed) if failed else "none") + f".\n\n{equal}\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
