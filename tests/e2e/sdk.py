"""The official clients as the tests use them: nothing changed but base_url, and no retries."""

import pathlib
import shutil
import subprocess

import openai
import pytest

from support import REPLY_S, clean_environment

HERE = pathlib.Path(__file__).parent
ASK = [{"role": "user", "content": "Tell me about the sea."}]
SHORT = {"model": "gpt-4o-mini", "max_tokens": 16, "seed": 5, "temperature": 0}


def client_for(worker, **options):
    return openai.OpenAI(base_url=worker.openai_url,
                         **{"api_key": "unused", "max_retries": 0, "timeout": REPLY_S, **options})


def text_of(chunks):
    """The text of a chat stream."""
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def run_node_tests(file, worker, **variables):
    """The tests of that file beside this one, against the worker; more variables for its process."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    assert (HERE / "node_modules/openai").exists(), "npm --prefix tests/e2e ci"
    done = subprocess.run([node, "--test", "--test-reporter=tap", HERE / file],
                          env=clean_environment(LLORCH_E2E_URL=worker.openai_url, **variables), cwd=HERE,
                          timeout=280, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
