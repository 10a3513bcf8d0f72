"""Memory as it is reckoned before a model is loaded, against what the process then takes.

Measured is the peak of the resident set (VmHWM) after every slot has worked on a long prompt: the
weights count whether they are mapped or copied. Linux only.
"""

import json
import pathlib
import sys

import pytest

import tiny_models as makes_tiny
from support import all_at_once, long_text, wait_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
TOLERANCE = 0.10


@pytest.fixture(scope="module", params=["Q4_1", "Q8_0", "Q4_0"])
def layout(request, bin_dir, model_path, tmp_path_factory):
    """The test model in one of its layouts."""
    if request.param == "Q4_1":
        return model_path
    from support import run_program
    folder = tmp_path_factory.mktemp("layout")
    out = folder / f"SmolLM2-135M-Instruct.{request.param}.gguf"
    done = run_program([bin_dir / "llorch-candled", "--model", model_path, "--optimize", request.param,
                        "--out", out], folder, 120)
    assert done.returncode == 0, done.stderr
    return out


def peak_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def compare_with_peak(worker, told_bytes):
    """The pages of empty cells are made in the background, all of them: nobody else may count on them."""
    wait_until(lambda: told_bytes == pytest.approx(peak_bytes(worker.process.pid), rel=TOLERANCE),
               f"{told_bytes} bytes are taken")


def work_all_slots(worker, slots, ctx_tokens):
    """Fills the largest batch and leaves something in every slot."""
    words = min(ctx_tokens // 2, 700)
    all_at_once([lambda i=i: worker.api.execute(prompt=long_text(words, f"{i} "), max_tokens=4)
                 for i in range(slots)])


# clause: W-50
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("slots", "ctx_tokens"), [(1, 512), (4, 2048)])
def test_memory_bytes_is_the_measured_peak(start_worker, layout, slots, ctx_tokens):
    worker = start_worker("--model", layout, "--slots", slots, "--ctx-tokens", ctx_tokens).wait_ready()
    work_all_slots(worker, slots, ctx_tokens)
    compare_with_peak(worker, worker.api.health()["memory_bytes"])


def compare_estimate(run, start_worker, model, context_tokens):
    assert run("llorch-pool", "models", "register", model, "--as", "m").returncode == 0
    memory = json.loads(run("llorch-pool", "models", "info", "m", "--json").stdout)["memory"]
    assert memory["context_tokens"] == context_tokens
    worker = start_worker("--model", model, "--slots", 1, "--ctx-tokens", context_tokens).wait_ready()
    work_all_slots(worker, 1, context_tokens)
    compare_with_peak(worker, memory["total_bytes"])


# clause: W-50
def test_the_pages_of_empty_cells_come_slowly_while_a_job_runs(start_worker, model_path):
    """They took the lock of the process's memory from it, and it the processor from them."""
    worker = start_worker("--model", model_path, "--slots", 8, "--ctx-tokens", 8192).wait_ready()
    told_bytes = worker.api.health()["memory_bytes"]
    with worker.api.open(prompt="Once", max_tokens=250, ignore_eos=True) as job:
        job.until("token")
        before = peak_bytes(worker.process.pid)
        for _ in range(200):
            job.until("token")
        assert peak_bytes(worker.process.pid) - before < told_bytes / 10
        assert before < told_bytes / 2  # else there was little left to come
    compare_with_peak(worker, told_bytes)


# clause: P-41
@pytest.mark.timeout(300)
def test_the_estimate_from_the_header_is_the_measured_peak(run, start_worker, root, layout):
    compare_estimate(run, start_worker, layout, 4096)


# clause: P-41
@pytest.mark.parametrize("family", [family.name for family in makes_tiny.FAMILIES])
def test_the_estimate_holds_for_each_architecture(run, start_worker, root, tiny_models, family):
    compare_estimate(run, start_worker, tiny_models[family]["path"], 2048)
