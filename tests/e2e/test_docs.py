"""The commands of README.md do what they say: each ```sh block below a `<!-- run -->` mark is typed
into one shell, in order. Only the port is another one, since the documented one may be in use."""

import os
import re
import subprocess

import pytest

from support import clean_environment, free_port, repository

ROOT = repository()
BLOCK = re.compile(r"<!-- run -->\n```sh\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


@pytest.fixture
def shell(bin_dir, root):
    """shell(script, limit_s) → a finished bash; its workers are stopped at the end in any case."""
    def run(script, limit_s):
        environment = clean_environment(LLORCH_ROOT=root, PATH=f"{bin_dir}:{os.environ['PATH']}")
        return subprocess.run(["bash", "-euo", "pipefail", "-c", script], env=environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s)
    yield run
    run("llorch-pool worker stop-all", 60)


@pytest.mark.timeout(420)
def test_the_readme_commands_work(shell):  # clause: P-26
    blocks = BLOCK.findall((ROOT / "README.md").read_text())
    assert len(blocks) >= 3
    script = "\n".join(blocks).replace("8080", str(free_port()))
    run = shell(script, 360)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Available Backends on" in run.stdout
    assert '"object":"chat.completion"' in run.stdout.replace(" ", "")
    assert run.stdout.rstrip().endswith("Cleaned up 0 orphaned workers")


def test_every_relative_link_of_the_documents_leads_somewhere():
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [f"{document.relative_to(ROOT)}: {target}"
              for document in documents for target in LINK.findall(document.read_text())
              if not (document.parent / target).exists()]
    assert broken == []


def test_every_make_target_of_the_documents_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set()
    for name in ("README.md", "CONTRIBUTING.md"):
        named |= set(re.findall(r"\bmake ([a-z]+)", (ROOT / name).read_text()))
    assert named and named <= targets
