#!/usr/bin/env python3
"""Fails on what the tree's rules forbid: upward and sideways includes, foreign headers outside
their one folder, files that are too long, `detached` coroutines.

The levels are those of docs/architecture.md. A file includes its own folder and lower levels only.
    tools/layers.py [ROOT]      one line per violation, exit status 1 when there is one
"""

import pathlib
import re
import sys

LEVELS = {
    "base": 0,
    "net": 1, "protocol": 1, "prompt": 1, "gguf": 1, "sys": 1, "console": 1,
    "api": 2, "engine": 2, "store": 2, "policy": 2, "pool": 2, "ssh": 2,
    "remote": 3, "orchestrator": 3, "worker": 3,
}

# Headers of other people's code that only one folder may see, so that replacing it stays local.
ONLY_IN = [
    (re.compile(r"^(llama|ggml|gguf|mtmd)[\w-]*\.h$|^(common|chat|sampling|json-schema-to-grammar)\.h$"
                r"|^nlohmann/"), "engine"),
    (re.compile(r"^sqlite3"), "store"),
    (re.compile(r"^llorch_rhai|^rhai"), "policy"),
]

LINES_MAX = {".h": 250, ".cpp": 600, ".py": 600}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
DETACHED = re.compile(r"\bdetached\b")
COMMENT = re.compile(r"//.*$")


def folder_of(path):
    """The folder of src/ a file belongs to; None outside src/."""
    return path.parts[1] if path.parts[0] == "src" and len(path.parts) > 2 else None


def include_violations(path, number, quoted, target):
    """What one include of `path` breaks."""
    folder = folder_of(path)
    for pattern, owner in ONLY_IN:
        if pattern.search(target) and folder != owner and not is_exempt(path):
            yield f"{path}:{number}: only src/{owner} includes {target}"
    top = target.split("/")[0]
    if folder is None or not quoted or top not in LEVELS or top == folder:
        return
    if LEVELS[top] >= LEVELS[folder]:
        kind = "upward" if LEVELS[top] > LEVELS[folder] else "sideways"
        yield (f"{path}:{number}: {kind} include of {target}: {folder} is level {LEVELS[folder]}, "
               f"{top} is level {LEVELS[top]}")


def is_exempt(path):
    """tests/ compares our engine with llama.cpp itself."""
    return path.parts[0] in ("tests", "bench")


def file_violations(root, path):
    lines = (root / path).read_text(encoding="utf-8").splitlines()
    limit = LINES_MAX[path.suffix]
    if len(lines) > limit:
        yield f"{path}: {len(lines)} lines, {limit} is the limit for {path.suffix}"
    if path.suffix == ".py":
        return
    folder = folder_of(path)
    if folder is not None and folder not in LEVELS:
        yield f"{path}: src/{folder} has no level"
    for number, line in enumerate(lines, 1):
        include = INCLUDE.match(line)
        if include:
            yield from include_violations(path, number, include[1] == '"', include[2])
        if DETACHED.search(COMMENT.sub("", line)):
            yield f"{path}:{number}: `detached` coroutine: spawn into a TaskGroup"


def source_files(root):
    for top in ("src", "apps", "tests", "fuzz", "bench", "tools"):
        for path in sorted((root / top).rglob("*")):
            hidden = any(part in ("node_modules", "__pycache__") for part in path.parts)
            if path.suffix in LINES_MAX and path.is_file() and not hidden:
                yield path.relative_to(root)


def violations(root):
    for path in source_files(root):
        yield from file_violations(root, path)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    found = list(violations(root.resolve()))
    for line in found:
        print(line)
    print(f"layers: {len(found)} violations in {sum(1 for _ in source_files(root.resolve()))} files")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
