"""R7 bounded memory: every slot and queue place taken by readers that read nothing, thousands of
connections beside them that do not read their replies either. Memory and files return each round."""

import asyncio
import socket
import struct

import harness

SLOTS = 8
QUEUE = 64
CONTEXT = 16_777_216    # no stream ends by itself
RECEIVE_BYTES = 4096  # the smallest window the kernel gives
PIPELINED = 20        # requests a silent connection leaves unread replies of


def connect(port):
    """A socket with the smallest window; blocking, with a limit."""
    sock = socket.socket()
    sock.settimeout(10)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    sock.connect(("127.0.0.1", port))
    return sock


def silent_job(port, number):
    """A stream that nobody reads: the worker must park its slot, not store its text."""
    sock = connect(port)
    sock.sendall(harness.message(
        "POST", "/execute", harness.job(f"silent {number}", max_tokens=100_000_000, ignore_eos=True)))
    return sock


def silent_connection(port, kind):
    sock = connect(port)
    if kind == 0:    # replies that pile up
        sock.sendall(harness.message("GET", "/metrics") * PIPELINED)
    elif kind == 1:  # refusals that pile up: queue full
        sock.sendall(harness.message("POST", "/execute", harness.job("x" * 2000)))
    elif kind == 2:  # a head that does not end
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: lo")
    return sock      # kind 3: nothing at all


def close(sock, abort):
    if abort:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def one_round(worker, count):
    """RSS in the middle of a round, and whether the jobs were all there."""
    jobs = [silent_job(worker.port, n) for n in range(SLOTS + QUEUE)]
    full = await worker.busy(SLOTS, QUEUE)
    silent = [silent_connection(worker.port, n % 4) for n in range(count)]
    await asyncio.sleep(1)  # what is sent into full windows now has to be held somewhere
    high = worker.rss_bytes()
    _, _, refused = await harness.request(worker.port, "POST", "/execute", harness.job())
    full = full and b"QUEUE_FULL" in refused
    for n, sock in enumerate([*silent, *jobs]):
        close(sock, abort=n % 2 == 0)
    return high, full


async def measure(report, plan):
    count = plan.pick(ci=1_000, full=9_000, soak=9_000)
    rounds = plan.pick(ci=4, full=6, soak=60)
    warm = plan.pick(ci=1, full=2, soak=5)
    async with harness.Worker.fake("--queue", QUEUE, "--ctx-tokens", CONTEXT,
                                   slots=SLOTS, step_us=100) as worker:
        await one_round(worker, 100)
        await worker.idle()
        files_at_start = await worker.open_files_settled(0, seconds=1)
        rss_at_start = worker.rss_bytes()
        resting, highest, full_rounds, stuck = [], 0, 0, 0
        for _ in range(rounds):
            high, full = await one_round(worker, count)
            highest = max(highest, high)
            full_rounds += full
            stuck += not await worker.idle()
            files = await worker.open_files_settled(files_at_start)
            resting.append(worker.rss_bytes())
        report.exactly(f"rounds with all slots and places taken of {rounds}", full_rounds, rounds)
        report.exactly("rounds after which a slot stayed busy", stuck, 0)
        report.at_most("open files more than at the start", files - files_at_start, 0)
        held_kib = (highest - rss_at_start) / 1024 / count
        report.at_most(f"memory a silent connection ({count} of them)", held_kib, 64.0, "KiB")
        report.at_most(f"RSS slope over {rounds - warm} rounds",
                       harness.slope(resting[warm:]) / 1024, plan.pick(256.0, 256.0, 64.0), "KiB/round")
        report.note("RSS at rest, MiB: " + " ".join(f"{rss / 2**20:.1f}" for rss in resting))


if __name__ == "__main__":
    harness.run_script("R7", measure)
