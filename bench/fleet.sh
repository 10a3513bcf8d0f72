#!/usr/bin/env bash
# Orders and placements of orchestratord against each other, on workers without a model:
# bench/fleet.sh [--cases queue,placement,unshared,real] [--rounds N] [--short] [--out FILE]
# Takes the programs of build/bin, and the worker without a model of build/*/tests.
set -euo pipefail
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec python3 "$repo/bench/fleet.py" "$@"
