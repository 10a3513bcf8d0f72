"""What all command lines share: help, versions, exit codes, JSON, colours, speed; then `infer`."""

import json
import os
import pty
import re
import select
import signal
import statistics
import subprocess
import time

import pytest

from support import clean_environment, free_port, in_background, wait_until, write_catalog

PROGRAMS = ["llorch", "llorch-pool", "llorch-candled"]
COLOUR = re.compile(r"\x1b\[[\d;]*m")
READ_COMMANDS = [
    ("llorch-pool", "models", "catalog"), ("llorch-pool", "models", "info", "smollm2"),
    ("llorch-pool", "backends", "list"), ("llorch-pool", "worker", "list"), ("llorch-pool", "status"),
    ("llorch-pool", "doctor"), ("llorch-candled", "--list-backends"),
]


@pytest.fixture
def stocked_root(root, model_path):
    write_catalog(root / ".test-models/catalog.json", model_path)
    return root


# clause: C-1
@pytest.mark.parametrize("program", PROGRAMS)
def test_help_has_examples_and_version_names_the_program(run, program):
    shown = run(program, "--help")
    assert shown.returncode == 0 and shown.stderr == ""
    assert "Examples:" in shown.stdout and f"  {program} " in shown.stdout
    version = run(program, "--version")
    assert version.returncode == 0
    assert re.fullmatch(rf"{program} \d+\.\d+\.\d+\S*", version.stdout.strip())


# clause: E-6, E-7
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_usage_error_is_2_on_stderr(run, program):
    for arguments in (["--no-such-flag"], ["frobnicate"]):
        done = run(program, *arguments)
        assert done.returncode == 2 and done.stdout == "", (program, arguments)
        assert done.stderr.startswith("error: ") and "next: " in done.stderr


# clause: E-7
def test_a_near_command_is_suggested(run):
    done = run("llorch-pool", "worker", "spwan")
    assert done.returncode == 2 and "spawn" in done.stderr


# clause: C-2
@pytest.mark.parametrize("command", READ_COMMANDS, ids=" ".join)
def test_every_read_command_speaks_json(run, stocked_root, command):
    done = run(*command, "--json")
    assert done.returncode in (0, 1), done.stderr  # doctor may find something wrong
    assert isinstance(json.loads(done.stdout), dict)


# clause: C-3
@pytest.mark.parametrize("command", READ_COMMANDS[:-1], ids=" ".join)
def test_piped_output_has_no_ansi_and_fits_80_columns(run, stocked_root, model_path, command):
    """Paths of this machine are as long as they are, and are never cut."""
    done = run(*command)
    assert "\x1b" not in done.stdout + done.stderr
    wide = [line for line in done.stdout.splitlines()
            if len(line) > 80 and str(stocked_root) not in line and str(model_path) not in line]
    assert wide == []


# clause: C-3
def test_no_color_is_obeyed_on_a_terminal(bin_dir, stocked_root):
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [bin_dir / "llorch-pool", "status"], stdin=follower, stdout=follower, stderr=follower,
        env=clean_environment(LLORCH_ROOT=stocked_root, NO_COLOR=1, TERM="xterm-256color"))
    os.close(follower)
    try:
        assert child.wait(30) in (0, 1)
        shown = b""
        while select.select([leader], [], [], 0.2)[0]:
            try:
                part = os.read(leader, 65536)
            except OSError:  # EIO: the other end is closed
                break
            if not part:
                break
            shown += part
        assert shown and not COLOUR.search(shown.decode())
    finally:
        os.close(leader)


# clause: C-1
@pytest.mark.parametrize("program", PROGRAMS)
def test_start_up_is_quick(bin_dir, root, program):
    """The aim is 20 ms on a quiet machine; this bound only catches a start that does real work."""
    times = []
    for _ in range(15):
        begin = time.perf_counter()
        subprocess.run([bin_dir / program, "--version"], check=True, stdin=subprocess.DEVNULL,
                       capture_output=True, timeout=10, env=clean_environment(LLORCH_ROOT=root))
        times.append(time.perf_counter() - begin)
    assert statistics.median(times) < 0.1


# clause: P-2
def test_an_unknown_setting_is_refused_with_file_and_line(run, root):
    (root / "llorch.toml").write_text("[worker]\nport = 8001\n\n[nonsense]\nkey = 1\n")
    done = run("llorch-pool", "status")
    assert done.returncode != 0
    assert "llorch.toml:5" in done.stderr and "nonsense.key" in done.stderr


# --- llorch infer --------------------------------------------------------------------------------

@pytest.fixture
def infer(run, worker, api):
    """infer(…arguments) against the shared worker."""
    def call(*arguments, **more):
        return run("llorch", "infer", "--worker", f"127.0.0.1:{worker.port}", *arguments, **more)
    return call


# clause: C-4, C-5, C-6
def test_infer_prints_text_on_stdout_and_the_rest_on_stderr(infer, api):
    done = infer("--prompt", "Hello", "--max-tokens", "20", "--temperature", "0", "--seed", "1")
    wanted = api.execute(messages=[{"role": "user", "content": "Hello"}], max_tokens=20, temperature=0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip("\n") == wanted.text.rstrip("\n")
    assert done.stderr.startswith("job_id: ")
    assert f"{wanted.end['tokens_out']} token" in done.stderr and wanted.end["stop_reason"] in done.stderr


# clause: C-5
def test_infer_raw_takes_the_bare_prompt_and_system_adds_a_message(infer, api):
    flags = ["--max-tokens", "12", "--temperature", "0"]
    raw = infer("--raw", "--prompt", "The sea is", *flags)
    assert raw.stdout.rstrip("\n") == api.execute(prompt="The sea is", max_tokens=12,
                                                  temperature=0).text.rstrip("\n")
    system = infer("--system", "Be brief.", "--prompt", "Hello", *flags)
    wanted = api.execute(messages=[{"role": "system", "content": "Be brief."},
                                   {"role": "user", "content": "Hello"}], max_tokens=12, temperature=0)
    assert system.stdout.rstrip("\n") == wanted.text.rstrip("\n")


# clause: C-4, C-2
def test_infer_json_is_one_object(infer):
    done = infer("--prompt", "Hello", "--max-tokens", "5", "--json", "--stop", "\u2603", "--seed", "9")
    reply = json.loads(done.stdout)
    assert reply["tokens_out"] == 5 and reply["stop_reason"] == "MAX_TOKENS"
    assert reply["text"] and reply["job_id"] and done.returncode == 0


# clause: C-5
def test_infer_reads_the_prompt_from_stdin(bin_dir, worker, root, api):
    done = subprocess.run(
        [bin_dir / "llorch", "infer", "--worker", f"127.0.0.1:{worker.port}", "--raw", "--prompt", "-",
         "--max-tokens", "8", "--temperature", "0"], input="The sea is", text=True, timeout=60,
        capture_output=True, env=clean_environment(LLORCH_ROOT=root), check=True)
    assert done.stdout.rstrip("\n") == api.execute(prompt="The sea is", max_tokens=8,
                                                   temperature=0).text.rstrip("\n")


# clause: C-8, E-6, E-7
def test_infer_says_when_nobody_listens(run):
    done = run("llorch", "infer", "--worker", f"127.0.0.1:{free_port()}", "--prompt", "Hello")
    assert done.returncode == 6 and done.stdout == ""
    assert "error: " in done.stderr and "next: " in done.stderr


BAD_INFER = [("a temperature past 2", ["--temperature", "3"]), ("no tokens", ["--max-tokens", "0"]),
             ("an empty prompt", ["--prompt", ""]), ("a worker that is no address", ["--worker", "a b"])]


# clause: C-4, E-6
@pytest.mark.parametrize("flags", [row[1] for row in BAD_INFER], ids=[row[0] for row in BAD_INFER])
def test_infer_refuses_bad_flags(run, worker, flags):
    fields = {"--worker": f"127.0.0.1:{worker.port}", "--prompt": "Hello"}
    fields |= {flags[0]: flags[1]}
    done = run("llorch", "infer", *[part for pair in fields.items() for part in pair])
    assert done.returncode == 2 and done.stdout == "", done.stderr


def start_infer(bin_dir, worker, root):
    return subprocess.Popen(
        [bin_dir / "llorch", "infer", "--worker", f"127.0.0.1:{worker.port}", "--prompt",
         "Write a very long story about the sea, in many chapters.", "--max-tokens", "1500"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=clean_environment(LLORCH_ROOT=root))


# clause: C-7, E-6
@pytest.mark.parametrize("number,code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_job_on_the_worker(bin_dir, worker, root, api, number, code):
    child = start_infer(bin_dir, worker, root)
    try:
        assert child.stdout.read(1)
        child.send_signal(number)
        child.communicate(timeout=15)
        assert child.returncode == code
        api.wait_idle(5)
    finally:
        child.kill()
        child.wait(10)


# clause: C-7
def test_a_reader_that_leaves_ends_it_quietly_and_frees_the_slot(bin_dir, worker, root, api):
    child = start_infer(bin_dir, worker, root)
    try:
        assert child.stdout.read(1)
        child.stdout.close()
        child.wait(20)
        assert "error: " not in child.stderr.read()
        api.wait_idle(5)
    finally:
        child.kill()
        child.wait(10)
        child.stderr.close()


# clause: C-8, C-9
def test_infer_takes_the_token_from_the_settings_and_no_flag(fresh_worker, run, root):
    token = "a-token-of-more-than-sixteen"
    worker = fresh_worker("--slots", 1, "--ctx-tokens", 256, environment={"LLORCH_WORKER_TOKEN": token})
    command = ["llorch", "infer", "--worker", f"127.0.0.1:{worker.port}", "--prompt", "Hi",
               "--max-tokens", "2"]
    assert run(*command).returncode == 4
    assert run(*command, LLORCH_WORKER_TOKEN=token).returncode == 0
    (root / "llorch.toml").write_text(f'[worker]\ntoken = "{token}"\n')
    assert run(*command).returncode == 0
    assert run(*command, LLORCH_WORKER_TOKEN="another-of-more-than-16").returncode == 4
    assert "token" not in [flag for flag in re.findall(r"--(\S+)", run("llorch", "infer", "--help").stdout)]


# clause: C-11, E-7
def test_infer_without_a_worker_goes_to_orchestratord_and_names_a_worker_there(worker, run):
    away = run("llorch", "infer", "--prompt", "Hi", "--orchestrator-url", f"http://127.0.0.1:{free_port()}")
    assert away.returncode == 6 and "orchestratord" in away.stderr and "--worker" in away.stderr
    url = f"http://127.0.0.1:{worker.port}"
    done = run("llorch", "infer", "--prompt", "Hi", LLORCH_ORCHESTRATOR_URL=url)
    assert done.returncode != 0 and done.stdout == ""
    assert f"next: llorch infer --worker 127.0.0.1:{worker.port}" in done.stderr


# clause: C-10
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(run, shell):
    done = run("llorch", "completion", shell)
    assert done.returncode == 0 and "infer" in done.stdout and done.stderr == ""
    refused = run("llorch", "completion", "tcsh")
    assert refused.returncode == 2 and "next: " in refused.stderr


# clause: C-8
def test_a_full_queue_is_passed_on_in_the_workers_words(narrow_worker, narrow, run):
    with narrow.open(prompt="Hold", max_tokens=3500, ignore_eos=True) as holder:
        holder.until("token")
        waiting = in_background(narrow.execute, job_id="waits", prompt="Wait", max_tokens=1)
        wait_until(lambda: narrow.health()["queue_depth"] == 1, "one job waits")
        done = run("llorch", "infer", "--worker", f"127.0.0.1:{narrow_worker.port}", "--prompt", "Hi")
        assert done.returncode == 1, done.stderr
        assert "queue" in done.stderr.lower() and "next: " in done.stderr
        narrow.cancel("waits")
        waiting.result(10)
