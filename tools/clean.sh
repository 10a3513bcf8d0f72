#!/usr/bin/env bash
# Removes what builds made, except llama.cpp's own build (minutes to make again; rm -r build/llama).
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[[ -d $repo/build ]] || exit 0
if [[ -f $repo/build/up.fleet ]]; then
  stop_with "clean: what make up started still runs from build/bin" "make down"
fi
find "$repo/build" -mindepth 1 -maxdepth 1 ! -name llama -exec rm -rf {} +
