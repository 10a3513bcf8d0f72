"""R9 bad model file: cut short, bits flipped, huge counts, offsets past the end, a chat template that
never ends. Each is refused with a reason, or works; nothing crashes, hangs or takes the memory."""

import asyncio
import json
import pathlib
import signal
import struct
import tempfile
import time

import gguf
import harness

REFUSE_S = 90  # loading takes this long on a machine with other work
ANSWER_S = 60
TEMPLATE_MS = 250  # limits::template_ms_max
ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}x{% endfor %}{% endfor %}{% endfor %}"
HUGE = "{% set ns = namespace(s='x' * 1000) %}{% for a in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}"


class Damaged:
    """A copy of the model that is damaged in place and mended after each try."""

    def __init__(self, path, original):
        self.path = path
        self.original = original
        path.write_bytes(original)

    def write(self, at, data):
        with open(self.path, "r+b") as file:
            file.seek(at)
            file.write(data)

    def mend(self, at, size):
        self.write(at, self.original[at:at + size])

    def cut(self, size):
        with open(self.path, "r+b") as file:
            file.truncate(size)

    def grow_back(self, size):
        with open(self.path, "r+b") as file:
            file.seek(size)
            file.write(self.original[size:])


async def verdict(path):
    """"refused", "works", or what went wrong when a worker is given this file."""
    worker = harness.Worker.real("--slots", 1, "--ctx-tokens", 256, model=path)
    begin = time.monotonic()
    try:
        async with asyncio.timeout(REFUSE_S):
            async with worker:
                try:
                    return await answers(worker)
                except (OSError, EOFError):
                    await worker.exited(5)
                    return f"ready, then gone with {worker.process.returncode}"
    except TimeoutError:
        return f"neither refused nor ready after {REFUSE_S} s"
    except RuntimeError as error:
        took = time.monotonic() - begin
        return refusal(worker, str(error), took)


async def answers(worker):
    """A damaged file that loads may say anything, but has to end and to leave the worker alive."""
    status, _, body = await harness.request(
        worker.port, "POST", "/execute", harness.job(max_tokens=4), ANSWER_S)
    ended = b"event: end" in body or b"event: error" in body or status in (400, 500)
    alive = worker.process.poll() is None and (await worker.health())["status"] == "healthy"
    return "works" if ended and alive else f"status {status}, alive {alive}: {body[-200:]!r}"


def refusal(worker, said, took):
    if worker.process.returncode is None or worker.process.returncode < 0:
        number = worker.process.returncode
        return f"killed by {signal.Signals(-number).name}" if number else f"hangs: {said}"
    reasoned = "error: " in said and "next: " in said
    return "refused" if reasoned and took < REFUSE_S else f"exit {worker.process.returncode}: {said}"


def certain(header, size):
    """(name, offset, bytes): damage that no check may let through."""
    huge = [struct.pack("<Q", n) for n in (2**64 - 1, 2**63, 2**32, size)]
    first_key = 24
    for n, count in enumerate(huge):
        yield f"tensor count {n}", 8, count
        yield f"key count {n}", 16, count
        yield f"key length {n}", first_key, count
    yield "magic", 0, b"GGML"
    yield "version 0", 4, struct.pack("<I", 0)
    yield "version 99", 4, struct.pack("<I", 99)
    yield "big-endian version", 4, struct.pack(">I", 3)
    tokens_at = header.keys["tokenizer.ggml.tokens"][0]
    yield "array of unknown type", tokens_at + 4, struct.pack("<I", 77)
    yield "array count", tokens_at + 8, huge[0]
    yield "array count that overflows", tokens_at + 8, struct.pack("<Q", 2**61)
    for name, where in (("first", header.tensors[0]), ("last", header.tensors[-1])):
        for past in (size, 2**63, 2**64 - 32):
            yield f"{name} tensor's offset {past}", where, struct.pack("<Q", past // 32 * 32)
        yield f"{name} tensor's offset not aligned", where, struct.pack("<Q", 7)
        yield f"{name} tensor's type", where - 4, struct.pack("<I", 250)


async def structural(report, damaged, header):
    wrong, tried = [], 0
    for name, at, data in certain(header, len(damaged.original)):
        damaged.write(at, data)
        got = await verdict(damaged.path)
        damaged.mend(at, len(data))
        tried += 1
        if got != "refused":
            wrong.append(f"{name}: {got}")
    report.exactly(f"counts, offsets and types not refused, of {tried}", len(wrong), 0)
    for line in wrong[:5]:
        report.note(line)


async def truncated(report, plan, damaged, header):
    size = len(damaged.original)
    cuts = [0, 3, 4, 8, 23, 24, 100, header.tensors_at, header.end - 1, header.data_at, size - 1]
    cuts += [plan.random.randrange(header.data_at, size) for _ in range(plan.pick(3, 20, 200))]
    cuts += [plan.random.randrange(24, header.end) for _ in range(plan.pick(3, 20, 200))]
    wrong = []
    for cut in cuts:
        damaged.cut(cut)
        got = await verdict(damaged.path)
        damaged.grow_back(cut)
        if got != "refused":
            wrong.append(f"cut at {cut}: {got}")
    report.exactly(f"cut files not refused, of {len(cuts)}", len(wrong), 0)
    for line in wrong[:5]:
        report.note(line)


async def flipped(report, plan, damaged, header):
    """Flips in the header: some spoil nothing that matters, so a file that works is right too."""
    count, wrong, refused = plan.pick(15, 100, 2_000), [], 0
    for n in range(count):
        # Half in the keys before the vocabulary's long lists, half anywhere.
        end = header.keys["tokenizer.ggml.tokens"][0] if n % 2 else header.end
        at, bit = plan.random.randrange(end), plan.random.randrange(8)
        damaged.write(at, bytes([damaged.original[at] ^ (1 << bit)]))
        got = await verdict(damaged.path)
        damaged.mend(at, 1)
        refused += got == "refused"
        if got not in ("refused", "works"):
            wrong.append(f"bit {bit} of byte {at}: {got}")
    report.exactly(f"flipped bits that crash, hang or say nothing, of {count}", len(wrong), 0)
    report.note(f"{refused} refused, {count - refused - len(wrong)} work")
    for line in wrong[:5]:
        report.note(line)


async def hostile_template(report, folder, original):
    for name, template in (("endless", ENDLESS), ("huge", HUGE)):
        path = folder / f"{name}.gguf"
        path.write_bytes(gguf.with_text(original, "tokenizer.chat_template", template))
        try:
            async with harness.Worker.real("--slots", 1, "--ctx-tokens", 256, model=path) as worker:
                await try_template(report, worker, name)
        except RuntimeError as error:  # refused when it was loaded: as good
            reasoned = worker_reason(str(error))
            report.figure(f"{name} template", "refused" if reasoned else str(error), "refused", reasoned)
        path.unlink()


def worker_reason(said):
    return "error: " in said and "next: " in said and "exited -" not in said


async def try_template(report, worker, name):
    before = worker.rss_bytes()
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    async with harness.HealthProbe(worker.port) as probe:
        begin = time.monotonic()
        status, _, reply = await harness.request(
            worker.port, "POST", "/v1/chat/completions", body, ANSWER_S)
        took_ms = (time.monotonic() - begin) * 1000
    report.figure(f"{name} template, status", status, "400 or 200", status in (200, 400))
    if status != 200:
        report.at_most(f"{name} template, refused after", took_ms, TEMPLATE_MS + 1000.0, "ms")
        json.loads(reply)
    probe.report(report, f"{name} template, /health p99")
    report.at_most(f"{name} template, memory", (worker.rss_bytes() - before) / 2**20, 300.0, "MiB")
    report.exactly(f"{name} template, then the bare prompt", await answers(worker), "works")


async def measure(report, plan):
    original = harness.model_path().read_bytes()
    harness.program("llorch-candled")
    header = gguf.Header(original)
    with tempfile.TemporaryDirectory(prefix="llorch-promise-") as folder:
        damaged = Damaged(pathlib.Path(folder) / "damaged.gguf", original)
        await structural(report, damaged, header)
        await truncated(report, plan, damaged, header)
        await flipped(report, plan, damaged, header)
        report.exactly("the mended file", await verdict(damaged.path), "works")
        damaged.path.unlink()
        await hostile_template(report, pathlib.Path(folder), original)


if __name__ == "__main__":
    harness.run_script("R9", measure)
