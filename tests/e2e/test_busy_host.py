"""Other programs on the same processors: answers come slower, but they come."""

import os
import subprocess
import sys
import time

import pytest

HOG = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


# clause: W-67
@pytest.mark.skipif(sys.platform != "linux", reason="threads give way to others on Linux only")
def test_a_program_that_keeps_a_core_busy_stops_no_answer(fresh_worker):
    worker = fresh_worker("--slots", 1, "--threads", max(2, os.cpu_count()))
    hogs = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(max(1, os.cpu_count() - 1))]
    try:
        began = time.monotonic()
        told = worker.api.execute(prompt="Once upon a time", max_tokens=64, temperature=0,
                                  ignore_eos=True)
        took_s = time.monotonic() - began
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait(timeout=10)
    assert len(told.ids) == 64
    assert took_s < 20  # a token every 12 ms; waiting for each other without end, every 2 s
