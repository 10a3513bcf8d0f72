#!/usr/bin/env bash
# From a checkout to a streamed answer, and a fleet of one that stays up: behind make run, up and down.
#   tools/run.sh once     answers $LLORCH_PROMPT and stops everything again
#   tools/run.sh up       leaves orchestratord on 127.0.0.1:$LLORCH_UP_PORT (8080), and a worker
#   tools/run.sh down     stops what `up` left running
#   tools/run.sh build    set-up and release build only
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

model="${LLORCH_MODEL:-smollm2}"
bin="$repo/build/bin"
up_file="$repo/build/up.fleet" # WORKER_ID WORKER_ADDRESS MODEL ORCHESTRATOR_PID ORCHESTRATOR_ADDRESS
worker_id=""
boss_pid=""

build() {
  "$repo/tools/setup.sh"
  build_preset release llorch-candled llorch-pool llorch orchestratord
}

# The checkout is the root of the files (models, logs) unless LLORCH_ROOT names another.
get_model() {
  [[ -n ${LLORCH_ROOT:-} ]] || mkdir -p "$repo/.runtime" "$repo/.test-models"
  "$bin/llorch-pool" models download "$model"
}

# start_boss PORT: starts orchestratord in a session of its own and waits until it listens; sets
# boss_pid and boss_address.
start_boss() {
  mkdir -p "$log_dir"
  $(command -v setsid) "$bin/orchestratord" --port "$1" \
    >"$log_dir/orchestratord.out" 2>"$log_dir/orchestratord.log" </dev/null &
  boss_pid=$!
  local line="" # "orchestratord listening on http://127.0.0.1:8080"
  for ((tries = 0; tries < 200; ++tries)); do
    line="$(grep -o 'http://.*' "$log_dir/orchestratord.out" || true)"
    [[ -n $line ]] && break
    kill -0 "$boss_pid" 2>/dev/null || break
    sleep 0.05
  done
  boss_address="${line#http://}"
  [[ -n $line ]] && return
  wait "$boss_pid" 2>/dev/null || true
  boss_pid=""
  cat "$log_dir/orchestratord.log" >&2
  return 1
}

# stop_boss PID: ends orchestratord, and waits for it at most 10 s.
stop_boss() {
  kill -TERM "$1" 2>/dev/null || return 0
  for ((tries = 0; tries < 200; ++tries)); do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.05
  done
  kill -KILL "$1" 2>/dev/null || true
}

# Until orchestratord has a worker that could take a job.
wait_fleet() {
  for ((tries = 0; tries < 200; ++tries)); do
    curl -fsS -m 2 -o /dev/null "http://$boss_address/ready" 2>/dev/null && return
    sleep 0.05
  done
  stop_with "the worker did not register with orchestratord" "read $log_dir/orchestratord.log"
}

# end_spawn PID STATUS: llorch-pool stops the worker it waits for, then this script ends too.
end_spawn() {
  kill -TERM "$1" 2>/dev/null || true
  wait "$1" || true
  exit "$2"
}

# spawn: starts a worker for orchestratord and waits until it answers; sets worker_id and worker_address.
spawn() {
  local reply pid status=0 # "worker-cpu-a1b2c3 is ready at http://127.0.0.1:8001"
  echo "Starting a worker with $model"
  mkdir -p "$log_dir"
  # Its own hint for a next step is not ours, so its messages are shown only when it fails. In the
  # background: bash acts on a signal only between commands, and would wait for the model.
  "$bin/llorch-pool" worker spawn cpu --model "$model" --orchestrator-url "http://$boss_address" \
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

# The trap on EXIT while programs of ours run that nothing else would stop.
stop_fleet() {
  [[ -z $worker_id ]] || "$bin/llorch-pool" worker stop "$worker_id" >/dev/null
  [[ -z $boss_pid ]] || stop_boss "$boss_pid"
}

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
  trap stop_fleet EXIT
  start_boss 0 || stop_with "orchestratord did not start" "read $log_dir/orchestratord.log"
  spawn
  wait_fleet
  local prompt="${LLORCH_PROMPT:-}" status=0
  "$bin/llorch" infer --orchestrator-url "http://$boss_address" --max-tokens 256 \
    --prompt "${prompt:-Why is the sky blue?}" || status=$?
  trap - EXIT
  stop_fleet
  ((status == 0)) || exit "$status"
  printf '\nEverything has stopped. Next:\n'
  echo '  make up                       keeps it running for curl and the openai clients'
  suggest_model
  echo '  build/bin/llorch --help       everything else'
}

how_to_use() {
  cat <<TEXT
orchestratord is up on http://$5, with worker $1 (model $3). Use it:
  build/bin/llorch infer --orchestrator-url http://$5 --prompt "Hello" --max-tokens 20
  curl http://$5/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model":"$3","messages":[{"role":"user","content":"Hello"}],"max_tokens":20}'
  python: openai.OpenAI(base_url="http://$5/v1", api_key="none")
Another worker for it, here or on another host:
  build/bin/llorch-pool worker spawn cpu --model $3 --orchestrator-url http://$5
Stop it: make down
TEXT
}

# Whether the fleet of an earlier `up` still answers, and not another program; sets up_fields.
still_up() {
  [[ -f $up_file ]] || return 1
  read -ra up_fields <"$up_file" || return 1
  ((${#up_fields[@]} == 5)) || return 1
  kill -0 "${up_fields[3]}" 2>/dev/null || return 1
  curl -fsS -m 5 "http://${up_fields[1]}/health" 2>/dev/null |
    python3 -c 'import json, sys; sys.exit(json.load(sys.stdin).get("worker_id") != sys.argv[1])' \
      "${up_fields[0]}" 2>/dev/null
}

up() {
  local port="${LLORCH_UP_PORT:-}"
  port="${port:-8080}"
  build
  if still_up; then
    if [[ -n ${LLORCH_MODEL:-} && $LLORCH_MODEL != "${up_fields[2]}" ]]; then
      stop_with "a worker with ${up_fields[2]} is up already: ${up_fields[0]} on http://${up_fields[1]}" \
        "make down, then make up MODEL=$LLORCH_MODEL" 5
    fi
  else
    down >/dev/null || true # what is left of it
    get_model
    trap stop_fleet EXIT
    start_boss "$port" || stop_with "no orchestratord on port $port" "if the port is taken: make up PORT=8081" 5
    spawn || stop_with "no worker with $model" "read what it said above"
    wait_fleet
    echo "$worker_id $worker_address $model $boss_pid $boss_address" >"$up_file"
    trap - EXIT
    still_up || stop_with "$worker_id does not answer" "build/bin/llorch-pool worker logs $worker_id"
  fi
  how_to_use "${up_fields[@]}"
}

down() {
  if [[ ! -f $up_file ]]; then
    echo 'nothing is up'
    return
  fi
  local fields status=0
  read -ra fields <"$up_file"
  "$bin/llorch-pool" worker stop "${fields[0]}" || status=$?
  # 3: unknown to this root. It may have been stopped by hand, or LLORCH_ROOT is another one now.
  if ((status == 3)) && ! still_up; then status=0; fi
  ((status == 0)) || stop_with "${fields[0]} is still up" "try make down again, or read its log" "$status"
  # Its number may be another program's by now.
  [[ "$(ps -o args= -p "${fields[3]}" 2>/dev/null)" != *orchestratord* ]] || stop_boss "${fields[3]}"
  rm -f "$up_file"
}

case "${1:-}" in
  once | up | down | build) "$1" ;;
  *) stop_with "run: unknown step '${1:-}'" "tools/run.sh once|up|down|build" 2 ;;
esac
