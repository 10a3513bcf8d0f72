"""Other layouts of a model's weights: made, measured, used, left again.

A measurement over the bundled texts takes minutes: here the text is a small one, which gives no
verdict, and where a verdict is needed a stand-in for llorch-candled tells made-up figures, while
the files it writes and the worker that serves them are real.
"""

import json
import os
import shutil
import stat
import subprocess
import sys

import httpx
import pytest

from support import clean_environment, repository, write_catalog

TEXTS = [repository() / "bench/data" / name for name in ("prose.txt", "code.txt")]
STAND_IN = """#!{python}
import json, os, sys
arguments = sys.argv[1:]
if "--perplexity" not in arguments:
    os.execv({real!r}, [{real!r}, *arguments])
model = arguments[arguments.index("--model") + 1]
loss, prefill = {{"Q4_1": (3.0, 300), "Q8_0": (3.001, 600), "Q4_0": (3.05, 900)}}[model[-9:-5]]
print(json.dumps({{"tokens": 24064, "tokens_scored": 12000, "perplexity": 20, "stderr": 0.2,
                  "prefill_tokens_per_second": prefill, "decode_tokens_per_second": 100,
                  "chunk_loss": [loss * 6000, loss * 6000]}}))
"""


@pytest.fixture
def small_text(tmp_path):
    """Two chunks of 512 tokens, and a little that is left over."""
    path = tmp_path / "small.txt"
    path.write_text(TEXTS[0].read_text(encoding="utf-8")[:5000], encoding="utf-8")
    return path


@pytest.fixture
def catalog(root, model_path):
    """A root whose smollm2 is the test model, where it lies."""
    write_catalog(root / ".test-models/catalog.json", model_path)

    def entry():
        models = json.loads((root / ".test-models/catalog.json").read_text(encoding="utf-8"))["models"]
        return next(model for model in models if model["id"] == "smollm2")
    return entry


@pytest.fixture
def measured_pool(bin_dir, root, tmp_path):
    """llorch-pool beside a llorch-candled that tells made-up figures and does all else itself."""
    programs = tmp_path / "programs"
    programs.mkdir()
    shutil.copy(bin_dir / "llorch-pool", programs)
    texts = tmp_path / "share/llorch/bench"  # where an installed llorch-pool finds them
    texts.mkdir(parents=True)
    for text in TEXTS:
        shutil.copy(text, texts)
    stand_in = programs / "llorch-candled"
    stand_in.write_text(STAND_IN.format(python=sys.executable, real=str(bin_dir / "llorch-candled")),
                        encoding="utf-8")
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)

    def run_it(*arguments):
        return subprocess.run([programs / "llorch-pool", *arguments], capture_output=True, text=True,
                              check=False, timeout=120, env=clean_environment(LLORCH_ROOT=root))
    return run_it


def layouts(root):
    return sorted(path.name for path in (root / ".test-models/smollm2/optimized").glob("*.gguf*"))


# clause: W-47
def test_optimize_writes_a_whole_new_file_and_never_over_an_old_one(run, model_path, tmp_path):
    out = tmp_path / "new.gguf"
    before = model_path.stat()
    done = run("llorch-candled", "--model", model_path, "--optimize", "q8_0", "--out", out)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["type"] == "Q8_0" and report["from"] == "Q4_1" and report["out"] == str(out)
    assert report["file_bytes"] == out.stat().st_size > before.st_size
    assert [path.name for path in tmp_path.glob("new.gguf*")] == ["new.gguf"]
    assert model_path.stat().st_mtime_ns == before.st_mtime_ns
    for target in (out, model_path):
        again = run("llorch-candled", "--model", model_path, "--optimize", "q8_0", "--out", target)
        assert again.returncode == 5 and "is there already" in again.stderr
        assert "\nnext: " in again.stderr


# clause: W-47
@pytest.mark.parametrize(("arguments", "code", "says"), [
    (("--optimize", "q9_9", "--out", "x.gguf"), 2, "Q8_0"),
    (("--optimize", "q8_0"), 2, "--out"),
    (("--out", "x.gguf"), 2, "--optimize"),
    (("--optimize", "q8_0", "--out", "no/such/folder/x.gguf"), 3, "no such folder"),
])
def test_optimize_says_what_is_wrong(run, model_path, arguments, code, says):
    done = run("llorch-candled", "--model", model_path, *arguments)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ") and "\nnext: " in done.stderr and says in done.stderr


# clause: W-47
def test_optimize_needs_room_before_the_first_byte(run, model_path, tmp_path):
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("a small disk needs root to mount it")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(small)],
                             check=False, capture_output=True, timeout=20)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        done = run("llorch-candled", "--model", model_path, "--optimize", "q8_0", "--out", small / "x.gguf")
        assert done.returncode == 9 and "MiB are needed" in done.stderr
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", str(small)], check=True, timeout=20)


# clause: W-48
def test_perplexity_is_the_same_twice_and_says_what_too_few_tokens_are(run, model_path, small_text):
    reports = []
    for _ in range(2):
        done = run("llorch-candled", "--model", model_path, "--perplexity", small_text, timeout=120)
        assert done.returncode == 0, done.stderr
        assert "too few for a verdict: 20000 are needed" in done.stderr
        reports.append(json.loads(done.stdout))
    first, second = reports
    assert first["tokens"] == 512 * len(first["chunk_loss"]) >= 1024
    assert first["tokens_scored"] == 255 * len(first["chunk_loss"])
    assert 5 < first["perplexity"] < 60 and not first["enough_for_a_verdict"]
    assert (first["perplexity"], first["chunk_loss"]) == (second["perplexity"], second["chunk_loss"])
    assert first["prefill_tokens_per_second"] > 0 and first["decode_tokens_per_second"] > 0


# clause: W-48
def test_perplexity_of_a_text_shorter_than_a_chunk_is_refused(run, model_path, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("Too short to say anything.", encoding="utf-8")
    done = run("llorch-candled", "--model", model_path, "--perplexity", short)
    assert done.returncode == 2 and "one chunk has 512" in done.stderr


# clause: P-36
def test_the_bundled_texts_are_enough_for_a_verdict(api):
    tokens = [len(api.post("/tokenize", {"content": text.read_text(encoding="utf-8")}).json()["tokens"])
              for text in TEXTS]
    assert sum(count // 512 * 512 for count in tokens) >= 20_000
    assert min(tokens) >= 8_000


# clause: P-36, P-37, P-38
def test_a_small_text_measures_and_changes_nothing(run, root, catalog, small_text):
    before = catalog()
    done = run("llorch-pool", "models", "optimize", "smollm2", "--types", "q8_0", "--text", small_text,
               "--json", timeout=170)
    assert done.returncode == 0, done.stderr
    assert "too few for a verdict" in done.stderr
    report = json.loads(done.stdout)
    assert not report["verdict"] and not report["changed"]
    original, q8_0 = report["variants"]
    assert (original["type"], original["state"]) == ("Q4_1", "original in use")
    assert (q8_0["type"], q8_0["state"]) == ("Q8_0", "removed")
    assert abs(q8_0["rise_percent"]) < 3  # a finer grid than its source, over two chunks only
    for layout in (original, q8_0):
        assert layout["memory_bytes"] > layout["size_bytes"]
        assert layout["prefill_tokens_per_second"] > 0 and layout["decode_tokens_per_second"] > 0
    refused = run("llorch-pool", "models", "optimize", "smollm2", "--types", "q8_0", "--text", small_text, "--use")
    assert refused.returncode == 1 and "not changed" in refused.stderr
    assert catalog() == before and layouts(root) == []
    text = run("llorch-pool", "models", "info", "smollm2").stdout
    assert "PERPLEXITY" in text and "Q8_0" in text
    assert max(len(line) for line in text.splitlines()[-4:]) <= 80
    assert len(json.loads(run("llorch-pool", "models", "info", "smollm2", "--json").stdout)["variants"]) == 2


# clause: P-37, P-38, W-49
def test_the_best_within_the_guard_serves_and_is_named(measured_pool, root, catalog, start_worker, model_path):
    done = measured_pool("models", "optimize", "smollm2", "--use")
    assert done.returncode == 0, done.stderr
    assert "smollm2 serves as Q8_0" in done.stdout and "+0.10%" in done.stdout
    assert catalog()["quantization"] == "Q8_0" and model_path.exists()
    assert layouts(root) == ["SmolLM2-135M-Instruct.Q8_0.gguf"]
    info = json.loads(measured_pool("models", "info", "smollm2", "--json").stdout)
    assert [layout["state"] for layout in info["variants"]] == ["original", "in use", "removed"]
    assert [layout.get("within_guard") for layout in info["variants"]] == [True, True, False]
    assert measured_pool("models", "verify", "smollm2").returncode == 0

    worker = start_worker("--model", "smollm2", "--slots", 1, "--ctx-tokens", 512,
                          environment={"LLORCH_ROOT": root}).wait_ready()
    (model,) = worker.api.get("/v1/models").json()["data"]
    assert model["id"] == "smollm2" and model["meta"]["quantization"] == "Q8_0"
    assert model["meta"]["optimized"]["from"] == "Q4_1"
    assert model["meta"]["optimized"]["rise_percent"] == pytest.approx(0.1, abs=0.01)
    assert model["meta"]["optimized"]["tokens"] == 2 * 24064  # of each text
    assert worker.api.execute(prompt="Once upon a time", max_tokens=4, ignore_eos=True).end["tokens_out"] == 4
    worker.stop()

    back = measured_pool("models", "optimize", "smollm2", "--original")
    assert back.returncode == 0 and "serves as Q4_1" in back.stdout
    assert catalog()["path"] == str(model_path) and layouts(root) == []


# clause: W-49
def test_a_file_that_was_moved_away_still_says_what_it_was_made_of(run, start_worker, model_path, tmp_path):
    out = tmp_path / "elsewhere.gguf"
    assert run("llorch-candled", "--model", model_path, "--optimize", "q8_0", "--out", out).returncode == 0
    worker = start_worker("--model", out, "--slots", 1, "--ctx-tokens", 512).wait_ready()
    (model,) = httpx.get(f"{worker.api.url}/v1/models", trust_env=False).json()["data"]
    assert model["meta"]["optimized"] == {"type": "Q8_0", "from": "Q4_1"}


# clause: P-37
def test_deleting_an_optimized_model_leaves_nothing_of_ours(measured_pool, root, catalog, model_path):
    assert measured_pool("models", "optimize", "smollm2", "--use").returncode == 0
    done = measured_pool("models", "delete", "smollm2")
    assert done.returncode == 0, done.stderr
    assert model_path.exists()  # registered in place: not ours to delete
    assert not catalog()["downloaded"]
    assert not (root / ".test-models/smollm2/optimized").exists()
