"""Writes tiny random models with Transformers, each as a Hugging Face folder and as a GGUF file.

Both hold the same weights, so the tests can check names, shapes and the order of Q and K rows
against each other without Python. Rows of Q and K are reordered for llama as llama.cpp's converter
does it (convert_hf_to_gguf.py, LlamaModel.permute). Run again to extend: python3 make_models.py
"""

import math
import pathlib
import shutil

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

HERE = pathlib.Path(__file__).parent
SIZES = dict(vocab_size=40, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
             num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
             bos_token_id=1, eos_token_id=2, pad_token_id=None)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=8192)
MODELS = {
    "tiny-llama": (LlamaConfig(**SIZES, attention_bias=True, rope_parameters=LLAMA3), torch.float32),
    "tiny-llama-tied": (LlamaConfig(**SIZES, tie_word_embeddings=True), torch.bfloat16),
    "tiny-mistral": (MistralConfig(**SIZES, sliding_window=16), torch.float16),
    "tiny-qwen2": (Qwen2Config(**SIZES), torch.float32),
    "tiny-qwen3": (Qwen3Config(**SIZES, head_dim=16), torch.bfloat16),
}
LAYER_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GLOBAL_NAMES = {"model.embed_tokens.weight": "token_embd.weight",
                "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}


def gguf_name(name):
    if name in GLOBAL_NAMES:
        return GLOBAL_NAMES[name]
    _, _, layer, rest = name.split(".", 3)
    module, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{LAYER_NAMES[module]}.{kind}"


def permuted(tensor, heads):
    rows = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return np.ascontiguousarray(rows.swapaxes(1, 2)).reshape(tensor.shape)


def llama3_divisors(rope, head_dim):
    divisors = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / head_dim)
        turns = rope["original_max_position_embeddings"] / wavelength
        smooth = (turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
        smooth = min(1.0, max(0.0, smooth))
        divisors.append(1.0 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(divisors, dtype=np.float32)


def write_gguf(path, model):
    config = model.config
    name = "llama" if config.model_type == "mistral" else config.model_type
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer = gguf.GGUFWriter(path, name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    if config.model_type == "qwen3":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if config.model_type == "mistral":
        writer.add_sliding_window(config.sliding_window)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{i}" for i in range(config.vocab_size)])
    writer.add_token_types([1] * config.vocab_size)
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    if config.rope_parameters["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(config.rope_parameters, head_dim))
    for key, value in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        array = value.float().numpy()
        if name == "llama" and ".q_proj." in key:
            array = permuted(array, config.num_attention_heads)
        if name == "llama" and ".k_proj." in key:
            array = permuted(array, config.num_key_value_heads)
        if array.ndim == 1:
            writer.add_tensor(gguf_name(key), array)
        elif value.dtype == torch.bfloat16:
            kind = gguf.GGMLQuantizationType.BF16
            writer.add_tensor(gguf_name(key), gguf.quants.quantize(array, kind), raw_dtype=kind)
        elif value.dtype == torch.float16:
            writer.add_tensor(gguf_name(key), array.astype(np.float16))
        else:
            writer.add_tensor(gguf_name(key), array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    for seed, (name, (config, dtype)) in enumerate(MODELS.items()):
        torch.manual_seed(seed)
        config.dtype = dtype
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for parameter in model.parameters():  # norms and biases too, or a mix-up would not show
                parameter.normal_(0, 0.1)
        model = model.to(dtype)
        shutil.rmtree(HERE / name, ignore_errors=True)
        # The second model in shards, so that the reader meets an index written by Transformers.
        model.save_pretrained(HERE / name, max_shard_size="20KB" if name.endswith("tied") else "1GB")
        (HERE / name / "generation_config.json").unlink(missing_ok=True)
        write_gguf(HERE / f"{name}.gguf", model)


if __name__ == "__main__":
    main()
