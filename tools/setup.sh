#!/usr/bin/env bash
# Installs what building llorch needs and this machine lacks; with --test, what its tests need too;
# with --bench, what measurements beside other programs need.
#   tools/setup.sh [--test] [--bench] [--no-packages]
# Debian 12 and Ubuntu 24.04, as root or with sudo. Done already: under a second, nothing changed.
# --no-packages leaves the system's packages to you: only sources, venv and node modules.
set -euo pipefail
# shellcheck source=tools/llama_release.sh
source "$(dirname "${BASH_SOURCE[0]}")/llama_release.sh"
export DEBIAN_FRONTEND=noninteractive

for_tests=false
for_bench=false
with_packages=true
for argument in "$@"; do
  case "$argument" in
    --test) for_tests=true ;;
    --bench) for_bench=true ;;
    --no-packages) with_packages=false ;;
    *) stop_with "setup: unknown argument '$argument'" "tools/setup.sh [--test] [--bench] [--no-packages]" 2 ;;
  esac
done

# The system: "debian 12", "ubuntu 24.04", "darwin", or what os-release says.
system_name() {
  if [[ $(uname -s) == Darwin ]]; then echo darwin; return; fi
  # shellcheck disable=SC1091  # the machine's own file
  (. /etc/os-release 2>/dev/null && echo "${ID:-unknown} ${VERSION_ID:-}") || echo unknown
}

# Tools that may come from elsewhere (pyenv, a newer CMake): a package is wanted only when its
# command is missing. "command:package" each.
tool_list() {
  echo g++:g++ cmake:cmake ninja:ninja-build pkg-config:pkg-config git:git curl:curl \
    python3:python3 ccache:ccache mold:mold ssh:openssh-client patch:patch
  if $for_tests; then
    echo clang++-19:clang-19 clang-format-19:clang-format-19 clang-tidy-19:clang-tidy-19 \
      llvm-symbolizer-19:llvm-19 shellcheck:shellcheck node:nodejs npm:npm sshd:openssh-server
  fi
  if $for_bench; then echo nginx:nginx-light; fi
}

# Libraries, by package. Boost is named by version: Debian's default (1.74) is too old and cannot be
# installed beside 1.81.
library_list() {
  echo ca-certificates libssl-dev libcurl4-openssl-dev libfmt-dev libcli11-dev \
    libtomlplusplus-dev
  case "$1" in ubuntu*) echo libboost1.83-dev ;; *) echo libboost1.81-dev ;; esac
  if $for_tests; then echo libgtest-dev libgmock-dev libclang-rt-19-dev; fi
}

# Packages that this machine lacks, one a line.
missing_packages() {
  local pair package installed
  for pair in $(tool_list); do
    PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
  done
  python3 -c 'import venv, ensurepip' 2>/dev/null || echo python3-venv
  python3 -c 'import pip' 2>/dev/null || echo python3-pip
  # shellcheck disable=SC2046  # one word a package
  installed=" $(dpkg-query -W -f '${Package} ${db:Status-Status}\n' $(library_list "$1") 2>/dev/null |
    awk '$2 == "installed" {printf "%s ", $1}')"
  for package in $(library_list "$1"); do
    [[ $installed == *" $package "* ]] || echo "$package"
  done
}

# The cargo command that is new enough: the lock is of format 4 and a crate is of edition 2024.
# It vendors sources and builds Rhai (cmake/rhai.cmake). Prints nothing when there is none.
cargo_minor_min=85
find_cargo() {
  local candidate minor
  for candidate in cargo "$HOME/.cargo/bin/cargo" \
    $(compgen -c cargo-1. 2>/dev/null | sort -Vr); do
    minor="$("$candidate" --version 2>/dev/null | sed -nE 's/^cargo 1\.([0-9]+).*/\1/p')" || true
    if [[ -n $minor ]] && ((minor >= cargo_minor_min)); then
      echo "$candidate"
      return
    fi
  done
}

as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

lists_are_fresh=false
install_packages() {
  echo "setup: installing $*"
  if ((EUID != 0)) && ! command -v sudo >/dev/null; then
    stop_with "setup: these packages are missing and there is no sudo: $*" \
      "as root: apt-get install $*" 4
  fi
  $lists_are_fresh || as_root apt-get update -q >"$log_dir/apt.log" 2>&1 </dev/null ||
    stop_with "setup: apt-get update failed" "read $log_dir/apt.log"
  lists_are_fresh=true
  # In the foreground, where sudo may ask; it drops the environment, so name what apt must know.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" \
    >"$log_dir/apt.log" 2>&1 </dev/null ||
    stop_with "setup: apt-get install failed" "read $log_dir/apt.log"
}

# A Rust where cargo is missing or too old.
install_cargo() {
  local newest
  case "$1" in
    debian*) install_packages rustc-web cargo-web ;;
    *)
      $lists_are_fresh || as_root apt-get update -q >"$log_dir/apt.log" 2>&1 </dev/null || true
      lists_are_fresh=true
      newest="$(apt-cache pkgnames cargo-1. | grep -E '^cargo-1\.[0-9]+$' | sort -V | tail -n 1)"
      if [[ -n $newest ]] && ((${newest#cargo-1.} >= cargo_minor_min)); then
        install_packages "$newest"
      else
        install_packages rustup
        logged rustup "setup: rustup" rustup toolchain install stable --profile minimal
      fi
      ;;
  esac
}

system_packages() {
  local system missing
  system="$(system_name)"
  case "$system" in
    "debian 12" | "ubuntu 24.04") ;;
    darwin)
      echo "next: brew install cmake ninja pkg-config ccache boost openssl@3 curl fmt cli11" \
        "tomlplusplus googletest llvm rust python node" >&2
      stop_with "setup: packages of macOS are not installed by this script" \
        "then tools/setup.sh --no-packages"
      ;;
    *)
      stop_with "setup: knows Debian 12 and Ubuntu 24.04, this is '$system'" \
        "install by hand: $(tool_list | tr ' ' '\n' | sed 's/.*://' | tr '\n' ' ')$(library_list "$system" |
          tr '\n' ' '); then tools/setup.sh --no-packages"
      ;;
  esac
  missing="$(missing_packages "$system" | sort -u)"
  # shellcheck disable=SC2086  # one word a package
  [[ -z $missing ]] || install_packages $missing
  [[ -n $(find_cargo) ]] || install_cargo "$system"
}

# stamp_is FILE VALUE: whether an earlier run left exactly this.
stamp_is() { [[ -f $1 && $(<"$1") == "$2" ]]; }

# The sources of llama.cpp, SQLite and Rhai, checked against the lock's checksums by cargo.
vendor_stamp="$repo/third_party/vendor/.lock-sha256"
source_packages() {
  local lock cargo
  lock="$(file_sha256 "$repo/third_party/Cargo.lock")"
  if stamp_is "$vendor_stamp" "$lock"; then return; fi
  cargo="$(find_cargo)"
  if [[ -z $cargo ]] && $with_packages; then
    install_cargo "$(system_name)"
    cargo="$(find_cargo)"
  fi
  [[ -n $cargo ]] || stop_with "setup: no cargo of 1.$cargo_minor_min or newer" "install Rust"
  logged vendor "setup: source packages" "$cargo" vendor --locked \
    --manifest-path "$repo/third_party/Cargo.toml" "$repo/third_party/vendor"
  echo "$lock" >"$vendor_stamp"
}

# The end-to-end tests' Python packages in .venv, and the openai client of JavaScript.
test_packages() {
  local wanted folder="$repo/tests/e2e"
  wanted="$(file_sha256 "$folder/requirements.txt")"
  if ! stamp_is "$repo/.venv/.requirements-sha256" "$wanted" || [[ ! -x $repo/.venv/bin/python ]]; then
    [[ -x $repo/.venv/bin/python ]] || logged venv "setup: venv" python3 -m venv --clear "$repo/.venv"
    logged pip "setup: Python packages" "$repo/.venv/bin/python" -m pip install -q \
      --disable-pip-version-check -r "$folder/requirements.txt"
    echo "$wanted" >"$repo/.venv/.requirements-sha256"
  fi
  wanted="$(file_sha256 "$folder/package-lock.json")"
  if ! stamp_is "$folder/node_modules/.lock-sha256" "$wanted"; then
    logged npm "setup: JavaScript packages" npm --prefix "$folder" ci --no-audit --no-fund
    echo "$wanted" >"$folder/node_modules/.lock-sha256"
  fi
}

mkdir -p "$log_dir"
if $with_packages; then system_packages; fi
source_packages
if $for_tests; then
  test_packages
  llama_release
fi
