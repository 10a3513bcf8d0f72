"""The table of docs/reference/errors.md says what the one table in src/base says."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent
EXIT_CODE = re.compile(r"(exit_\w+) = (\d+)")
ROW = re.compile(r'Row\{Code::\w+,\s*"(\w+)",\s*(\d+),\s*(true|false),\s*(exit_\w+)\}')
DOCUMENTED = re.compile(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (yes|no) \|", re.MULTILINE)


def test_documented_codes_match_the_source():  # clause: E-4
    exits = dict(EXIT_CODE.findall((ROOT / "src/base/result.h").read_text()))
    rows = ROW.findall((ROOT / "src/base/result.cpp").read_text())
    built = {code: (http, exits[exit_code], "yes" if retriable == "true" else "no")
             for code, http, retriable, exit_code in rows}
    documented = DOCUMENTED.findall((ROOT / "docs/reference/errors.md").read_text())
    assert len(documented) > 15
    assert built.keys() == {code for code, *_ in documented}
    for code, http, exit_code, retriable in documented:
        assert built[code] == (http, exit_code, retriable), code
