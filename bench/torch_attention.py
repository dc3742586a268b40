"""PyTorch's attention back ends over the shapes of gpu_attention_bench, in the same lines.

Usage: torch_attention.py [D...] [full|causal]    (64 128 256, both)
"""

import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

TOKENS, COLUMNS = 16384, 2048
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}


def microseconds(enqueue, launches=30):
    """Median of launches, by events around each, after a few to warm up."""
    for i in range(5):
        enqueue(i)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(launches + 1)]
    marks[0].record()
    for i in range(launches):
        enqueue(i)
        marks[i + 1].record()
    torch.cuda.synchronize()
    return 1e3 * statistics.median(a.elapsed_time(b) for a, b in zip(marks, marks[1:]))


def time(name, dim, seq, causal):
    shape = (TOKENS // seq, seq, COLUMNS // dim, dim)
    sets = [
        [torch.randn(shape, device="cuda", dtype=torch.bfloat16).transpose(1, 2) for _ in range(3)]
        for _ in range(2)
    ]
    with sdpa_kernel(BACKENDS[name]):
        us = microseconds(lambda i: F.scaled_dot_product_attention(*sets[i % 2], is_causal=causal))
    flops = 4 * TOKENS * COLUMNS * seq / (2 if causal else 1)
    batch, seq, heads, dim = shape
    shape_id = f"{batch}.{heads}.{heads}.{seq}.{seq}.{dim}/{'causal' if causal else 'full'}"
    print(f"attn_fwd/torch/{name}/bf16/{shape_id} {us:9.1f} us {flops / us * 1e-6:6.0f} TFLOP/s")


def main():
    words = sys.argv[1:]
    dims = [int(word) for word in words if word.isdigit()] or [64, 128, 256]
    masks = [word == "causal" for word in words if not word.isdigit()] or [False, True]
    for dim in dims:
        for causal in masks:
            for seq in (512, 1024, 2048, 4096, 8192, 16384):
                for name in BACKENDS:
                    time(name, dim, seq, causal)


if __name__ == "__main__":
    main()
