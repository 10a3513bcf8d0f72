"""R8 disk: full, read-only, failing. A worker serves on without its log and logs again once there is
room; llorch-pool says what is wrong, spoils nothing, and succeeds once the disk is well."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import harness

MOUNTED = "LLORCH_PROMISE_MOUNTED"  # set in the process that may mount


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True, timeout=30)


class Disk:
    """A tmpfs of a few megabytes."""

    def __init__(self, path, size_kib):
        self.path = path
        path.mkdir()
        mount("-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", path)
        self.filler = path / "filler"

    def fill(self):
        with contextlib.suppress(OSError), open(self.filler, "wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass

    def free(self):
        self.filler.unlink()

    def remount(self, options):
        mount("-o", f"remount,{options}", self.path)


async def one_answer(worker):
    status, _, body = await harness.request(
        worker.port, "POST", "/execute", harness.job(max_tokens=3, ignore_eos=True))
    return status == 200 and b'"stop_reason":"MAX_TOKENS"' in body


async def worker_log(report, folder):
    disk = Disk(folder / "logs", 256)
    log = disk.path / "worker.log"
    async with harness.Worker.fake("--queue", 8, slots=4, step_us=1000, log=log) as worker:
        before = await one_answer(worker)
        disk.fill()
        full = [await one_answer(worker) for _ in range(20)]
        healthy = (await worker.health())["status"] == "healthy"
        disk.free()
        size = log.stat().st_size
        after = [await one_answer(worker) for _ in range(5)]
    report.exactly("worker, log on a full disk: jobs that fail", [before, *full, *after].count(False), 0)
    report.exactly("worker, log on a full disk: healthy", healthy, True)
    grew = log.stat().st_size > size
    report.exactly("worker, room again: logs again", grew, True)
    report.at_most("worker, lines of the log that are not whole", broken_lines(log), 1)


def broken_lines(log):
    broken = 0
    for line in log.read_text(errors="replace").splitlines():
        try:
            json.loads(line)
        except ValueError:
            broken += 1
    return broken


class Pool:
    """llorch-pool over a root of its own."""

    def __init__(self, root, **variables):
        self.root = root
        self.variables = variables

    def __call__(self, *arguments):
        return subprocess.run(
            [str(harness.program("llorch-pool")), *map(str, arguments)], stdin=subprocess.DEVNULL,
            env=harness.environment(LLORCH_ROOT=self.root, **self.variables), capture_output=True,
            text=True, timeout=120, check=False)

    def files(self):
        """Everything in the root but filler and locks: what must not change when a command fails."""
        return {path.relative_to(self.root): path.read_bytes()
                for path in sorted(self.root.rglob("*"))
                if path.is_file() and path.name != "filler" and not path.name.endswith(".lock")}


def failed_well(report, what, done, codes, pool, before):
    """One failed command: its exit code, its words, and the root as it was."""
    worded = done.stderr.startswith("error: ") or "\nerror: " in done.stderr
    report.figure(f"{what}: exit code", done.returncode, f"in {codes}", done.returncode in codes)
    report.exactly(f"{what}: says error and next", worded and "next: " in done.stderr, True)
    report.exactly(f"{what}: files as before", pool.files() == before, True)
    if done.returncode not in codes or not worded:
        report.note(done.stderr.strip()[-300:] or done.stdout.strip()[-300:])


def pool_catalog(report, folder):
    disk = Disk(folder / "root", 1024)
    eio = folder / "eio"
    pool = Pool(disk.path, **preload(folder, eio))
    model = folder / "model.gguf"
    shutil.copy(harness.model_path(), model)
    register = ("models", "register", model, "--as")
    report.exactly("pool: registers a first model", pool(*register, "first").returncode, 0)
    before = pool.files()

    disk.fill()
    failed_well(report, "pool, catalog on a full disk", pool(*register, "full"), (9,), pool, before)
    disk.free()
    report.exactly("pool, room again: registers", pool(*register, "full").returncode, 0)

    before = pool.files()
    disk.remount("ro")
    failed_well(report, "pool, read-only disk", pool(*register, "fixed"), (1, 4), pool, before)
    disk.remount("rw")
    report.exactly("pool, writable again: registers", pool(*register, "fixed").returncode, 0)

    for call in ("sync", "write"):
        before = pool.files()
        eio.write_text(call)
        failed_well(report, f"pool, {call} that fails", pool(*register, call), (1,), pool, before)
        eio.unlink()
        report.exactly("pool, disk well again: registers", pool(*register, call).returncode, 0)
    catalog = json.loads((disk.path / ".test-models/catalog.json").read_text(encoding="utf-8"))
    names = {entry["id"] for entry in catalog["models"]}
    report.exactly("pool: every model in the catalog",
                   {"first", "full", "fixed", "sync", "write"} <= names, True)


def preload(folder, mark):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang-19")
    if not compiler:
        raise harness.Missing("no C compiler for the failing disk")
    library = folder / "eio.so"
    source = pathlib.Path(__file__).with_name("eio.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)
    return {"LD_PRELOAD": library, "LLORCH_EIO": mark}


def pool_download(report, folder):
    """A copy into the root that does not fit, then fits."""
    disk = Disk(folder / "small", 40 * 1024)
    pool = Pool(disk.path)
    source = folder / "model.gguf"
    done = pool("models", "download", f"file:{source}", "--as", "big")
    report.figure("pool, download larger than the disk: exit code", done.returncode, "= 9",
                  done.returncode == 9)
    whole = [path for path in disk.path.rglob("*.gguf") if path.is_file()]
    report.exactly("pool, download larger than the disk: files that look whole", len(whole), 0)
    disk.remount("size=256m")
    done = pool("models", "download", f"file:{source}", "--as", "big")
    report.exactly("pool, larger disk: downloads", done.returncode, 0)
    if done.returncode:
        report.note(done.stderr.strip()[-300:])
    report.exactly("pool, larger disk: verifies", pool("models", "verify", "big").returncode, 0)


async def measure(report, plan):
    harness.program("llorch-pool")
    with tempfile.TemporaryDirectory(prefix="llorch-promise-", ignore_cleanup_errors=True) as name:
        folder = pathlib.Path(name)
        try:
            await worker_log(report, folder)
            pool_catalog(report, folder)
            pool_download(report, folder)
        finally:
            for disk in ("logs", "root", "small"):
                subprocess.run(["umount", "-l", folder / disk], stderr=subprocess.DEVNULL, check=False)


def in_own_mounts():
    """Runs this script again where it may mount without touching the machine's own mounts."""
    if os.environ.get(MOUNTED):
        return
    for who in ([], ["--user", "--map-root-user"]):
        command = ["unshare", *who, "--mount"]
        if shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True,
                                                      check=False).returncode == 0:
            os.environ[MOUNTED] = "1"
            os.execvp("unshare", [*command, sys.executable, *sys.argv])
    print("R8      skipped: this user may not mount (unshare --user --mount)")
    sys.exit(77)


if __name__ == "__main__":
    in_own_mounts()
    harness.run_script("R8", measure)
