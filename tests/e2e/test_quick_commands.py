"""The commands users type first, typed literally into a shell."""

import os
import re
import signal
import socket
import subprocess

import pytest

from support import clean_environment, wait_until, write_catalog

PORT = 8080


def taken(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


class Shell:
    """bash with the programs on its PATH and a root that holds smollm2."""

    def __init__(self, bin_dir, root):
        self.environment = clean_environment(LLORCH_ROOT=root, PATH=f"{bin_dir}:{os.environ['PATH']}")
        self.root = root

    def __call__(self, line, timeout=60):
        return subprocess.run(["bash", "-c", line], env=self.environment, stdin=subprocess.DEVNULL,
                              timeout=timeout, capture_output=True, text=True, cwd=self.root)

    def start(self, line):
        return subprocess.Popen(["bash", "-c", f"exec {line}"], env=self.environment, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=self.root,
                                stderr=subprocess.PIPE)

    def workers(self):
        return sorted((self.root / ".runtime/workers").glob("worker-*.json"))


@pytest.fixture(scope="module")
def shell(bin_dir, model_path, tmp_path_factory):
    """A shell beside a worker that was spawned with the documented command."""
    if taken(PORT):
        pytest.skip(f"port {PORT} is in use on this machine, and these commands name it")
    root = tmp_path_factory.mktemp("quick")
    write_catalog(root / ".test-models/catalog.json", model_path)
    made = Shell(bin_dir, root)
    try:
        spawned = made("llorch-pool worker spawn cpu --model smollm2 --port 8080", 120)
        assert spawned.returncode == 0, spawned.stdout + spawned.stderr
        yield made
    finally:
        made("llorch-pool worker stop-all", 60)


# clause: C-4, C-6
def test_infer_streams_an_answer(shell):
    done = shell('llorch infer --worker localhost:8080 --prompt "Hello" --max-tokens 20')
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert re.search(r"job_id: \S+", done.stderr.splitlines()[0])
    assert re.search(r"\b\d+ tokens?\b", done.stderr) and "tok/s" in done.stderr


# clause: P-7
def test_models_catalog_lists_smollm2(shell):
    done = shell("llorch-pool models catalog")
    assert done.returncode == 0
    assert "smollm2" in done.stdout and "tinyllama" in done.stdout
    assert str(shell.root) in done.stdout, "lists print their root"


# clause: P-24, P-23
def test_worker_list_shows_the_worker(shell):
    (file,) = shell.workers()
    done = shell("llorch-pool worker list")
    assert done.returncode == 0
    assert file.stem in done.stdout and "8080" in done.stdout and "smollm2" in done.stdout


# clause: W-12, C-6
def test_a_job_in_the_background_is_cancelled_with_curl(shell):
    job = shell.start('llorch infer --worker localhost:8080 --prompt "Tell me a story" --max-tokens 1000')
    try:
        job_id = re.search(r"job_id: (\S+)", job.stderr.readline())[1]
        assert job.stdout.read(1), "the answer has begun"
        done = shell("curl -sS -X POST http://localhost:8080/cancel -d '{\"job_id\":\"%s\"}'" % job_id)
        assert done.returncode == 0 and '"status":"cancelled"' in done.stdout.replace(" ", "")
        job.communicate(timeout=20)
        assert job.returncode != 0, "someone else ended it"
    finally:
        job.kill()
        job.wait(10)


# clause: P-4
def test_backends_list_has_the_exact_format(shell):
    done = shell("llorch-pool backends list")
    assert done.returncode == 0
    heading, line, *rows = done.stdout.splitlines()
    assert heading == f"Available Backends on {socket.gethostname()}"
    assert line == "=" * 36
    assert re.fullmatch(r"✅ CPU \(always available\)", rows[0])
    assert re.fullmatch(r"[✅❌] Metal \((Apple GPU|no Metal device found|not available on Linux)\)", rows[1])
    assert re.fullmatch(r"[✅❌] CUDA \(.+\)", rows[2])


# clause: P-27, P-28
def test_a_killed_worker_is_found_and_cleaned_up(shell):
    """The last of this file: it takes the worker away."""
    (file,) = shell.workers()
    listed = shell("llorch-pool worker list --json")
    pid = int(re.search(r'"pid":\s*(\d+)', file.read_text())[1])
    assert file.stem in listed.stdout
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}")
               or open(f"/proc/{pid}/stat", encoding="utf-8").read().rsplit(")", 1)[1].split()[0] == "Z",
               "the worker is gone")
    done = shell("llorch-pool worker cleanup")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [f"Found orphaned worker: {file.stem}",
                                        "Cleaned up 1 orphaned workers"]
    assert shell.workers() == []
    again = shell("llorch-pool worker cleanup")
    assert again.stdout.splitlines() == ["Cleaned up 0 orphaned workers"] and again.returncode == 0
