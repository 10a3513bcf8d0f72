#!/usr/bin/env bash
# Tries every model of the catalog, and a tiny model of each family, on each backend of this host:
#   .docs/testing/test_all_models.sh [--models smollm2,tiny-phi3] [--backends cpu,cuda] [--json [FILE]]
# Last line: Passed: N Failed: N Skipped: N. Exit status 1 when nothing passed, a model that was
# downloaded failed, or the tiny model of a catalog architecture did. tools/model_matrix.py does the
# work and says more in its --help.
set -euo pipefail
# shellcheck source=tools/llama_release.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../tools/llama_release.sh"
python="$repo/.venv/bin/python"
# All words go to stderr or a log: the last line of stdout is the result.
if [[ ! -d $llama_release_tree ]] || ! "$python" -c 'import gguf, jinja2' 2>/dev/null; then
  "$repo/tools/setup.sh" --test --no-packages >&2
fi
bin="${LLORCH_BIN_DIR:-$repo/build/bin}"
if [[ ! -x $bin/llorch-pool || ! -x $bin/llorch-candled ]]; then
  [[ -z ${LLORCH_BIN_DIR:-} ]] || stop_with "models: no programs in $bin" "make build"
  "$repo/tools/run.sh" build >&2
fi
exec "$python" "$repo/tools/model_matrix.py" --bin "$bin" "$@"
