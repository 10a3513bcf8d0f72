#!/usr/bin/env bash
# Measures what orchestratord costs between a client and a worker, beside nginx in front of the same
# worker, and prints a Markdown table: bench/relay.sh [--rounds N] [--out FILE] …
# Further flags go to bench/relay.py (--help lists them). See docs/benchmarks.md.
set -euo pipefail
repo="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
build="$repo/build/relay"
# Debian keeps nginx where only root looks for programs.
if ! PATH="$PATH:/usr/sbin" command -v nginx >/dev/null; then
  echo "relay: nginx is not installed; next: tools/setup.sh --bench" >&2
  exit 1
fi
mkdir -p "$build"
# With the tests: the fake worker is one of their fakes.
timeout 600 cmake -S "$repo" --preset release -B "$build" -DLLORCH_TESTS=ON \
  -DLLORCH_BIN_DIR="$build/bin" >"$build/configure.log" 2>&1 ||
  { tail -n 20 "$build/configure.log" >&2; exit 1; }
timeout 3600 ninja -C "$build" orchestratord llorch-load llorch-fake-worker >"$build/build.log" 2>&1 ||
  { tail -n 20 "$build/build.log" >&2; exit 1; }
exec python3 "$repo/bench/relay.py" --work "$build" "$@"
