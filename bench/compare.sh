#!/usr/bin/env bash
# Runs the worker and llama-server, built from one tree of llama.cpp, on the same model, and prints
# a Markdown table: bench/compare.sh [--model FILE] [--rounds N] [--cases a,b] [--out FILE] …
# The tree is the release of tools/llama_release.sh; see docs/benchmarks.md. Further
# flags go to bench/compare.py (--help lists them).
set -euo pipefail
# shellcheck source=tools/llama_release.sh
source "$(dirname "${BASH_SOURCE[0]}")/../tools/llama_release.sh"
compare="$llama_release_dir"
tree="$llama_release_tree"
llama_release

if [[ ! -x $compare/server/bin/llama-server ]]; then
  # Its own defaults (OpenMP, native instructions); only the web page and the downloader are off.
  logged compare-configure "bench: configure llama-server" timeout 300 cmake -S "$tree" \
    -B "$compare/server" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_UI=OFF \
    -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
    -DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache
  logged compare-server "bench: build llama-server" timeout 3600 \
    ninja -C "$compare/server" llama-server
fi

logged compare-llorch "bench: configure llorch" timeout 3600 cmake -S "$repo" --preset release \
  -B "$compare/llorch" -DLLORCH_BIN_DIR="$compare/bin" -DLLORCH_LLAMA_CPP_DIR="$tree"
logged compare-worker "bench: build llorch" timeout 3600 \
  ninja -C "$compare/llorch" llorch-candled llorch-load

exec python3 "$repo/bench/compare.py" --work "$compare" "$@"
