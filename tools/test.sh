#!/usr/bin/env bash
# Set-up, dev build and tests.
#   tools/test.sh            unit tests, the real programs end to end, most promises at a tenth
#   tools/test.sh promises   tests/promises: prints each figure against its target
#   tools/test.sh soak       the fleet simulator's long count of seeds, then promises with theirs
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repo"

run_pytest() {
  "$repo/.venv/bin/python" -m pytest -q --timeout 300 --durations 15 "$@" </dev/null
}

# Not by ctest, whose limit is for the 1 000 seeds of CI: a seed takes some 16 ms of a core.
run_simulator() {
  LLORCH_SIM_SEEDS="${LLORCH_SIM_SEEDS:-100000}" timeout 7200 build/dev/tests/sim_test \
    --gtest_filter=FleetSim.KeepsEveryRuleWhateverBreaks </dev/null
}

heading "set-up"
"$repo/tools/setup.sh" --test

case "${1:-all}" in
  all)
    heading "build dev"
    build_preset dev
    heading "the model"
    export LLORCH_BIN_DIR="$repo/build/dev/bin"
    LLORCH_TEST_MODEL="$(test_model "$LLORCH_BIN_DIR")"
    export LLORCH_TEST_MODEL
    heading "unit tests"
    ctest --test-dir build/dev --output-on-failure -j "$(cores)" </dev/null
    heading "tests of the tools, end to end"
    run_pytest tools tests/promises tests/e2e
    heading "most promises, a tenth of their counts"
    .venv/bin/python tests/promises/run.py --scale ci --only R1,R2,R3,R4,R5,R7,R9,R13 --strict </dev/null
    # It mounts small disks; where that is forbidden it says so and ends with 77.
    .venv/bin/python tests/promises/R08_disk.py --scale ci </dev/null || [[ $? == 77 ]]
    ;;
  promises | soak)
    heading "build release"
    build_preset release
    build_preset dev llorch-fake-worker
    export LLORCH_BIN_DIR="$repo/build/bin"
    LLORCH_TEST_MODEL="$(test_model "$LLORCH_BIN_DIR")"
    export LLORCH_TEST_MODEL
    scale=full
    if [[ $1 == soak ]]; then
      scale=soak
      build_preset dev sim_test
      heading "simulated fleets"
      run_simulator
    fi
    heading "$1"
    .venv/bin/python tests/promises/run.py --scale "$scale" </dev/null
    ;;
  *) stop_with "test: unknown part '$1'" "tools/test.sh [promises|soak]" 2 ;;
esac
