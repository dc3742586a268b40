"""Writes TYPE.blocks (random blocks) and TYPE.f32 (their values) with the Python package gguf.

The package's own dequantisation is what dequantize_test judges ours by, bit for bit. The tests read
only the files written here; run this again to extend them: python3 make_vectors.py
"""

import pathlib

import gguf
import numpy as np

HERE = pathlib.Path(__file__).parent
# Offsets of the f16 scales inside a block: random bytes there would mostly be huge, infinite or NaN.
HALVES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
SPECIAL = [0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 65504.0, -65504.0, 1.0]  # subnormals, the largest, one


def main():
    rng = np.random.default_rng(20240607)
    for name, offsets in HALVES.items():
        kind = gguf.GGMLQuantizationType[name]
        values, size = gguf.GGML_QUANT_SIZES[kind]
        count = 48 if values == 32 else 16
        blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
        for offset in offsets:
            scales = rng.normal(0, 0.05, count).astype(np.float16)
            scales[: len(SPECIAL)] = np.array(SPECIAL, dtype=np.float16)
            blocks[:, offset : offset + 2] = scales.view(np.uint8).reshape(count, 2)
        (HERE / f"{name.lower()}.blocks").write_bytes(blocks.tobytes())
        expanded = gguf.quants.dequantize(blocks, kind).astype("<f4")
        (HERE / f"{name.lower()}.f32").write_bytes(expanded.tobytes())


if __name__ == "__main__":
    main()
