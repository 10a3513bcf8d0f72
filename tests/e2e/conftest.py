"""Fixtures of the end-to-end tests: real binaries, a real model, a root of files for each test.

LLORCH_BIN_DIR names the folder of the programs (default build/bin), LLORCH_TEST_MODEL a GGUF of
SmolLM2-135M-Instruct (default: the repository's catalog, downloaded by llorch-pool when missing).
"""

import json
import os
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))

import tiny_models as makes_tiny  # noqa: E402
from fake_orchestrator import FakeOrchestrator  # noqa: E402
from support import PATIENCE, FakeWorker, Orchestrator, Worker, repository, run_program  # noqa: E402

DOWNLOAD_S = 600


def pytest_configure():
    """A run that is told to stop still ends the workers it started."""
    # A shell that starts the tests in the background has them, and all they start, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: pytest.exit("told to stop", 143))


def pytest_collection_modifyitems(items):
    """Nothing here may run without a limit of its own."""
    for item in items:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(180 * PATIENCE))


@pytest.fixture(scope="session")
def bin_dir():
    folder = pathlib.Path(os.environ.get("LLORCH_BIN_DIR") or repository() / "build/bin").resolve()
    assert (folder / "llorch-candled").exists(), f"no programs in {folder}: make build"
    return folder


def catalog_model(root):
    """The file of smollm2 in this root's catalog, or None."""
    catalog = root / ".test-models/catalog.json"
    if not catalog.exists():
        return None
    for model in json.loads(catalog.read_text(encoding="utf-8"))["models"]:
        if model["id"] == "smollm2" and model["downloaded"] and (root / model["path"]).exists():
            return root / model["path"]
    return None


@pytest.fixture(scope="session")
def model_path(bin_dir):
    if given := os.environ.get("LLORCH_TEST_MODEL"):
        return pathlib.Path(given).resolve()
    root = repository()
    if not catalog_model(root):
        done = run_program([bin_dir / "llorch-pool", "models", "download", "smollm2"], root, DOWNLOAD_S)
        assert done.returncode == 0, done.stderr
    found = catalog_model(root)
    assert found, "smollm2 is not in the catalog after its download"
    return found


@pytest.fixture(scope="session")
def tiny_models():
    """{family: its line of the manifest, and `path`}, made once into build/tiny-models."""
    assert makes_tiny.TREE.is_dir(), "no llama.cpp release: tools/setup.sh --test"
    manifest = makes_tiny.make_all(makes_tiny.FOLDER, makes_tiny.TREE)
    return {entry["name"]: entry | {"path": makes_tiny.FOLDER / entry["file"]}
            for entry in manifest["models"]}


@pytest.fixture
def root(tmp_path):
    """A pool's files of this test alone."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def run(bin_dir, root):
    """run("llorch-pool", "status", timeout=…) → a finished process."""
    def run_it(program, *arguments, timeout=60, **environment):
        return run_program([bin_dir / program, *arguments], root, timeout, **environment)
    return run_it


@pytest.fixture(scope="session")
def worker(bin_dir, model_path, tmp_path_factory):
    """The worker that most tests share: eight slots, nothing special."""
    process = Worker(bin_dir, tmp_path_factory.mktemp("worker"), "--model", model_path,
                     "--model-id", "smollm2", "--slots", 8, "--ctx-tokens", 2048)
    try:
        yield process.wait_ready()
    finally:
        process.stop()


@pytest.fixture
def api(worker):
    """The shared worker's routes; the test must leave every slot free."""
    yield worker.api
    worker.api.wait_idle()


@pytest.fixture
def start_worker(bin_dir, tmp_path):
    """start_worker("--model", path, …, environment={…}) → a Worker that this test owns."""
    running = []

    def start(*arguments, environment=None):
        process = Worker(bin_dir, tmp_path / f"worker-{len(running)}", *arguments,
                         environment=environment)
        running.append(process)
        return process
    yield start
    for process in running:
        process.stop()


@pytest.fixture
def fresh_worker(start_worker, model_path):
    """fresh_worker("--slots", 1, …) → a ready Worker with the test model, owned by this test."""
    def start(*arguments, environment=None):
        return start_worker("--model", model_path, "--model-id", "smollm2", *arguments,
                            environment=environment).wait_ready()
    return start


@pytest.fixture(scope="module")
def narrow_worker(bin_dir, model_path, tmp_path_factory):
    """One slot, one place in the queue, a context long enough for a prefill of seconds."""
    process = Worker(bin_dir, tmp_path_factory.mktemp("narrow"), "--model", model_path,
                     "--model-id", "smollm2", "--slots", 1, "--queue", 1, "--ctx-tokens", 4096)
    try:
        yield process.wait_ready()
    finally:
        process.stop()


@pytest.fixture
def narrow(narrow_worker):
    """The routes of the worker with one slot; the test must leave it free."""
    yield narrow_worker.api
    narrow_worker.api.wait_idle()


@pytest.fixture
def fake_orchestrator():
    """fake_orchestrator(port=0) → a FakeOrchestrator; several may follow one another."""
    running = []

    def start(port=0):
        running.append(FakeOrchestrator(port))
        return running[-1]
    yield start
    for orchestrator in running:
        orchestrator.stop()


@pytest.fixture
def fleet(bin_dir, tmp_path):
    """fleet(workers=2, flags=(…), step_us=…, slots=…) → an Orchestrator with `workers`, fake ones."""
    running = []

    def start(workers=1, flags=(), slots=4, step_us=2_000, environment=None, root_of=None, **more):
        """`root_of`: an orchestrator that has ended; its files and workers are taken over."""
        root = root_of.root if root_of else tmp_path / f"orchestrator-{len(running)}"
        boss = Orchestrator(bin_dir, root, *flags, environment=environment)
        running.append(boss)
        boss.root = root
        boss.workers = root_of.workers if root_of else []
        boss.wait_listening()
        for _ in range(workers):
            add(boss, slots=slots, step_us=step_us, **more)
        return boss.wait_workers(workers) if workers else boss

    def add(boss, slots=4, step_us=2_000, model="fake", **environment):
        worker = FakeWorker(bin_dir, tmp_path / f"fake-{len(running)}", "--model", "any",
                            "--model-id", model, "--orchestrator-url", boss.url,
                            environment={"LLORCH_FAKE_SLOTS": str(slots),
                                         "LLORCH_FAKE_STEP_US": str(step_us)} | environment)
        running.append(worker)
        boss.workers.append(worker.wait_ready())
        return worker

    start.add = add
    yield start
    for process in reversed(running):
        process.stop()
