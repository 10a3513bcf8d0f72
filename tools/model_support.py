#!/usr/bin/env python3
"""Writes MODEL_SUPPORT.md from what .docs/testing/test_all_models.sh --json FILE found:
    tools/model_support.py [docs/model_support.json] > MODEL_SUPPORT.md
"""

import json
import pathlib
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent
FOUND = REPO / "docs/model_support.json"


def listed(names):
    return ", ".join(dict.fromkeys(f"`{name}`" for name in names)) or "none"


def summary(rows):
    """The first lines: what ran on real weights and what did not."""
    real = [row for row in rows if row["weights"] == "real"]
    tried = {row["model"] for row in real if row["outcome"] != "skipped"}
    passed = [row["model"] for row in rows if row["weights"] == "tiny" and row["outcome"] == "passed"]
    yield f"Run on real weights: {listed(row['model'] for row in real if row['model'] in tried)}."
    yield f"Not run on real weights: {listed(row['model'] for row in real if row['model'] not in tried)}."
    yield f"Run on a tiny model with random weights: {listed(passed)}."


def cell(value, form):
    return "–" if value is None else form.format(value)


def table(rows):
    yield "| model | backend | weights | architecture | result | load ms | tok/s | memory MB |"
    yield "|---|---|---|---|---|---:|---:|---:|"
    for row in rows:
        memory = row["memory_bytes"] / 1e6 if row["memory_bytes"] is not None else None
        result = row["outcome"] if row["reason"] is None else f"{row['outcome']}: {row['reason']}"
        weights = row["weights"] if row["stands_for"] is None else f"tiny, as {row['stands_for']}"
        yield (f"| {row['model']} | {row['backend']} | {weights}, {row['quantization']} | {row['architecture']} "
               f"| {result.replace('|', chr(92) + '|')} | {cell(row['load_ms'], '{}')} "
               f"| {cell(row['tokens_per_second'], '{:.1f}')} | {cell(memory, '{:.0f}')} |")


def document(found):
    host, rows = found["host"], found["rows"]
    counts = {kind: sum(row["outcome"] == kind for row in rows) for kind in ("passed", "failed", "skipped")}
    devices = [f"{backend['name']} ({', '.join(backend['devices']) or backend['reason']})"
               for backend in host["backends"] if backend["available"]]
    absent = [f"{backend['name']} ({backend['reason']})" for backend in host["backends"] if not backend["available"]]
    lines = [
        "# Models and backends", "", *summary(rows), "",
        "A tiny model has the architecture, control tokens and chat template of a real one and a few MB of",
        "random weights: it shows that files of that form load and run right, not what the real model says,",
        "how fast it is or how much memory it takes. Its tokenizer is the real one too, but for",
        "`tiny-mistral`, which has Llama 2's (the same kind, size and control tokens).", "",
        *table(rows), "",
        " · ".join(f"{kind.capitalize()}: {count}" for kind, count in counts.items()), "",
        "Passed: two runs of 10 tokens (`ignore_eos`, temperature 0, seed 42) gave 10 token events each, valid",
        "UTF-8 and the same ids; the file had its sha256; a tiny model took a chat as real Jinja renders it",
        "from the family's published template. Load: `worker spawn` until it is ready. Memory: the most the",
        "process held (on a GPU: what the worker asked of it). One run on a machine with other work: figures to compare rows by, not a benchmark.", "",
        f"Host: {host['system']}, {host['cores']} cores, {host['threads']} compute thread(s) a worker; "
        f"{host['version']}. Backends: {'; '.join(devices)}."
        + (f" Not here: {'; '.join(absent)}." if absent else ""), "",
        "Made by `make models` and `tools/model_support.py` from [its figures](docs/model_support.json); not",
        "edited by hand. To make it again on your machine:", "",
        "```sh",
        ".docs/testing/test_all_models.sh --json docs/model_support.json",
        "python3 tools/model_support.py > MODEL_SUPPORT.md",
        "```"]
    return "\n".join(lines) + "\n"


def main():
    path = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FOUND
    sys.stdout.write(document(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
