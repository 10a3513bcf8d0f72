"""`llorch pool … --host H` over a real sshd on loopback, whose pool has a root of its own.

contract: §4 llorch pool, llorch host
"""

import json
import os
import pathlib
import pty
import re
import signal
import subprocess

import pytest

from ssh_server import SSHD, SshServer, account
from support import PATIENCE, clean_environment, run_program, wait_until

pytestmark = pytest.mark.skipif(not SSHD, reason="no sshd: tools/setup.sh --test")


@pytest.fixture(scope="module")
def server(bin_dir, model_path, tmp_path_factory):
    """sshd, and the pools of llorch.toml: `pool` with a model, `other` without, `echo`, `bare`, `absent`."""
    server = SshServer()
    try:
        server.root = tmp_path_factory.mktemp("there")
        server.other_root = tmp_path_factory.mktemp("other there")
        echo = server.folder / "echo pool"
        echo.write_text('#!/bin/sh\n[ "$1" != fail ] || exit 200\nprintf "%s\\0" "$LLORCH_ROOT" "$@"\n')
        echo.chmod(0o755)
        command = bin_dir / "llorch-pool"
        server.write_pools(
            pool={"host": "pool", "user": account(), "root": server.root, "command": command},
            other={"host": "pool", "root": server.other_root, "command": command},
            echo={"host": "pool", "root": "~/it's here", "command": echo},
            bare={"host": "pool", "root": server.other_root},
            absent={"host": "pool", "command": "/nowhere/llorch-pool"})
        done = run_program([command, "models", "register", model_path, "--as", "smollm2"], server.root)
        assert done.returncode == 0, done.stderr
        yield server
        run_program([command, "worker", "stop-all"], server.root)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def llorch(bin_dir, server, tmp_path_factory):
    """llorch("pool", "worker", …) → a finished process, on a machine whose own root is empty."""
    root = tmp_path_factory.mktemp("here")

    def run_it(*arguments, timeout=120, **environment):
        return run_program([bin_dir / "llorch", *arguments], root, timeout,
                           **(server.environment | environment))
    return run_it


@pytest.fixture(scope="module")
def worker_id(llorch):
    """A worker that was spawned from here."""
    done = llorch("pool", "worker", "spawn", "cpu", "--host", "pool", "--model", "smollm2", "--slots", 1)
    assert done.returncode == 0, done.stderr
    assert "--listen" in done.stderr
    return re.match(r"(worker-cpu-[a-z0-9]{6}) is ready", done.stdout)[1]


# clause: C-12
def test_the_commands_of_a_day_work_as_they_do_there(llorch, server, worker_id):
    listed = llorch("pool", "--host", "pool", "worker", "list")
    assert listed.returncode == 0 and worker_id in listed.stdout and str(server.root) in listed.stdout
    catalog = llorch("pool", "models", "catalog", "--json", "--host", "pool")
    models = {each["id"]: each["downloaded"] for each in json.loads(catalog.stdout)["models"]}
    assert catalog.returncode == 0 and models["smollm2"] and not models["mistral"]
    backends = llorch("pool", "backends", "list", "--host=pool")
    assert backends.returncode == 0 and "Available Backends" in backends.stdout
    status = json.loads(llorch("pool", "status", "--json", "--host", "pool").stdout)
    assert [each["worker_id"] for each in status["workers"]] == [worker_id]
    assert json.loads(llorch("pool", "doctor", "--json", "--host", "pool").stdout)["checks"]


# clause: C-12
def test_cleanup_and_exit_codes_are_those_of_the_host(llorch, bin_dir, server):
    orphan = server.root / ".runtime/workers/worker-cpu-0rphan.json"
    orphan.parent.mkdir(parents=True, exist_ok=True)
    orphan.write_text(json.dumps({
        "worker_id": "worker-cpu-0rphan", "pid": 2 ** 22 + 1, "pid_start_time": 1, "model": "smollm2",
        "backend": "cpu", "gpu": None, "port": 1, "host": "127.0.0.1", "status": "ready", "log": "",
        "spawned_at": "2030-01-01T00:00:00.000Z"}))
    done = llorch("pool", "worker", "cleanup", "--host", "pool")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("Found orphaned worker: worker-cpu-0rphan\n"
                           "Cleaned up 1 orphaned workers\n")
    for words in (["worker", "stop", "worker-cpu-none"], ["models", "info", "none"],
                  ["worker", "spawn", "cpu"], ["worker", "spwan"],
                  ["worker", "spawn", "cuda", "--model", "smollm2"]):
        here = run_program([bin_dir / "llorch-pool", *words], server.root)
        there = llorch("pool", *words, "--host", "pool")
        assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
        assert there.returncode not in (0, 255)


# clause: C-12
def test_without_a_host_it_is_this_machine(llorch, bin_dir, tmp_path):
    done = run_program([bin_dir / "llorch", "pool", "models", "catalog", "--json"], tmp_path)
    assert json.loads(done.stdout)["root"] == str(tmp_path)
    assert llorch("pool", "worker", "stop", "none").returncode == 3


HOSTILE = ["", " ", "; rm -rf /", "$(touch {out})", "`touch {out}`", "a\nb", "'", '"', "\\", "\\'", "!x", "-n",
           "--", "*", "~", "&& touch {out}", "> {out}", "ünï ☃", "x" * 5000]


# clause: C-18
def test_hostile_arguments_arrive_unharmed(llorch, server, tmp_path):
    out = tmp_path / "out"
    words = [word.format(out=out) for word in HOSTILE]
    done = llorch("pool", "--host", "echo", "worker", "test", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\0") == [f"{server.home}/it's here", "worker", "test", *words, ""]
    assert not out.exists()
    assert llorch("pool", "--host", "echo", "worker", "x" * 100_000).returncode == 1


BAD_HOSTS = ["-oProxyCommand=touch {out}", "a@-oProxyCommand=touch {out}", "$(touch {out})", "h;touch {out}", "a b",
             "a\nb", "h|x", "../x", "pool:22", "x" * 300, "{out}"]


# clause: C-18
@pytest.mark.parametrize("host", BAD_HOSTS)
def test_hostile_hosts_are_refused(llorch, server, tmp_path, host):
    out = tmp_path / "out"
    before = server.connections()
    done = llorch("pool", "status", "--host", host.format(out=out))
    assert done.returncode == 2 and done.stdout == "", done.stderr
    assert done.stderr.startswith("error: ") and "next: " in done.stderr
    assert not out.exists() and server.connections() == before


FAILURES = [("stranger", 4, "key is not known", "ssh stranger"),
            ("impostor", 4, "another machine", "ssh-keygen -R"),
            ("nokey", 4, "keys", "ssh-copy-id nokey"),
            ("closed", 6, "no ssh server listens", "Port"),
            ("nowhere", 6, "no such name", "HostName"),
            ("silent", 7, "does not answer", "ssh -v silent"),
            ("absent", 3, "/nowhere/llorch-pool is not there", "llorch pool install")]


# clause: C-19, E-7
@pytest.mark.parametrize("host,code,why,following", FAILURES, ids=[row[0] for row in FAILURES])
def test_why_a_host_cannot_be_used_is_said(llorch, server, host, code, why, following):
    server.close_shared_connections()  # one of the same machine and user would serve every alias
    done = llorch("pool", "worker", "list", "--host", host)
    assert done.returncode == code and done.stdout == "", done.stderr
    error, then = done.stderr.strip().splitlines()
    assert error.startswith("error: host ") and why in error
    assert then.startswith("next: ") and following in then


# clause: C-16
def test_two_commands_share_one_connection(llorch, server):
    server.close_shared_connections()
    before = server.connections()
    for _ in range(2):
        assert llorch("pool", "status", "--host", "pool").returncode == 0
    assert server.connections() == before + 1


# clause: C-16
def test_a_jump_host_of_the_configuration_is_used(llorch, server):
    server.close_shared_connections()
    before = server.connections()
    done = llorch("pool", "worker", "list", "--host", "jumped")
    assert done.returncode in (0, 3), done.stderr  # 3: llorch-pool is in none of the usual places
    assert server.connections() == before + 2


# clause: C-12
def test_what_the_command_itself_ends_with_is_kept(llorch):
    assert llorch("pool", "--host", "echo", "worker").returncode == 0
    known = llorch("pool", "--host", "echo", "kv")
    assert known.stdout.split("\0")[1:] == ["kv", ""]


def followers(worker_id):
    """Pids of `llorch-pool worker logs ID -f`, as the host runs it."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"/llorch-pool") and worker_id.encode() in words and b"-f" in words:
            found.append(int(path.parent.name))
    return found


def wait_followed(worker_id, wanted):
    wait_until(lambda: bool(followers(worker_id)) == wanted, f"followed there: {wanted}", 30)


# clause: C-17
@pytest.mark.parametrize("shared", [False, True], ids=["own connection", "shared connection"])
@pytest.mark.parametrize("number,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_ends_both_sides(bin_dir, server, worker_id, number, code, shared):
    if not shared:
        server.close_shared_connections()
    process = subprocess.Popen(
        [bin_dir / "llorch", "pool", "worker", "logs", worker_id, "-f", "--host", "pool"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=clean_environment(**server.environment))
    try:
        while b"listening" not in process.stdout.readline():
            assert process.poll() is None, process.stderr.read()
        assert followers(worker_id)
        process.send_signal(number)
        assert process.wait(20 * PATIENCE) == code
        wait_followed(worker_id, False)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


# clause: C-17
@pytest.mark.parametrize("shared", [False, True], ids=["own connection", "shared connection"])
def test_ctrl_c_on_a_terminal_ends_both_sides(bin_dir, server, worker_id, shared):
    if not shared:
        server.close_shared_connections()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(bin_dir / "llorch", ["llorch", "pool", "worker", "logs", worker_id, "-f", "--host", "pool"],
                  clean_environment(**server.environment))
    try:
        wait_followed(worker_id, True)
        shown = os.read(terminal, 65536)
        os.write(terminal, b"\x03")
        assert shown
        wait_followed(worker_id, False)

        def ended():
            done, status = os.waitpid(pid, os.WNOHANG)
            return [status] if done else None
        assert os.waitstatus_to_exitcode(wait_until(ended, "llorch ends", 20)[0]) == 130
    finally:
        os.close(terminal)


# clause: C-17
def test_a_spawned_worker_outlives_the_connection(llorch, server, worker_id):
    server.close_shared_connections()
    listed = json.loads(llorch("pool", "worker", "list", "--json", "--host", "pool").stdout)["workers"]
    assert [(each["worker_id"], each["alive"]) for each in listed] == [(worker_id, True)]


# clause: C-13
def test_listen_is_the_address_there(llorch):
    done = llorch("pool", "worker", "spawn", "cpu", "--host", "pool", "--model", "smollm2", "--listen", "192.0.2.1")
    assert done.returncode == 2 and "192.0.2.1" in done.stderr  # no address of that machine


# clause: C-13
def test_the_help_of_spawn_names_listen(llorch):
    for where in ([], ["--host", "pool"]):
        done = llorch("pool", "worker", "spawn", "--help", *where)
        assert done.returncode == 0 and "--listen A" in done.stdout and "Examples:" in done.stdout


# clause: C-14
def test_a_gpu_without_backend_asks_the_host(llorch, bin_dir, server):
    listed = run_program([bin_dir / "llorch-pool", "backends", "list", "--json"], server.root)
    gpus = [each for each in json.loads(listed.stdout)["backends"]
            if each["name"] != "cpu" and each["available"]]
    if gpus:
        pytest.skip("a GPU is there")
    done = llorch("pool", "worker", "spawn", "--gpu", 0, "--model", "smollm2", "--host", "pool")
    assert done.returncode == 3 and "no GPU backend is available" in done.stderr and "cuda" in done.stderr


# clause: C-20
def test_hosts_are_named_listed_and_forgotten(llorch, tmp_path):
    config = tmp_path / "llorch.toml"
    config.write_text("# mine\n[worker]\nslots = 2  # enough\n")
    config.chmod(0o600)
    here = {"LLORCH_CONFIG": config}
    assert llorch("host", "add", "attic", "--host", "10.0.0.7", "--user", "me", **here).returncode == 0
    assert llorch("host", "add", "attic", **here).returncode == 5
    assert llorch("host", "add", "x", "--host=-oProxyCommand=x", **here).returncode == 2
    listed = json.loads(llorch("host", "list", "--json", **here).stdout)["hosts"]
    assert [(each["name"], each["host"], each["user"]) for each in listed] == [("attic", "10.0.0.7", "me")]
    assert "attic" in llorch("host", "list", **here).stdout
    assert llorch("host", "remove", "attic", **here).returncode == 0
    assert llorch("host", "remove", "attic", **here).returncode == 3
    assert config.read_text() == "# mine\n[worker]\nslots = 2  # enough\n"
    assert config.stat().st_mode & 0o777 == 0o600


# clause: C-21
def test_the_programs_are_installed_once(llorch, server):
    missing = llorch("pool", "status", "--host", "bare")
    assert missing.returncode == 3 and "llorch pool install" in missing.stderr
    done = llorch("pool", "install", "--host", "bare", timeout=300)
    assert done.returncode == 0, done.stderr
    installed = sorted(path.name for path in (server.home / ".local/bin").iterdir())
    assert installed == ["llorch", "llorch-candled", "llorch-pool"]
    assert json.loads(llorch("pool", "status", "--json", "--host", "bare").stdout)["root"] == str(server.other_root)
    again = llorch("pool", "install", "--host", "bare")
    assert again.returncode == 0 and "is there" in again.stdout and again.stderr == ""


# clause: C-22
def test_a_model_is_copied_from_pool_to_pool(llorch, server, model_path):
    done = llorch("pool", "models", "copy", "smollm2", "--from", "pool", "--to", "other", timeout=300)
    assert done.returncode == 0, done.stderr
    (copied,) = (server.other_root / ".test-models/smollm2").iterdir()
    assert copied.name == model_path.name and copied.stat().st_size == model_path.stat().st_size
    verified = llorch("pool", "models", "verify", "smollm2", "--host", "other")
    assert verified.returncode == 0, verified.stderr
    again = llorch("pool", "models", "copy", "smollm2", "--from", "pool", "--to", "other")
    assert again.returncode == 0 and "already" in again.stdout
    absent = llorch("pool", "models", "copy", "mistral", "--from", "pool", "--to", "other")
    assert absent.returncode == 3, absent.stderr


# clause: C-1
@pytest.mark.parametrize("words", [("pool", "--help"), ("pool",), ("host", "--help"), ("host", "add", "--help")])
def test_help_has_examples(llorch, words):
    done = llorch(*words)
    assert done.returncode == 0 and "Examples:" in done.stdout and "--host" in done.stdout
