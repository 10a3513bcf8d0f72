"""Runs the JavaScript client's tests against the shared worker, one pytest line for all of them."""

import pathlib
import shutil
import subprocess

import pytest

from support import clean_environment

HERE = pathlib.Path(__file__).parent


@pytest.mark.timeout(300)
# clause: W-31
def test_the_javascript_client_passes_its_own_tests(worker, api):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    assert (HERE / "node_modules/openai").exists(), "npm --prefix tests/e2e ci"
    done = subprocess.run([node, "--test", "--test-reporter=tap", HERE / "openai_client.test.mjs"],
                          env=clean_environment(LLORCH_E2E_URL=worker.openai_url), cwd=HERE, timeout=280,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
