#!/usr/bin/env bash
# Installs what the build, the tests and the demo need, from Debian. Asks the package manager only for what is missing.
set -euo pipefail

packages=(
  g++ cmake ninja-build make pkg-config          # build
  libhwy-dev libgtest-dev libgmock-dev libbenchmark-dev # engine, tests, benchmarks
  libtorch-dev libopenblas-dev                   # trainer
  libyaml-cpp-dev nlohmann-json3-dev libcli11-dev libpcre2-dev libutf8proc-dev
  python3 python3-pip dict-devil                 # demo: model and text
)
[ "${1:-}" = "--lint" ] && packages+=(clang clang-format clang-tidy clang-19) # 19: kernels for AMD

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "Installing: ${missing[*]}"
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "error: these Debian packages are missing, and there is neither root nor sudo here to install them:" >&2
    echo "  apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
