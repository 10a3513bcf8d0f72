#!/usr/bin/env python3
"""Tries the promises of docs/promises.md one after another and prints each figure against its target.

    tests/promises/run.py [--scale ci|full|soak] [--only R5,R13] [--seed N]

Exit status 1 when a figure misses its target or a script fails. A promise that this machine cannot
try (no model, no right to mount) is skipped, with the reason; --strict makes that a failure too.
"""

import argparse
import pathlib
import random
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = {"R1": "R01_restart", "R2": "R02_resume", "R3": "R03_failover", "R4": "R04_restart",
           "R5": "R05_drain", "R6": "R06_overload", "R7": "R07_memory", "R8": "R08_disk",
           "R9": "R09_model_file", "R10": "R10_network", "R11": "R11_clock", "R12": "R12_policy",
           "R13": "R13_cancel", "health": "P_health"}
LIMIT_S = {"ci": 600, "full": 3_600, "soak": 12 * 3_600}
SKIPPED = 77


def run(name, scale, seed):
    """The exit status of one script; its output goes to ours as it comes."""
    command = [sys.executable, HERE / f"{SCRIPTS[name]}.py", "--scale", scale, "--seed", str(seed)]
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, timeout=LIMIT_S[scale],
                              check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"{name:<7} not done within {LIMIT_S[scale]} s", flush=True)
        return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=LIMIT_S, default="full")
    parser.add_argument("--only", default=",".join(SCRIPTS), help="comma-separated: R5,R13,health")
    parser.add_argument("--seed", type=int, default=None, help="replays a random run")
    parser.add_argument("--strict", action="store_true", help="what is skipped counts as failed")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in SCRIPTS]:
        parser.error(f"no promise {', '.join(unknown)}: there are {', '.join(SCRIPTS)}")
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    print(f"promises: scale {options.scale}, seed {seed}", flush=True)
    statuses = {name: run(name, options.scale, seed) for name in names}
    kept = [name for name, status in statuses.items() if status == 0]
    skipped = [name for name, status in statuses.items() if status == SKIPPED]
    broken = [name for name in names if name not in kept + skipped]
    print(f"promises: kept {', '.join(kept) or 'none'} · missed {', '.join(broken) or 'none'} · "
          f"skipped {', '.join(skipped) or 'none'}")
    return 1 if broken or not kept or (skipped and options.strict) else 0


if __name__ == "__main__":
    sys.exit(main())
