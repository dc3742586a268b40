#!/usr/bin/env python3
"""Makes tests/data/models/reference: tiny random models with what Transformers and PEFT compute.

usage: make_model_reference.py OUTPUT_FOLDER      (needs torch, transformers, peft and safetensors)

Each sub-folder holds a model (config.json, model.safetensors in bfloat16), a LoRA adapter as PEFT
saves it (adapter/, with B away from zero) and expected.safetensors:
  input_ids, labels, position_ids, document_offsets   one packed row; the last document is padding
  logits        of the model with the adapter, every document computed by itself, f32
  base_logits   without the adapter
  loss_sum      sum of the cross entropies of all labels
  grad.NAME     its gradients by the adapter's tensors, NAME as in adapter_model.safetensors
"""

import copy
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from transformers import LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

VOCABULARY = 64
LENGTHS = [13, 1, 9, 3]  # the last is padding
SHAPE = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    initializer_range=0.25,
    attn_implementation="eager",
)
LLAMA3_ROPE = dict(
    rope_type="llama3",
    rope_theta=100.0,
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=32,
)
CONFIGS = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "llama3_tied": LlamaConfig(**SHAPE, tie_word_embeddings=True, rope_parameters=LLAMA3_ROPE),
    "mistral": MistralConfig(**SHAPE, sliding_window=5, tie_word_embeddings=False),
    "qwen2": Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SHAPE, head_dim=16, tie_word_embeddings=False),
}


def make_row():
    total = sum(LENGTHS)
    ids = torch.randint(0, VOCABULARY, (total,), dtype=torch.int32)
    labels = ids.clone()
    labels[:4] = -100  # a prompt that is not trained on
    labels[total - LENGTHS[-1] :] = -100
    offsets = torch.tensor([0] + LENGTHS).cumsum(0).to(torch.int32)
    positions = torch.cat([torch.arange(n) for n in LENGTHS]).to(torch.int32)
    return dict(input_ids=ids, labels=labels, position_ids=positions, document_offsets=offsets)


def run(model, row):
    logits, loss = [], torch.zeros(())
    bounds = row["document_offsets"].tolist()
    for first, last in zip(bounds, bounds[1:]):
        out = model(row["input_ids"][None, first:last].long()).logits[0]
        labels = row["labels"][first + 1 : last].long()
        if len(labels):
            loss = loss + F.cross_entropy(out[:-1], labels, ignore_index=-100, reduction="sum")
        logits.append(out)
    return torch.cat(logits), loss


def randomise(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
            elif name.endswith(".bias"):
                parameter.normal_(0, 0.3)
            parameter.copy_(parameter.bfloat16().float())


def make(name, config, folder):
    torch.manual_seed(len(name) + config.num_hidden_layers)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    randomise(model)
    row = make_row()
    base_logits = run(model, row)[0].detach()
    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)  # a copy: it rounds RoPE too
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    peft = get_peft_model(model, LoraConfig(r=3, lora_alpha=6, target_modules=targets, task_type="CAUSAL_LM"))
    for key, parameter in peft.named_parameters():
        if "lora_B" in key:
            torch.nn.init.normal_(parameter, 0, 0.2)
    logits, loss = run(peft.eval(), row)
    loss.backward()
    peft.base_model.model.config._name_or_path = name
    peft.save_pretrained(folder / "adapter")
    (folder / "adapter" / "README.md").unlink(missing_ok=True)
    tensors = dict(row, logits=logits.detach(), base_logits=base_logits, loss_sum=loss.detach().reshape(1))
    for key, parameter in peft.named_parameters():
        if parameter.grad is not None:
            tensors["grad." + key.replace(".default", "")] = parameter.grad.contiguous()
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "expected.safetensors")
    (folder / "generation_config.json").unlink(missing_ok=True)
    print(name, "loss", loss.item())


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for name, config in CONFIGS.items():
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True, exist_ok=True)
        make(name, config, folder)


main()
