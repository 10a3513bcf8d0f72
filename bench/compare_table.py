"""The cases of compare.py, and the table of what was measured."""
import dataclasses
import statistics

SERVERS = ("llorch", "llama-server")
DEFAULTS = ()  # flags of llama-server


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
    restarts: bool = False


CASES = {
    "single": Case("1 stream", ("--requests", "6", "--prompt-words", "40"), (
        Figure("decode", "stream_tokens_per_s.p50", "tok/s", True),
        Figure("TTFT p50", "ttft_ms.p50", "ms", False))),
    "edit": Case(
        "1 stream, the answer repeats the prompt",
        ("--route", "completions", "--requests", "4", "--prompt-words", "80", "--prompt-repeats", "3",
         "--max-tokens", "200"), (
            Figure("decode", "stream_tokens_per_s.p50", "tok/s", True),)),
    "restart": Case("a prompt of 4 000 tokens again, after kill -9", (), (
        Figure("TTFT", "ttft_ms", "ms", False),
        Figure("TTFT of the first time", "cold_ttft_ms", "ms", False)), restarts=True),
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
CASES |= {f"chat{clients}": Case(f"{clients} streams of chat",
                                 ("--concurrency", str(clients), "--requests", str(3 * clients)),
                                 (Figure("all streams", "tokens_per_s", "tok/s", True),))
          for clients in (1, 2, 4, 8, 16)}
START = (Figure("start to ready", "ready_s", "s", False),
         Figure("start to first token", "first_token_s", "s", False))


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
    columns, pairs = {server: [] for one in rounds for server in (*SERVERS, *one)}, []
    for one in rounds:
        values = {server: lookup(one.get(server, {}).get(case, {}), figure.path)
                  for server in columns}
        for server, value in values.items():
            if value is not None:
                columns[server].append(value)
        ours, theirs = (values[server] for server in SERVERS)
        if ours and theirs:
            pairs.append(ours / theirs if figure.more_is_better else theirs / ours)
    spread = {server: (statistics.median(column), min(column), max(column)) if column else None
              for server, column in columns.items()}
    return spread, statistics.median(pairs) if pairs else None


def show(number):
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


def table(rounds, cases, options):
    """`options`: its `other` heads the second column; `best` and each of `also` add one."""
    added = (["its flags"] if options.best else []) + list(options.also)
    head = ["case", "figure", "llorch-candled", options.other or "llama-server", "ratio", *added]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    rows = [("start", "start", figure) for figure in START] if rounds else []
    rows += [(CASES[name].title, name, figure) for name in cases for figure in CASES[name].figures]
    for title, name, figure in rows:
        spread, ratio = summary(rounds, name, figure)
        shown = {server: cell(spread.get(server), figure.unit)
                 for server in (*SERVERS, *options.also)}
        ours, theirs = (shown.pop(server) for server in SERVERS)
        cells = [title, figure.title, ours, theirs, "–" if ratio is None else f"{ratio:.2f}x"]
        if options.best:
            cells.append(" ".join(options.flags.get(name, DEFAULTS)) or "defaults")
        lines.append(f"| {' | '.join([*cells, *shown.values()])} |")
    return "\n".join(lines)


def cell(spread, unit):
    if spread is None:
        return "–"
    median, least, most = (show(value) for value in spread)
    return f"{median} {unit} ({least}–{most})"


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


def best_flags(trials, cases):
    """{case: those tried with the best first figure}. trials[flags][case]: the client's JSON."""
    best = {}
    for case in (case for case in cases if not CASES[case].restarts):
        figure = CASES[case].figures[0]
        told = [(value, flags) for flags, results in trials.items()
                if not results[case].get("errors")
                and (value := lookup(results[case], figure.path))]
        if told:
            best[case] = (max if figure.more_is_better else min)(told, key=lambda one: one[0])[1]
    return best
