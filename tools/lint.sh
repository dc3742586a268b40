#!/usr/bin/env bash
# clang-tidy over our own sources, with the compile commands of a build folder. Sources that include LibTorch are left to
# the compiler's warnings: its headers alone take clang-tidy half a minute a file.
set -euo pipefail

build=${1:?usage: lint.sh BUILD_FOLDER}
git ls-files 'src/*.cc' 'tune/config/*.cc' 'tune/files/*.cc' 'tune/tokenizer/*.cc' 'tune/data/*.cc' 'tune/report/*.cc' |
  xargs -P "$(nproc)" -n 4 clang-tidy -p "$build" --quiet --extra-arg=-Wno-unknown-warning-option 2>/dev/null
echo "clang-tidy: no findings"
