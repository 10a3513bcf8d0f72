# shellcheck shell=bash
# Shared by the scripts of this folder: where things are, headings with elapsed time, long commands
# that log to a file and show one line of progress. Source it; it sets no options of the shell.

repo="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
log_dir="$repo/build/log"
started_s="${started_s:-$SECONDS}"

# heading TEXT: opens a part of a longer script.
heading() { printf '\n== %s (%d s)\n' "$1" "$((SECONDS - started_s))"; }

# stop_with WHAT NEXT: ends the script the way the programs do.
stop_with() {
  printf 'error: %s\nnext: %s\n' "$1" "$2" >&2
  exit "${3:-1}"
}

# file_sha256 FILE...: one hash over the contents of the files, in order.
file_sha256() {
  if command -v sha256sum >/dev/null; then cat -- "$@" | sha256sum; else cat -- "$@" | shasum -a 256; fi |
    cut -d' ' -f1
}

# last_step LOG...: the newest "[12/345]" that ninja wrote into any of the logs; may print nothing.
last_step() {
  local log newest=""
  for log in "$@"; do
    [[ -s $log ]] && { [[ -z $newest || $log -nt $newest ]] && newest="$log"; }
  done
  [[ -z $newest ]] && return 0
  tail -c 4000 "$newest" | tr '\r' '\n' | grep -oE '\[[0-9]+/[0-9]+\]' | tail -n 1 || true
}

# logged NAME TITLE PROGRAM...: runs the program with no input and its output in build/log/NAME.log.
# Shows one line of progress on a terminal, a line every 30 s elsewhere, the log's end on failure.
logged() {
  local name="$1" title="$2" log pid shown=0 begin=$SECONDS status=0
  shift 2
  mkdir -p "$log_dir"
  log="$log_dir/$name.log"
  # A session of its own: an interrupt can end all of it, and nothing in it can wait for a terminal.
  $(command -v setsid) "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  # shellcheck disable=SC2064  # this pid, not a later one
  trap "kill -TERM -- -$pid 2>/dev/null; exit 130" INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    ((SECONDS - begin < 1)) && continue
    if [[ -t 1 ]]; then
      printf '\r\033[K%s %s %d s' "$title" "$(last_step "$log" "$repo"/build/llama/*/log)" "$((SECONDS - begin))"
    elif ((SECONDS - begin >= shown + 30)); then
      shown=$((SECONDS - begin))
      printf '%s %s %d s\n' "$title" "$(last_step "$log" "$repo"/build/llama/*/log)" "$shown"
    fi
  done
  wait "$pid" || status=$?
  trap - INT TERM
  [[ -t 1 ]] && printf '\r\033[K'
  if ((status != 0)); then
    printf '%s: failed with status %d; the end of %s:\n' "$title" "$status" "$log" >&2
    tail -n 40 "$log" >&2
    return "$status"
  fi
  ((SECONDS - begin < 2)) || printf '%s: done in %d s\n' "$title" "$((SECONDS - begin))"
}

# cores: how many compilers to run at once.
cores() { nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2; }

# build_preset PRESET [TARGET...]: configures when needed, then builds. llama.cpp is built by the
# first configure of any preset (about 5 minutes on 2 cores) and shared by all of them.
build_preset() {
  local preset="$1" dir="$repo/build/$1"
  shift
  [[ -f $dir/build.ninja ]] ||
    logged "configure-$preset" "configure $preset" cmake -S "$repo" --preset "$preset"
  logged "build-$preset" "build $preset" cmake --build "$dir" -j "$(cores)" ${1:+--target "$@"}
}

# test_model BIN: puts the model of the tests into the checkout, once, and prints its path.
test_model() {
  mkdir -p "$repo/.runtime" "$repo/.test-models"
  LLORCH_ROOT="$repo" "$1/llorch-pool" models download smollm2 >/dev/null </dev/null || return
  LLORCH_ROOT="$repo" "$1/llorch-pool" models info smollm2 --json |
    python3 -c 'import json, os, sys; print(os.path.join(sys.argv[1], json.load(sys.stdin)["path"]))' \
      "$repo" # the catalog's rule: relative paths are below the root, absolute ones stay
}
