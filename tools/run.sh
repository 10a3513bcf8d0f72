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
up_file="$repo/build/up.worker"

build() {
  "$repo/tools/setup.sh"
  build_preset release llorch-candled llorch-pool llorch
}

# The checkout is the root of the files (models, logs) unless LLORCH_ROOT names another.
get_model() {
  [[ -n ${LLORCH_ROOT:-} ]] || mkdir -p "$repo/.runtime" "$repo/.test-models"
  "$bin/llorch-pool" models download "$model"
}

# spawn [ARGUMENT...]: starts a worker and waits until it answers; sets worker_id and worker_address.
spawn() {
  local reply # "worker-cpu-a1b2c3 is ready at http://127.0.0.1:8001"
  echo "Starting a worker with $model"
  # Its own hint for a next step is not ours, so its messages are shown only when it fails.
  if ! reply="$("$bin/llorch-pool" worker spawn cpu --model "$model" "$@" 2>"$log_dir/spawn.log")"; then
    cat "$log_dir/spawn.log" >&2
    return 1
  fi
  worker_id="${reply%% *}"
  worker_address="${reply##*/}"
}

stop_worker() { "$bin/llorch-pool" worker stop "$1" >/dev/null; }

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
  spawn
  trap 'stop_worker "$worker_id"' EXIT
  local prompt="${LLORCH_PROMPT:-}" status=0
  "$bin/llorch" infer --worker "$worker_address" --max-tokens 256 \
    --prompt "${prompt:-Why is the sky blue?}" || status=$?
  trap - EXIT
  stop_worker "$worker_id"
  ((status == 0)) || exit "$status"
  printf '\nThe worker has stopped. Next:\n'
  echo '  make up                       keeps a worker running for curl and the openai clients'
  suggest_model
  echo '  build/bin/llorch --help       everything else'
}

how_to_use() {
  cat <<TEXT
A worker is up: $1 on http://$2 (model $model). Use it:
  build/bin/llorch infer --worker $2 --prompt "Hello" --max-tokens 20
  curl http://$2/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"messages":[{"role":"user","content":"Hello"}],"max_tokens":20}'
  python: openai.OpenAI(base_url="http://$2/v1", api_key="none")
  build/bin/llorch-pool worker logs $1
Stop it: make down
TEXT
}

# Whether the worker of an earlier `up` still answers.
still_up() {
  [[ -f $up_file ]] || return 1
  read -r worker_id worker_address <"$up_file"
  curl -fsS -m 5 -o /dev/null "http://$worker_address/health" 2>/dev/null
}

up() {
  local port="${LLORCH_UP_PORT:-}"
  port="${port:-8080}"
  build
  if ! still_up; then
    get_model
    if ! spawn --port "$port"; then
      stop_with "no worker on port $port" "if the port is taken: make up PORT=8081" 5
    fi
    echo "$worker_id $worker_address" >"$up_file"
  fi
  how_to_use "$worker_id" "$worker_address"
}

down() {
  if [[ ! -f $up_file ]]; then
    echo 'nothing is up'
    return
  fi
  read -r worker_id worker_address <"$up_file"
  if ! "$bin/llorch-pool" worker stop "$worker_id"; then
    "$bin/llorch-pool" worker cleanup
  fi
  rm -f "$up_file"
}

case "${1:-}" in
  once | up | down | build) "$1" ;;
  *) stop_with "run: unknown step '${1:-}'" "tools/run.sh once|up|down|build" 2 ;;
esac
