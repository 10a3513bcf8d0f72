"""tools/layers.py catches each planted violation and nothing else."""

import pathlib
import subprocess
import sys

import pytest

TOOLS = pathlib.Path(__file__).parent
sys.path.insert(0, str(TOOLS))
import layers  # noqa: E402


def found_in(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return list(layers.violations(root))


PLANTED = {
    "upward include": ("src/base/a.h", '#include "net/server.h"\n', "upward"),
    "sideways include": ("src/net/a.cpp", '#include "protocol/job.h"\n', "sideways"),
    "upward include of a test": ("src/net/a_test.cpp", '#include "worker/worker.h"\n', "upward"),
    "sideways include of a test": ("src/net/a_test.cpp", '#include "sys/fs.h"\n', "sideways"),
    "llama.h outside engine": ("src/worker/a.cpp", "#include <llama.h>\n", "only src/engine"),
    "common.h outside engine": ("src/pool/a.cpp", '#include "common.h"\n', "only src/engine"),
    "ggml outside engine": ("apps/a.cpp", "#include <ggml-cpu.h>\n", "only src/engine"),
    "sqlite outside store": ("src/pool/a.cpp", "#include <sqlite3.h>\n", "only src/store"),
    "shim outside policy": ("src/worker/a.cpp", '#include "llorch_rhai.h"\n', "only src/policy"),
    "detached": ("src/net/a.cpp", "co_spawn(io, f(), detached);\n", "detached"),
    "folder without a level": ("src/misc/a.h", "int a;\n", "no level"),
    "long header": ("src/base/a.h", "int a;\n" * 251, "250 is the limit"),
    "long source": ("src/base/a.cpp", "int a;\n" * 601, "600 is the limit"),
    "long python test": ("tests/e2e/test_a.py", "a = 1\n" * 601, "600 is the limit"),
}

ALLOWED = {
    "downward include": ("src/worker/a.cpp", '#include "net/server.h"\n'),
    "own folder": ("src/net/a.cpp", '#include "net/server.h"\n'),
    "llama.h in engine": ("src/engine/a.cpp", "#include <llama.h>\n"),
    "an app includes anything of ours": ("apps/a.cpp", '#include "worker/worker.h"\n'),
    "the word in a comment": ("src/net/a.cpp", "// never detached\n"),
    "longest header": ("src/base/a.h", "int a;\n" * 250),
}


@pytest.mark.parametrize("name", PLANTED)
def test_reports_a_planted_violation(tmp_path, name):
    path, text, want = PLANTED[name]
    lines = found_in(tmp_path, path, text)
    assert len(lines) == 1 and want in lines[0], lines


@pytest.mark.parametrize("name", ALLOWED)
def test_accepts_what_the_rules_allow(tmp_path, name):
    assert found_in(tmp_path, *ALLOWED[name]) == []


def test_exits_1_when_something_is_wrong(tmp_path):
    found_in(tmp_path, "src/base/a.h", '#include "net/server.h"\n')
    run = subprocess.run([sys.executable, TOOLS / "layers.py", tmp_path], capture_output=True,
                         text=True, timeout=60)
    assert run.returncode == 1 and "src/base/a.h:1: upward" in run.stdout
