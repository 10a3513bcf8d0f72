"""Prompts computed before outlive their worker: snapshots in --kv-dir, checked before they are used.

contract: §2 --kv-dir, --kv-disk-mib, §3 kv purge
"""

import json
import signal

import pytest

from support import all_at_once, long_text, run_program, wait_until

GREEDY = {"temperature": 0, "ignore_eos": True, "max_tokens": 16}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "kv"


@pytest.fixture
def start(start_worker, model_path, folder):
    """start(flag, …) → a ready worker with one slot that keeps snapshots in `folder`."""
    def begin(*more, slots=1, context=2048):
        return start_worker("--model", model_path, "--slots", slots, "--ctx-tokens", context, "--kv-dir", folder,
                            *more).wait_ready()
    return begin


def ask(worker, prompt, **fields):
    return worker.api.execute(prompt=prompt, **(GREEDY | fields))


def wait_written(worker, count):
    wait_until(lambda: worker.api.metrics()['worker_kv_disk_writes_total{outcome="written"}'] >= count,
               f"{count} snapshots are on disk")


def kill(worker):
    worker.signal(signal.SIGKILL)
    worker.wait_exit()


def log_events(worker, name):
    events = [json.loads(line) for line in worker.output[1].splitlines() if line.startswith("{")]
    return [event for event in events if event["event"] == name]


def is_whole(answer):
    return answer.started["cached_tokens"] == answer.started["prompt_tokens"] - 1


# clause: W-60
def test_a_prompt_is_not_computed_again_after_kill_9(start, folder):
    prompt = long_text(1200)
    first = start()
    undisturbed = ask(first, prompt)
    assert undisturbed.started["cached_tokens"] == 0
    wait_written(first, 1)
    kill(first)
    assert folder.stat().st_mode & 0o777 == 0o700
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    second = start()
    again = ask(second, prompt)
    assert is_whole(again)
    assert again.ids == undisturbed.ids
    metrics = second.api.metrics()
    assert metrics["worker_kv_disk_restores_total"] == 1
    assert metrics["worker_kv_disk_files"] == 1 and metrics["worker_kv_disk_bytes"] == file.stat().st_size
    longer = ask(second, prompt + " and what comes after it")
    assert longer.started["cached_tokens"] > 1100


# clause: W-60
def test_a_stopped_worker_leaves_on_disk_what_it_had_in_memory(start):
    prompts = [long_text(300, f"story {number} ") for number in range(4)]
    first = start()
    answers = [ask(first, prompt) for prompt in prompts]
    first.signal(signal.SIGTERM)
    assert first.wait_exit() == 0
    second = start("--kv-ram-mib", 0)  # what is read needs no room among snapshots
    for prompt, before in zip(prompts, answers):
        again = ask(second, prompt)
        assert is_whole(again) and again.ids == before.ids


# clause: W-60
def test_jobs_that_come_together_after_a_restart_share_one_read(start):
    shared = long_text(600)
    first = start(slots=4)
    ask(first, shared)
    wait_written(first, 1)
    kill(first)
    second = start(slots=4)
    answers = all_at_once([lambda i=i: ask(second, f"{shared} number {i}:") for i in range(4)])
    assert all(answer.started["cached_tokens"] > 550 for answer in answers)
    assert second.api.metrics()["worker_kv_disk_reads_total"] == 1


# clause: W-61
@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_file_is_ignored_with_one_line_in_the_log(start, folder, damage):
    prompt = long_text(300)
    first = start()
    undisturbed = ask(first, prompt)
    wait_written(first, 1)
    kill(first)
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    else:
        del content[-100:]
    file.write_bytes(content)
    second = start()
    again = ask(second, prompt)
    assert again.started["cached_tokens"] == 0 and again.ids == undisturbed.ids
    (line,) = log_events(second, "kv_file_ignored")
    assert line["file"] == file.name and line["why"] and line["removed"]
    assert second.api.metrics()["worker_kv_disk_rejected_total"] == 1
    wait_written(second, 1)  # the same name, whole again
    kill(second)
    assert is_whole(ask(start(), prompt))


# clause: W-61
def test_no_scope_and_no_other_setting_gets_what_another_left(start, folder):
    prompt = long_text(300)
    first = start()
    assert ask(first, prompt, cache_scope="a").started["cached_tokens"] == 0
    wait_written(first, 1)
    kill(first)
    second = start()
    assert ask(second, prompt, cache_scope="b").started["cached_tokens"] == 0
    assert ask(second, prompt).started["cached_tokens"] == 0
    assert ask(second, prompt, cache_scope="a", deterministic=True).started["cached_tokens"] == 0
    assert is_whole(ask(second, prompt, cache_scope="a"))
    wait_written(second, 2)
    kill(second)
    other = start(context=1024)
    assert ask(other, prompt, cache_scope="a").started["cached_tokens"] == 0
    kill(other)
    wider = start(slots=2)
    assert ask(wider, prompt, cache_scope="a").started["cached_tokens"] == 0
    assert len(list(folder.iterdir())) >= 3, "a worker removed what another can use"


# clause: W-62
def test_the_folder_stays_within_its_bound(start, folder):
    worker = start("--kv-disk-mib", 20)
    for number in range(4):
        ask(worker, long_text(300, f"story {number} "))
        wait_written(worker, number + 1)
        assert sum(file.stat().st_size for file in folder.iterdir()) <= 20 << 20
    kill(worker)
    again = start("--kv-disk-mib", 20)
    assert is_whole(ask(again, long_text(300, "story 3 ")))
    assert ask(again, long_text(300, "story 0 ")).started["cached_tokens"] < 16


# clause: W-62
def test_two_workers_share_a_folder(start):
    prompt = long_text(300)
    one, two = start(), start()
    answer = ask(one, prompt)
    wait_written(one, 1)
    other = ask(two, long_text(300, "else "))
    wait_written(two, 1)  # and by now it has seen what is there
    assert other.started["cached_tokens"] < 16
    kill(one)
    third = start()
    again = ask(third, prompt)
    assert is_whole(again) and again.ids == answer.ids
    assert is_whole(ask(third, long_text(300, "else ")))


# clause: W-63, P-32
def test_purge_removes_the_snapshots_of_a_folder_and_nothing_else(start, folder, bin_dir, tmp_path):
    prompt = long_text(300)
    first = start()
    ask(first, prompt)
    wait_written(first, 1)
    (folder / "notes.txt").write_text("mine")
    purged = run_program([bin_dir / "llorch-pool", "kv", "purge", "--kv-dir", folder, "--json"], tmp_path)
    assert json.loads(purged.stdout)["files"] == 1
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]
    kill(first)
    assert ask(start(), prompt).started["cached_tokens"] == 0
    absent = run_program([bin_dir / "llorch-pool", "kv", "purge", "--kv-dir", folder / "absent"], tmp_path)
    assert absent.returncode == 3 and "there is no such folder" in absent.stderr


# clause: W-63, P-32
def test_purge_finds_the_folder_of_the_settings(start, folder, bin_dir, tmp_path):
    first = start()
    ask(first, long_text(300))
    wait_written(first, 1)
    purged = run_program([bin_dir / "llorch-pool", "kv", "purge", "--json"], tmp_path, LLORCH_WORKER_KV_DIR=folder)
    assert json.loads(purged.stdout)["files"] == 1 and not list(folder.iterdir())


# clause: W-63
def test_a_folder_that_others_may_read_stops_the_start(start_worker, model_path, folder):
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    worker = start_worker("--model", model_path, "--kv-dir", folder)
    assert worker.wait_exit() == 4
    error = worker.output[1]
    assert f"--kv-dir {folder}: others may look into it (mode 0755)" in error
    assert f"next: chmod 700 {folder}" in error


# clause: W-63
def test_a_model_with_a_sliding_window_says_once_that_it_does_not_use_the_folder(start_worker, tiny_models, folder):
    worker = start_worker("--model", tiny_models["gemma"]["path"], "--slots", 1, "--ctx-tokens", 1024, "--threads", 1,
                          "--kv-dir", folder).wait_ready()
    prompt = long_text(300)
    assert ask(worker, prompt).ids == ask(worker, prompt).ids
    worker.signal(signal.SIGTERM)
    assert worker.wait_exit() == 0
    assert len(log_events(worker, "kv_dir_unused")) == 1 and not list(folder.iterdir())
