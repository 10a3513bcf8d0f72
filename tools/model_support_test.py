"""MODEL_SUPPORT.md and the rule of its exit status."""
import json
import pathlib
import sys

import pytest

TOOLS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(TOOLS))
import model_matrix  # noqa: E402
import model_support  # noqa: E402

FOUND = json.loads(model_support.FOUND.read_text(encoding="utf-8"))


def test_the_document_is_what_its_figures_make():
    assert (TOOLS.parent / "MODEL_SUPPORT.md").read_text(encoding="utf-8") == model_support.document(FOUND)


def test_its_first_lines_say_what_ran_on_real_weights():
    lines = model_support.document(FOUND).splitlines()[2:5]
    real = {row["model"] for row in FOUND["rows"] if row["weights"] == "real" and row["outcome"] == "passed"}
    missing = {row["model"] for row in FOUND["rows"] if row["weights"] == "real"} - real
    assert real and all(f"`{name}`" in lines[0] for name in real)
    assert all(f"`{name}`" in lines[1] for name in missing)


def test_it_names_nothing_of_the_machine_it_was_made_on():
    assert "/home" not in json.dumps(FOUND) and "/root" not in json.dumps(FOUND) and "/tmp" not in json.dumps(FOUND)


def row(weights, architecture, outcome):
    return model_matrix.Row("m", "cpu", weights, architecture, "F16", outcome=outcome)


PASSED = row("tiny", "llama", "passed")


# clause: P-35
@pytest.mark.parametrize("name,rows,failed", [
    ("passed", [PASSED], False),
    ("nothing at all", [], True),
    ("nothing passed", [row("real", "llama", "skipped")], True),
    ("some not to be had", [PASSED, row("real", "phi3", "skipped")], False),
    ("a downloaded model failed", [PASSED, row("real", "other", "failed")], True),
    ("a tiny one of a catalog architecture failed", [PASSED, row("tiny", "phi3", "failed")], True),
    ("a tiny one of another architecture failed", [PASSED, row("tiny", "gemma4", "failed")], False),
])
def test_the_run_fails_by_its_rule(name, rows, failed):
    assert model_matrix.fails(rows, {"llama", "qwen2", "phi3"}) == failed, name


@pytest.mark.parametrize("said,shown", [
    ("error: https://hub.example: Could not resolve host: hub.example\nnext: x\n",
     "https://hub.example: Could not resolve host: hub.example"),
    ("error: model file /srv/models/a.gguf: it is cut\n", "model file a.gguf: it is cut"),
    ("something else\n", "something else"), ("", "exit status 1")])
def test_a_reason_names_no_folder(said, shown):
    done = model_matrix.subprocess.CompletedProcess([], 1, "", said)
    assert model_matrix.why(done) == shown
