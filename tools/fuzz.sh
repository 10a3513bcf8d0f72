#!/usr/bin/env bash
# Runs every fuzz target for a while, two at a time: tools/fuzz.sh [SECONDS_EACH]
# Seeds come from fuzz/corpus/NAME where it exists; a crash leaves its input in build/fuzz/crashes.
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
seconds_each="${1:-10}"
build="$repo/build/fuzz"
crashes="$build/crashes"

[[ -f $build/build.ninja ]] ||
  logged configure-fuzz "configure fuzz" cmake -S "$repo" --preset fuzz
mapfile -t targets < <(ninja -C "$build" -t targets all | sed -nE 's/^(fuzz_[a-z0-9_]+): phony$/\1/p')
((${#targets[@]} > 0)) || stop_with "fuzz: no targets" "look at fuzz/CMakeLists.txt"
build_preset fuzz "${targets[@]}"
mkdir -p "$crashes" "$log_dir"

# fuzz_one TARGET: new inputs stay in build/, so a run never changes the tree.
fuzz_one() {
  local target="$1" found="$build/found/$1" seeds="$repo/fuzz/corpus/${1#fuzz_}"
  mkdir -p "$found"
  [[ -d $seeds ]] || seeds=""
  "$build/fuzz/$target" -max_total_time="$seconds_each" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$crashes/$target-" "$found" ${seeds:+"$seeds"} \
    >"$log_dir/$target.log" 2>&1 </dev/null
}

failed=()
for ((i = 0; i < ${#targets[@]}; i += 2)); do
  pids=()
  for target in "${targets[@]:i:2}"; do
    fuzz_one "$target" &
    pids+=("$target:$!")
  done
  for pair in "${pids[@]}"; do
    target="${pair%:*}"
    if wait "${pair#*:}"; then
      printf '%-28s ok, %s inputs\n' "$target" \
        "$(sed -nE 's/^stat::number_of_executed_units: *//p' "$log_dir/$target.log")"
    else
      failed+=("$target")
      tail -n 30 "$log_dir/$target.log" >&2
    fi
  done
done
((${#failed[@]} == 0)) ||
  stop_with "fuzz: ${failed[*]}" "replay: $build/fuzz/TARGET $crashes/TARGET-…"
