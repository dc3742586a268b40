#!/usr/bin/env bash
# tokens/s of the demo's configuration: 12 steps, the first two left out, median of the rest.
set -euo pipefail

program=${1:?usage: bench_train.sh REGARD}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

for bf16 in true false; do
  for module in flash_attention_2 sdpa eager; do
    "$program" train examples/demo.yml --flash_attention false --attn_implementation "$module" --bf16 "$bf16" \
      --max_steps 12 --eval_steps 1000 --val_set_size 0 --sample_prompt "" --output_dir "$out/run" >"$out/log" 2>&1 || {
      cat "$out/log" >&2
      exit 1
    }
    python3 - "$out/run/metrics.jsonl" "$module" "$bf16" <<'PYTHON'
import json, statistics, sys
steps = [r for r in map(json.loads, open(sys.argv[1])) if r["kind"] == "step"][2:]
rate = statistics.median(r["tokens_per_second"] for r in steps)
peak = max(r["peak_memory_bytes"] for r in steps) / 2**30
dtype = "bf16" if sys.argv[3] == "true" else "fp32"
print(f"train/cpu/SmolLM2-135M/lora16/{dtype}/{sys.argv[2]:<18} {rate:7.0f} tokens/s  peak {peak:.2f} GiB")
PYTHON
    rm -rf "$out/run"
  done
done
