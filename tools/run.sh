#!/usr/bin/env bash
# From a checkout to a streamed answer, and a worker that stays up: behind make run, up and down.
#   tools/run.sh once     answers $LLORCH_PROMPT and stops the worker again
#   tools/run.sh up       leaves a worker running on 127.0.0.1:$LLORCH_UP_PORT (8080)
#   tools/run.sh down     stops what `up` left running
#   tools/run.sh build    set-up and release build only
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

model="${LLORCH_MODEL:-smollm2}"
bin="$repo/build/bin"
up_file="$repo/build/up.worker" # ID ADDRESS MODEL
worker_id=""

build() {
  "$repo/tools/setup.sh"
  build_preset release llorch-candled llorch-pool llorch
}

# The checkout is the root of the files (models, logs) unless LLORCH_ROOT names another.
get_model() {
  [[ -n ${LLORCH_ROOT:-} ]] || mkdir -p "$repo/.runtime" "$repo/.test-models"
  "$bin/llorch-pool" models download "$model"
}

# end_spawn PID STATUS: llorch-pool stops the worker it waits for, then this script ends too.
end_spawn() {
  kill -TERM "$1" 2>/dev/null || true
  wait "$1" || true
  exit "$2"
}

# spawn [ARGUMENT...]: starts a worker and waits until it answers; sets worker_id and worker_address.
spawn() {
  local reply pid status=0 # "worker-cpu-a1b2c3 is ready at http://127.0.0.1:8001"
  echo "Starting a worker with $model"
  mkdir -p "$log_dir"
  # Its own hint for a next step is not ours, so its messages are shown only when it fails. In the
  # background: bash acts on a signal only between commands, and would wait for the model.
  "$bin/llorch-pool" worker spawn cpu --model "$model" "$@" \
    >"$log_dir/spawn.reply" 2>"$log_dir/spawn.log" </dev/null &
  pid=$!
  # shellcheck disable=SC2064  # this pid, not a later one
  trap "end_spawn $pid 130" INT
  # shellcheck disable=SC2064
  trap "end_spawn $pid 143" TERM
  wait "$pid" || status=$?
  reply="$(<"$log_dir/spawn.reply")"
  if ((status == 0)); then
    worker_id="${reply%% *}"
    worker_address="${reply##*/}"
  else
    cat "$log_dir/spawn.log" >&2
  fi
  # From here on the trap on EXIT knows the worker.
  trap 'exit 130' INT
  trap 'exit 143' TERM
  return "$status"
}

# The trap on EXIT while a worker of ours runs that nothing else would stop.
stop_worker() { [[ -z $worker_id ]] || "$bin/llorch-pool" worker stop "$worker_id" >/dev/null; }

# The largest model of the catalog that fits this machine and is larger than the one just used.
suggest_model() {
  "$bin/llorch-pool" models catalog --json | python3 -c '
import json, sys
models = json.load(sys.stdin)["models"]
used = max((m["size_bytes"] for m in models if m["id"] == sys.argv[1]), default=0)
better = [m for m in models if m.get("fits") and m["size_bytes"] > used]
if better:
    best = max(better, key=lambda m: m["size_bytes"])
    print("  %-29s a better model that fits this machine: %s, %.1f GB"
          % ("make run MODEL=" + best["id"], best["name"], best["size_bytes"] / 1e9))
' "$model"
}

once() {
  build
  get_model
  trap stop_worker EXIT
  spawn
  local prompt="${LLORCH_PROMPT:-}" status=0
  "$bin/llorch" infer --worker "$worker_address" --max-tokens 256 \
    --prompt "${prompt:-Why is the sky blue?}" || status=$?
  trap - EXIT
  stop_worker
  ((status == 0)) || exit "$status"
  printf '\nThe worker has stopped. Next:\n'
  echo '  make up                       keeps a worker running for curl and the openai clients'
  suggest_model
  echo '  build/bin/llorch --help       everything else'
}

how_to_use() {
  cat <<TEXT
A worker is up: $1 on http://$2 (model $3). Use it:
  build/bin/llorch infer --worker $2 --prompt "Hello" --max-tokens 20
  curl http://$2/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":20}'
  python: openai.OpenAI(base_url="http://$2/v1", api_key="none")
  build/bin/llorch-pool worker logs $1
Stop it: make down
TEXT
}

# Whether the worker of an earlier `up` still answers there, and not another program; sets
# up_id, up_address and up_model.
still_up() {
  [[ -f $up_file ]] || return 1
  read -r up_id up_address up_model <"$up_file" || return 1
  curl -fsS -m 5 "http://$up_address/health" 2>/dev/null |
    python3 -c 'import json, sys; sys.exit(json.load(sys.stdin).get("worker_id") != sys.argv[1])' \
      "$up_id" 2>/dev/null
}

up() {
  local port="${LLORCH_UP_PORT:-}"
  port="${port:-8080}"
  build
  if still_up; then
    if [[ -n ${LLORCH_MODEL:-} && $LLORCH_MODEL != "$up_model" ]]; then
      stop_with "a worker with $up_model is up already: $up_id on http://$up_address" \
        "make down, then make up MODEL=$LLORCH_MODEL" 5
    fi
  else
    get_model
    trap stop_worker EXIT
    if ! spawn --port "$port"; then
      stop_with "no worker on port $port" "if the port is taken: make up PORT=8081" 5
    fi
    echo "$worker_id $worker_address $model" >"$up_file"
    trap - EXIT
    still_up || stop_with "$worker_id does not answer" "build/bin/llorch-pool worker logs $worker_id"
  fi
  how_to_use "$up_id" "$up_address" "$up_model"
}

down() {
  if [[ ! -f $up_file ]]; then
    echo 'nothing is up'
    return
  fi
  local id status=0
  read -r id _ <"$up_file"
  "$bin/llorch-pool" worker stop "$id" || status=$?
  # 3: unknown to this root. It may have been stopped by hand, or LLORCH_ROOT is another one now.
  if ((status == 3)) && ! still_up; then status=0; fi
  ((status == 0)) || stop_with "$id is still up" "try make down again, or read its log" "$status"
  rm -f "$up_file"
}

case "${1:-}" in
  once | up | down | build) "$1" ;;
  *) stop_with "run: unknown step '${1:-}'" "tools/run.sh once|up|down|build" 2 ;;
esac
