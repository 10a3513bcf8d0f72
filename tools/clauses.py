#!/usr/bin/env python3
"""Lists the clauses of docs/reference that no test names, and names that no clause has.

A clause is a line with an id in bold: **W-12**. A test names it in a comment: `clause: W-12` or
`clause: W-12, W-13`. docs/reference/waivers.txt holds the clauses that no test can show here, one a
line: the id, then the reason.
    tools/clauses.py [ROOT]     exit status 1 on a clause without test or waiver, or an unknown id
"""

import pathlib
import re
import sys

DEFINED = re.compile(r"\*\*([WPCEO]-\d+)\*\*")
NAMED = re.compile(r"clause:\s*((?:[WPCEO]-\d+)(?:[\s,]+[WPCEO]-\d+)*)")
WAIVER = re.compile(r"^([WPCEO]-\d+)\s+(\S.*)$")
TEST_FILES = ("src/**/*_test.cpp", "tests/**/*.py", "tests/**/*.cpp", "tests/**/*.mjs", "fuzz/*.cpp",
              "tools/*_test.py")


def defined_clauses(root):
    """{id: file:line}, and what is wrong with the ids themselves."""
    clauses, wrong = {}, []
    for path in sorted((root / "docs/reference").glob("*.md")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for clause in DEFINED.findall(line):
                if clause in clauses:
                    wrong.append(f"{path.name}:{number}: {clause} is defined twice")
                clauses[clause] = f"{path.name}:{number}"
    return clauses, wrong


def named_clauses(root):
    """{id: [file:line of the tests that name it]}."""
    named = {}
    for pattern in TEST_FILES:
        for path in sorted(root.glob(pattern)):
            if "node_modules" in path.parts or path.name == "clauses_test.py":
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
                for group in NAMED.findall(line):
                    for clause in re.findall(r"[WPCEO]-\d+", group):
                        named.setdefault(clause, []).append(f"{path.relative_to(root)}:{number}")
    return named


def waived_clauses(root):
    """{id: reason}, and the lines that are no waiver."""
    waived, wrong = {}, []
    path = root / "docs/reference/waivers.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = WAIVER.match(line)
        if match:
            waived[match[1]] = match[2]
        else:
            wrong.append(f"waivers.txt:{number}: want 'ID reason'")
    return waived, wrong


def problems(root):
    clauses, wrong = defined_clauses(root)
    named = named_clauses(root)
    waived, wrong_waivers = waived_clauses(root)
    yield from wrong + wrong_waivers
    for clause, places in sorted(named.items()):
        if clause not in clauses:
            yield f"{places[0]}: no clause {clause} in docs/reference"
    for clause, place in clauses.items():
        if clause not in named and clause not in waived:
            yield f"{place}: no test names {clause}"
    for clause in waived:
        if clause not in clauses:
            yield f"waivers.txt: no clause {clause} in docs/reference"
        elif clause in named:
            yield f"waivers.txt: {clause} has a test now ({named[clause][0]}): remove the waiver"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent.parent)
    root = root.resolve()
    found = list(problems(root))
    for line in found:
        print(line)
    print(f"clauses: {len(defined_clauses(root)[0])} defined, {len(waived_clauses(root)[0])} waived, "
          f"{len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
