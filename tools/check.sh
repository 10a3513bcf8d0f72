#!/usr/bin/env bash
# Everything that can be wrong without a test of behaviour failing.
#   tools/check.sh          format, layers, clauses, tidy on changed files, ASan + UBSan, TSan, fuzzing
#   tools/check.sh --full   tidy everywhere, the tests under every preset, clang-19, 60 s a target
# LLORCH_BASE names the commit that "changed" is counted from.
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$repo"

full=false
case "${1:-}" in
  "") ;;
  --full) full=true ;;
  *) stop_with "check: unknown argument '$1'" "tools/check.sh [--full]" 2 ;;
esac
tidy_files_max=10 # about 20 s each: more would not fit beside the rest; --full takes all

# sources PATTERN...: files of ours that git knows.
sources() { git ls-files -- "$@"; }

check_format() {
  sources '*.h' '*.cpp' | xargs -r clang-format-19 --dry-run -Werror
}

check_scripts() {
  local script
  for script in $(sources '*.sh' .ci/run); do bash -n "$script"; done
  sources '*.sh' .ci/run | xargs shellcheck -x
}

# The commit that changes are counted from: the merge base with main elsewhere, else the previous.
base_commit() {
  local base
  if [[ -n ${LLORCH_BASE:-} ]]; then
    echo "$LLORCH_BASE"
    return
  fi
  base="$(git merge-base HEAD origin/main 2>/dev/null || true)"
  if [[ -z $base || $base == "$(git rev-parse HEAD)" ]]; then
    base="$(git rev-parse -q --verify HEAD~1 || git rev-parse HEAD)"
  fi
  echo "$base"
}

check_tidy() {
  local files count tidied=('src/*.cpp' 'apps/*.cpp' ':!*_test.cpp')
  if $full; then
    mapfile -t files < <(sources "${tidied[@]}")
  else
    mapfile -t files < <(git diff --name-only --diff-filter=d "$(base_commit)" -- "${tidied[@]}")
  fi
  # A file that no target of dev compiles has no flags to be checked with.
  mapfile -t files < <(printf '%s\n' "${files[@]}" | sed "s#^#\"file\": \"$repo/#; s#\$#\"#" |
    grep -oFf - build/dev/compile_commands.json | cut -d'"' -f4 | sort -u)
  count=${#files[@]}
  if ! $full && ((count > tidy_files_max)); then
    echo "tidy: $tidy_files_max of $count changed files; tools/check.sh --full takes all"
    files=("${files[@]:0:tidy_files_max}")
  fi
  ((count > 0)) || return 0
  printf '%s\0' "${files[@]}" >"$log_dir/tidy.files"
  logged tidy "tidy" xargs -0 -a "$log_dir/tidy.files" -n 1 -P "$(cores)" \
    clang-tidy-19 -p build/dev --quiet
}

# unit_tests PRESET [REGEX]: builds and runs the tests of a preset whose ctest name matches.
unit_tests() {
  local preset="$1" regex="${2:-.*}" targets=()
  [[ -f build/$preset/build.ninja ]] ||
    logged "configure-$preset" "configure $preset" cmake --preset "$preset"
  # The list of targets is of the sources as they are now, not as they were at the last configure.
  cmake --build "build/$preset" --target build.ninja >/dev/null
  mapfile -t targets < <(ninja -C "build/$preset" -t targets all |
    sed -nE 's/^([a-z0-9_]+)_test: phony$/\1/p' | grep -v ^cmake_ | grep -E "^($regex)\$" | sed 's/$/_test/')
  ((${#targets[@]} > 0)) || stop_with "check: no test of $preset matches $regex" "ls build/$preset"
  build_preset "$preset" "${targets[@]}"
  ctest --test-dir "build/$preset" -R "^($regex)\$" --output-on-failure -j "$(cores)" \
    --timeout 600 --no-tests=error </dev/null
}

export ASAN_OPTIONS="detect_leaks=1:strict_string_checks=1:check_initialization_order=1"
export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1"
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1"

heading "set-up"
tools/setup.sh --test
heading "format, scripts"
check_format
check_scripts
heading "layers"
python3 tools/layers.py
heading "clauses"
python3 tools/clauses.py
heading "tidy"
build_preset dev
check_tidy
heading "the model"
LLORCH_TEST_MODEL="$(test_model build/dev/bin)" # or the engine's tests on real weights are skipped
export LLORCH_TEST_MODEL
heading "unit tests with ASan and UBSan"
export LLORCH_SIM_SEEDS="${LLORCH_SIM_SEEDS:-100}" # each is ten times slower here
unit_tests asan
heading "network and worker with TSan"
if $full; then unit_tests tsan; else unit_tests tsan 'net|orchestrator|store|worker'; fi
if $full; then
  heading "unit tests built by clang"
  unit_tests clang
  heading "unit tests of dev"
  unit_tests dev
fi
heading "fuzzing"
if $full; then tools/fuzz.sh 60; else tools/fuzz.sh 10; fi
heading "check passed"
