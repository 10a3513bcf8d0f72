"""Other programs on the same processors: answers come slower, but they come."""

import os
import subprocess
import sys
import time

import pytest

BUSY = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


@pytest.fixture
def two_cores():
    """What is started meanwhile shares two cores of this machine."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:2])
    yield
    os.sched_setaffinity(0, before)


# clause: W-67
@pytest.mark.skipif(sys.platform != "linux", reason="threads give way to others on Linux only")
def test_a_program_that_keeps_a_core_busy_stops_no_answer(two_cores, fresh_worker):
    worker = fresh_worker("--slots", 1, "--threads", 2)
    with subprocess.Popen([sys.executable, "-c", BUSY]) as busy:
        try:
            began = time.monotonic()
            told = worker.api.execute(prompt="Once upon a time", max_tokens=64, temperature=0, ignore_eos=True)
            took_s = time.monotonic() - began
        finally:
            busy.kill()
    assert len(told.ids) == 64
    assert took_s < 20  # a token every 12 ms; waiting for each other without end, one in seconds
