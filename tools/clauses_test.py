"""tools/clauses.py sees a clause without a test, an unknown id and a stale waiver."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import clauses  # noqa: E402


def tree(root, reference, test="", waivers=""):
    for path, text in (("docs/reference/worker.md", reference),
                       ("docs/reference/waivers.txt", waivers),
                       ("src/net/a_test.cpp", test)):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return list(clauses.problems(root))


def test_a_clause_named_by_a_test_is_fine(tmp_path):
    assert tree(tmp_path, "**W-1** one\n**W-2** two\n", "// clause: W-1, W-2\n") == []


def test_a_clause_without_test_is_reported(tmp_path):
    assert tree(tmp_path, "**W-1** one\n") == ["worker.md:1: no test names W-1"]


def test_a_waiver_with_a_reason_excuses_a_clause(tmp_path):
    assert tree(tmp_path, "**W-1** one\n", waivers="# why\nW-1 needs a GPU\n") == []


def test_a_waiver_without_a_reason_does_not(tmp_path):
    assert tree(tmp_path, "**W-1** one\n", waivers="W-1\n") == [
        "waivers.txt:1: want 'ID reason'", "worker.md:1: no test names W-1"]


def test_an_unknown_id_is_reported(tmp_path):
    assert tree(tmp_path, "**W-1** one\n", "// clause: W-1\n// clause: W-9\n") == [
        "src/net/a_test.cpp:2: no clause W-9 in docs/reference"]


def test_a_waiver_of_a_tested_clause_is_stale(tmp_path):
    assert tree(tmp_path, "**W-1** one\n", "// clause: W-1\n", "W-1 needs a GPU\n") == [
        "waivers.txt: W-1 has a test now (src/net/a_test.cpp:1): remove the waiver"]


def test_an_id_defined_twice_is_reported(tmp_path):
    assert tree(tmp_path, "**W-1** a\n**W-1** b\n", "// clause: W-1\n") == [
        "worker.md:2: W-1 is defined twice"]
