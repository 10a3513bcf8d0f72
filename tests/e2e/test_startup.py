"""A worker that cannot start says what, why and what to do next, with the right exit code."""

import json
import re
import signal
import socket

import pytest

from support import READY_S, wait_until, write_catalog

TOKEN = {"LLORCH_WORKER_TOKEN": "a-token-of-more-than-sixteen"}


def refusal(worker, code, *words):
    """The stderr of a start that must fail with this exit code and say these words."""
    assert worker.wait_exit(READY_S) == code, worker.output
    stderr = worker.output[1]
    lines = [line for line in stderr.splitlines() if not line.startswith("{")]
    assert any(re.match(r"error: .+: .+", line) for line in lines), stderr
    assert any(line.startswith("next: ") for line in lines), stderr
    for word in words:
        assert word in stderr, stderr
    return stderr


# clause: W-5, E-7
def test_a_missing_model_file_is_not_found(start_worker, tmp_path):
    refusal(start_worker("--model", tmp_path / "absent.gguf"), 3, "absent.gguf")


# clause: W-5, E-7
def test_an_unknown_catalog_id_is_not_found_and_near_ids_are_named(start_worker):
    stderr = refusal(start_worker("--model", "smolm2"), 3, "smolm2")
    assert "smollm2" in stderr.replace("smolm2", "") or "catalog" in stderr


DAMAGE = [
    ("cut in its tensors", lambda data: data[:len(data) // 2]),
    ("cut in its header", lambda data: data[:4000]),
    ("nearly nothing", lambda data: data[:6]),
    ("empty", lambda data: b""),
    ("no GGUF at all", lambda data: b"#!/bin/sh\necho hello\n" * 100),
    ("a count of tensors past reason", lambda data: data[:8] + b"\xff" * 8 + data[16:200000]),
    ("a version from the future", lambda data: data[:4] + b"\x63\0\0\0" + data[8:200000]),
]


# clause: W-5
@pytest.mark.parametrize("damage", [row[1] for row in DAMAGE], ids=[row[0] for row in DAMAGE])
def test_a_damaged_model_file_is_refused(start_worker, model_path, tmp_path, damage):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(damage(model_path.read_bytes()))
    refusal(start_worker("--model", broken), 1, "broken.gguf")


# clause: W-4
@pytest.mark.parametrize("backend", ["cuda", "metal", "vulkan"])
def test_a_missing_backend_is_a_failure_and_never_a_fall_back(start_worker, run, model_path, backend):
    listed = json.loads(run("llorch-candled", "--list-backends", "--json").stdout)["backends"]
    if any(row["name"] == backend and row["devices"] for row in listed):
        pytest.skip(f"this machine has {backend}")
    worker = start_worker("--model", model_path, "--backend", backend)
    assert worker.wait_exit(READY_S) != 0
    assert "error: " in worker.output[1] and "next: " in worker.output[1]
    assert backend in worker.output[1].lower()


# clause: W-5, E-4
def test_a_taken_port_is_a_conflict(start_worker, bin_dir, model_path, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refusal(start_worker("--model", model_path, "--port", port), 5, str(port))


# clause: W-5, E-4
def test_too_little_memory_is_no_room_before_anything_is_loaded(start_worker, model_path):
    worker = start_worker("--model", model_path, "--ctx-tokens", 1 << 23, "--slots", 256)
    refusal(worker, 9, "memory")


BAD_FLAGS = [
    ("an unknown flag", ["--colour"]),
    ("a port out of range", ["--port", "70000"]),
    ("a port that is no number", ["--port", "http"]),
    ("no slots", ["--slots", "0"]),
    ("too many slots", ["--slots", "257"]),
    ("a negative queue", ["--queue", "-1"]),
    ("a backend that is none", ["--backend", "abacus"]),
    ("a worker id with a slash", ["--worker-id", "a/b"]),
    ("a worker id that is too long", ["--worker-id", "a" * 257]),
    ("an orchestrator that is no URL", ["--orchestrator-url", "not a url"]),
    ("no model", []),
]


# clause: W-1, E-6
@pytest.mark.parametrize("flags", [row[1] for row in BAD_FLAGS], ids=[row[0] for row in BAD_FLAGS])
def test_bad_flags_are_usage_errors(run, model_path, flags):
    model = ["--model", model_path] if flags else []
    done = run("llorch-candled", *model, *flags)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ") and done.stdout == ""


# clause: W-6
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
@pytest.mark.parametrize("environment", [{}, {"LLORCH_WORKER_TOKEN": "fifteen-letters"}],
                         ids=["no token", "a short token"])
def test_an_open_address_without_a_good_token_is_refused(run, model_path, host, environment):
    done = run("llorch-candled", "--model", model_path, "--host", host, **environment)
    assert done.returncode in (2, 4), done.stderr
    assert "LLORCH_WORKER_TOKEN" in done.stderr and "next: " in done.stderr


# clause: W-6, W-3
def test_an_open_address_with_a_token_serves(start_worker, model_path):
    worker = start_worker("--model", model_path, "--host", "0.0.0.0", "--ctx-tokens", 256,
                          environment=TOKEN).wait_ready()
    assert worker.api.get("/v1/models").json()["data"][0]["id"] == model_path.stem
    assert worker.api.http.get("/v1/models", headers={"Authorization": ""}).status_code == 401


# clause: W-9, W-8, W-17
def test_it_answers_with_its_progress_while_the_model_loads(start_worker, model_path):
    worker = start_worker("--model", model_path, "--slots", 8, "--ctx-tokens", 2048).wait_listening()
    seen = []

    def ready():
        reply = worker.api.get("/ready")
        if reply.status_code != 200:
            assert reply.status_code == 503
            seen.append(reply.json()["progress"])
            if len(seen) == 1:
                assert worker.api.health()["state"] == "loading"
                early = worker.api.refused(503, prompt="Too early").json()["error"]
                assert early["retriable"] is True
        return reply.status_code == 200
    wait_until(ready, "ready", READY_S)
    assert seen and all(0 <= value <= 1 for value in seen) and seen == sorted(seen)
    assert worker.api.get("/ready").json()["ready"] is True
    assert worker.api.health()["state"] == "idle"


# clause: W-42
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_loading_ends_it_quietly(start_worker, model_path, number):
    worker = start_worker("--model", model_path, "--slots", 8).wait_listening()
    worker.signal(number)
    assert worker.wait_exit(20) == 0
    assert "error: " not in worker.output[1]


# clause: W-2, W-3
def test_names_and_the_address_come_from_the_flags(start_worker, model_path):
    worker = start_worker("--model", model_path, "--ctx-tokens", 256, "--worker-id", "the-one",
                          "--model-id", "pet").wait_ready()
    assert f":{worker.port}" in worker.output[0], "the address is on stdout"
    health = worker.api.health()
    assert (health["worker_id"], health["model"]) == ("the-one", "pet")


# clause: W-2, P-1, P-8
def test_a_catalog_id_is_a_model(bin_dir, start_worker, model_path, tmp_path):
    catalog = tmp_path / "worker-0/.test-models/catalog.json"
    write_catalog(catalog, model_path)
    worker = start_worker("--model", "smollm2", "--ctx-tokens", 256).wait_ready()
    assert worker.api.health()["model"] == "smollm2"
