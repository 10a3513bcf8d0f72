"""Runs the JavaScript client's tests against the shared worker, one pytest line for all of them."""

import pytest

from sdk import run_node_tests


@pytest.mark.timeout(300)
# clause: W-31
def test_the_javascript_client_passes_its_own_tests(worker, api):
    run_node_tests("openai_client.test.mjs", worker)
