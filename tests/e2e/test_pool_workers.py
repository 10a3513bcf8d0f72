"""llorch-pool worker and backends: real worker processes, real signals.

contract: §3 worker, backends list, status, doctor, kv purge
"""

import json
import os
import re
import signal
import socket
import subprocess

import pytest

from support import clean_environment, wait_until


@pytest.fixture
def pool(run, root, model_path):
    """pool("worker", …) over a root that knows the test model; every worker is stopped at the end."""
    def run_it(*arguments, timeout=120, **environment):
        return run("llorch-pool", *arguments, timeout=timeout, **environment)
    registered = run_it("models", "register", model_path, "--as", "smollm2")
    assert registered.returncode == 0, registered.stderr
    yield run_it
    run_it("worker", "stop-all")


def worker_files(root):
    return sorted((root / ".runtime/workers").glob("*.json"))


def only_worker(root):
    (path,) = worker_files(root)
    return json.loads(path.read_text(encoding="utf-8"))


def exists(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_zombie(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def is_gone(pid):
    return not exists(pid) or is_zombie(pid)


# clause: P-20, P-22, P-24, P-25, P-26
def test_spawn_test_list_stop(pool, root):
    spawned = pool("worker", "spawn", "cpu", "--model", "smollm2", "--slots", 2)
    assert spawned.returncode == 0, spawned.stderr
    record = only_worker(root)
    assert set(record) == {"worker_id", "pid", "pid_start_time", "model", "backend", "gpu", "port",
                           "host", "spawned_at", "status", "log"}
    assert re.fullmatch(r"worker-cpu-[a-z0-9]{6}", record["worker_id"])
    assert record["port"] >= 8001 and record["status"] == "ready" and record["gpu"] is None
    with open(f"/proc/{record['pid']}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    assert int(fields[19]) == record["pid_start_time"]  # field 22 of the line
    assert int(fields[3]) == record["pid"]              # a session of its own
    assert os.readlink(f"/proc/{record['pid']}/fd/0") == "/dev/null"
    with open(f"/proc/{record['pid']}/comm", encoding="utf-8") as file:
        assert file.read().strip() == "llorch-candled"

    listed = json.loads(pool("worker", "list", "--json").stdout)["workers"]
    assert [(each["worker_id"], each["alive"]) for each in listed] == [(record["worker_id"], True)]
    assert record["worker_id"] in pool("worker", "list").stdout
    assert str(root) in pool("worker", "list").stdout

    tried = pool("worker", "test", record["worker_id"], "--prompt", "Hello", "--json")
    assert tried.returncode == 0, tried.stderr
    assert json.loads(tried.stdout)["tokens_out"] >= 1
    logs = pool("worker", "logs", record["worker_id"])
    assert logs.returncode == 0 and "listening" in logs.stdout

    busy = pool("models", "delete", "smollm2")
    assert busy.returncode == 5 and record["worker_id"] in busy.stderr

    stopped = pool("worker", "stop", record["worker_id"])
    assert stopped.returncode == 0, stopped.stderr
    assert is_gone(record["pid"]) and not worker_files(root)
    assert pool("worker", "logs", record["worker_id"], "-f").returncode == 0  # the log stays


# clause: P-27, P-29
def test_cleanup_finds_the_killed_worker_only(pool, root):
    assert pool("worker", "spawn", "cpu", "--model", "smollm2", "--slots", 1).returncode == 0
    killed = only_worker(root)
    assert pool("worker", "spawn", "cpu", "--model", "smollm2", "--slots", 1).returncode == 0
    (alive,) = [json.loads(path.read_text(encoding="utf-8")) for path in worker_files(root)
                if killed["worker_id"] not in path.name]
    assert alive["port"] != killed["port"]
    os.kill(killed["pid"], signal.SIGKILL)
    wait_until(lambda: is_gone(killed["pid"]), "the worker to die")
    assert "orphaned" in pool("worker", "list").stdout
    unreadable = root / ".runtime/workers/worker-cpu-broken.json"
    unreadable.write_text("{", encoding="utf-8")

    done = pool("worker", "cleanup")
    assert done.returncode == 0
    assert done.stdout == (f"Found orphaned worker: {killed['worker_id']}\n"
                           "Cleaned up 1 orphaned workers\n")
    assert "worker-cpu-broken" in done.stderr and unreadable.exists()
    assert exists(alive["pid"])
    assert (root / f".runtime/workers/{killed['worker_id']}.log").exists()
    unreadable.unlink()
    again = pool("worker", "cleanup")
    assert again.stdout == "Cleaned up 0 orphaned workers\n" and again.returncode == 0


# clause: P-28
def test_a_reused_pid_is_an_orphan_and_never_signalled(pool, root):
    folder = root / ".runtime/workers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "worker-cpu-aaaaaa.json").write_text(json.dumps(
        {"worker_id": "worker-cpu-aaaaaa", "pid": os.getpid(), "pid_start_time": 1}), encoding="utf-8")
    (folder / "worker-cpu-bbbbbb.json").write_text(json.dumps(
        {"worker_id": "worker-cpu-bbbbbb", "pid": os.getpid()}), encoding="utf-8")
    stopped = pool("worker", "stop", "worker-cpu-aaaaaa")
    assert stopped.returncode == 0 and "was gone" in stopped.stdout
    done = pool("worker", "cleanup")
    assert "Found orphaned worker: worker-cpu-bbbbbb\n" in done.stdout
    assert not list(folder.glob("*.json"))


# clause: P-20
def test_a_worker_that_fails_says_why_and_leaves_its_log(pool, root, tmp_path):
    # A port given and free for us, but taken before the worker binds it: here, always taken.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = pool("worker", "spawn", "cpu", "--model", "smollm2", "--port", port)
        assert done.returncode == 5 and f"port {port}" in done.stderr
    done = pool("worker", "spawn", "cpu", "--model", "smollm2", LLORCH_WORKER_THREADS="many")
    assert done.returncode == 2 and "LLORCH_WORKER_THREADS" in done.stderr
    # The token is too short for a wildcard address: only the worker itself knows this rule.
    done = pool("worker", "spawn", "cpu", "--model", "smollm2", "--host", "0.0.0.0",
                "--advertise", "localhost", LLORCH_WORKER_TOKEN="short")
    assert done.returncode == 1, done.stdout
    assert "  | error: " in done.stderr and "\nerror: worker-cpu-" in done.stderr
    assert "\nnext: " in done.stderr
    assert not worker_files(root)
    assert list((root / ".runtime/workers").glob("*.log"))


# clause: P-33, E-6
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_during_spawn_stops_the_worker(pool, root, bin_dir, number, code):
    child = subprocess.Popen([bin_dir / "llorch-pool", "worker", "spawn", "cpu", "--model", "smollm2"],
                             env=clean_environment(LLORCH_ROOT=root), text=True,
                             stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_until(lambda: worker_files(root), "the worker's file")
    worker = only_worker(root)["pid"]
    os.kill(worker, signal.SIGSTOP)  # it cannot become ready meanwhile
    child.send_signal(number)
    os.kill(worker, signal.SIGCONT)
    _, err = child.communicate(timeout=60)
    assert child.returncode == code, err
    assert "error: worker-cpu-" in err and "\nnext: " in err
    assert is_gone(worker) and not worker_files(root)


# clause: P-21
@pytest.mark.parametrize(("arguments", "code", "says"), [
    (("cpu", "--model", "smollm"), 3, "did you mean 'smollm2'"),
    (("cpu", "--model", "tinyllama"), 3, "llorch-pool models download tinyllama"),
    (("metal", "--model", "smollm2"), 1, "not available on Linux"),
    (("abacus", "--model", "smollm2"), 2, "llorch-pool backends list"),
    (("cpu", "--model", "smollm2", "--gpu", "7"), 2, "--gpu 7"),
    (("cpu",), 2, "--model"),
    (("cpu", "--model", "smollm2", "--host", "192.0.2.1"), 2, "an address of this machine"),
])
def test_spawn_refuses(pool, root, arguments, code, says):
    done = pool("worker", "spawn", *arguments)
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ") and "next: " in done.stderr
    assert says in done.stderr
    assert not worker_files(root)


# clause: P-20
def test_no_wait_returns_before_the_model_is_loaded(pool, root):
    done = pool("worker", "spawn", "cpu", "--model", "smollm2", "--no-wait")
    assert done.returncode == 0, done.stderr
    record = only_worker(root)
    assert record["status"] == "starting"
    assert "Stopped 1 workers" in pool("worker", "stop-all").stdout
    assert is_gone(record["pid"])


# clause: P-4, P-5
def test_backends_list_has_its_exact_form(pool, root):
    lines = pool("backends", "list").stdout.splitlines()
    assert lines[0] == f"Available Backends on {socket.gethostname()}"
    assert lines[1] == "=" * 36
    assert lines[2] == "✅ CPU (always available)"
    assert lines[3] == "❌ Metal (not available on Linux)"
    assert re.fullmatch(r"(✅|❌) CUDA \(.+\)", lines[4])
    printed = json.loads(pool("backends", "list", "--json").stdout)
    stored = json.loads((root / ".runtime/backends.json").read_text(encoding="utf-8"))
    assert printed == stored
    assert [(each["name"], each["priority"]) for each in printed["backends"][:3]] == [
        ("cpu", 3), ("metal", 1), ("cuda", 2)]


# clause: P-30, P-31, P-32
def test_status_doctor_and_purge(pool, root):
    status = json.loads(pool("status", "--json").stdout)
    assert status["models_downloaded"] == ["smollm2"] and status["workers"] == []
    doctor = pool("doctor", "--json")
    checks = json.loads(doctor.stdout)["checks"]
    assert doctor.returncode == (1 if any(each["state"] == "fail" for each in checks) else 0)
    assert all(each["fix"] for each in checks if each["state"] != "ok")
    cached = root / ".runtime/kv/smollm2/snapshot"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"x" * 1000)
    assert pool("kv", "purge").stdout == "Purged 1 files, 1.0 kB freed\n"
    assert not cached.exists()
    precious = root / "precious/file"
    precious.parent.mkdir()
    precious.write_bytes(b"x")
    (root / ".runtime/kv/link").symlink_to(precious.parent)
    assert json.loads(pool("kv", "purge", "--json").stdout)["files"] == 1
    assert precious.exists() and not (root / ".runtime/kv/link").is_symlink()


def test_unknown_commands_name_the_near_one(pool):
    done = pool("worker", "spwan")
    assert done.returncode == 2
    assert "did you mean 'llorch-pool worker spawn'?" in done.stderr
