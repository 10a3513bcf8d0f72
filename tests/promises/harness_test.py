"""Which fake worker the promises measure: the one beside the programs, else the dev build's."""

import harness
import pytest


@pytest.fixture
def builds(tmp_path, monkeypatch):
    """builds("dev", "asan") puts a fake worker into each; the programs are those of build/bin."""
    monkeypatch.delenv("LLORCH_FAKE_WORKER", raising=False)
    monkeypatch.setenv("LLORCH_BIN_DIR", str(tmp_path / "build/bin"))
    monkeypatch.setattr(harness, "REPOSITORY", tmp_path)

    def place(*names):
        for name in names:
            program = tmp_path / "build" / name / "tests/llorch-fake-worker"
            program.parent.mkdir(parents=True, exist_ok=True)
            program.touch()
        return tmp_path / "build"
    return place


def test_never_a_sanitizers_fake_worker(builds):
    builds("asan", "tsan", "fuzz")
    with pytest.raises(harness.Missing):
        harness.fake_worker_program()


def test_the_dev_builds_fake_worker_beside_release_programs(builds):
    build = builds("asan", "dev", "tsan")
    assert harness.fake_worker_program() == build / "dev/tests/llorch-fake-worker"


def test_the_fake_worker_beside_the_programs_comes_first(builds, monkeypatch):
    build = builds("dev", "release")
    monkeypatch.setenv("LLORCH_BIN_DIR", str(build / "release/bin"))
    assert harness.fake_worker_program() == build / "release/tests/llorch-fake-worker"
