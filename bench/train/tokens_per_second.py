#!/usr/bin/env python3
"""Fine-tuning a LLaMA of 1B's shape with random weights: tokens/s and peak memory of `regard train` with each module,
beside Transformers + PEFT in the same run.

    python3 bench/train/tokens_per_second.py build/release/bin/regard --modules sdpa flash_attention_2 --peer sdpa

Every token is a label; LoRA of rank 16 on all linear layers (or --adapter none), AdamW, bf16. Medians over the steps
after the first two. Losses of the modules are printed beside each other: they start from the same weights and data.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

SHAPES = {
    "llama-1b": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
                     num_key_value_heads=8, head_dim=64, vocab_size=128256),
    "tiny": dict(hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=8,
                 num_key_value_heads=2, head_dim=32, vocab_size=4096),
}
WARM_UP = 2
EXAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "tiny-llama")


def model_folder(root, args):
    """A folder with config.json and a tokenizer; the tokenizer's 2048 ids are the first of the vocabulary."""
    folder = os.path.join(root, "model")
    os.makedirs(folder)
    with open(os.path.join(args.tokenizer, "config.json")) as file:
        config = json.load(file)
    config.update(SHAPES[args.shape], max_position_embeddings=max(8192, args.length))
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        with open(os.path.join(args.tokenizer, name)) as source, open(os.path.join(folder, name), "w") as target:
            target.write(source.read())
    return folder


def rows_of(args):
    draw = random.Random(1)
    return [[draw.randrange(8, 2000) for _ in range(args.length)] for _ in range(args.rows * (args.steps + 1))]


def write_data(root, rows):
    path = os.path.join(root, "rows.jsonl")
    with open(path, "w") as file:
        for ids in rows:
            file.write(json.dumps({"input_ids": ids}) + "\n")
    return path


def yaml_text(args, folder, data, module, out):
    lines = [f"base_model: {folder}", "random_init_weights: true", f"attn_implementation: {module}",
             "datasets:", f"  - path: {data}", "    type:", f"sequence_len: {args.length}",
             f"sample_packing: {'false' if module == 's2' else 'true'}", "pad_to_sequence_len: true",
             f"micro_batch_size: {args.rows}", "gradient_accumulation_steps: 1", f"max_steps: {args.steps}",
             "learning_rate: 1e-4", "warmup_steps: 0", "lr_scheduler: constant", "logging_steps: 1",
             f"bf16: {'true' if args.bf16 else 'false'}", "save_strategy: \"no\"", f"output_dir: {out}",
             f"gradient_checkpointing: {'true' if args.checkpointing else 'false'}"]
    if args.adapter != "none":
        lines += [f"adapter: {args.adapter}", "lora_r: 16", "lora_alpha: 32", "lora_target_linear: true"]
    if args.adapter == "qlora":
        lines += ["load_in_4bit: true"]
    return "\n".join(lines) + "\n"


def run_regard(args, root, folder, data, module):
    out = os.path.join(root, "out-" + module)
    file = os.path.join(root, module + ".yml")
    with open(file, "w") as text:
        text.write(yaml_text(args, folder, data, module, out))
    start = time.time()
    done = subprocess.run([args.regard, "train", file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          cwd=root)
    if done.returncode != 0:
        print(f"{module}: exit {done.returncode}\n" + "\n".join(done.stdout.splitlines()[-12:]), flush=True)
        return None
    with open(os.path.join(out, "metrics.jsonl")) as log:
        steps = [json.loads(line) for line in log if '"kind":"step"' in line.replace(" ", "")]
    return summary("regard " + module, [step["seconds"] for step in steps], args.rows * args.length,
                   steps[-1]["peak_memory_bytes"], [step["loss"] for step in steps], time.time() - start)


def run_peer(args, rows, attention):
    import torch
    import transformers
    if args.bf16:
        dtype = torch.bfloat16
    else:
        dtype = torch.float32
    shape = SHAPES[args.shape]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    start = time.time()
    torch.manual_seed(1)
    config = transformers.LlamaConfig(tie_word_embeddings=True, max_position_embeddings=max(8192, args.length),
                                      rope_theta=10000.0, **shape)
    with torch.device(device):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    if args.adapter == "lora":
        import peft
        model = peft.get_peft_model(model, peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    if args.checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0, fused=device == "cuda")
    seconds, losses = [], []
    for step in range(args.steps):
        ids = torch.tensor(rows[step * args.rows:(step + 1) * args.rows])
        begin = time.time()
        ids = ids.to(device)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())  # waits for the GPU
        seconds.append(time.time() - begin)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    result = summary("Transformers + PEFT " + attention, seconds, args.rows * args.length, peak, losses,
                     time.time() - start)
    del model, optimizer, parameters
    if device == "cuda":
        torch.cuda.empty_cache()
    return result


def summary(name, seconds, tokens, peak, losses, total):
    timed = sorted(seconds[WARM_UP:])
    return dict(name=name, median=tokens / statistics.median(timed), slow=tokens / timed[int(0.9 * (len(timed) - 1))],
                fast=tokens / timed[int(0.1 * (len(timed) - 1))], peak=peak, first=losses[0], last=losses[-1],
                total=total)


def print_table(results):
    peers = [r["median"] for r in results if r["name"].startswith("Transformers")]
    base = max(peers) if peers else None
    print(f"\n{'':28} {'tokens/s':>9} {'p10':>8} {'p90':>8} {'of peer':>8} {'peak GiB':>9} {'loss 1':>8} {'last':>8} {'s':>5}")
    for r in results:
        share = f"{r['median'] / base:8.2f}" if base else " " * 8
        print(f"{r['name']:28} {r['median']:9.0f} {r['slow']:8.0f} {r['fast']:8.0f} {share} {r['peak'] / 2**30:9.2f} "
              f"{r['first']:8.4f} {r['last']:8.4f} {r['total']:5.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("regard", help="the regard program")
    parser.add_argument("--modules", nargs="*", default=["sdpa", "flash_attention_2", "xformers", "flex_attention", "sage"])
    parser.add_argument("--peer", nargs="*", default=["sdpa"], help="Transformers' attn_implementation names; none: no peer")
    parser.add_argument("--shape", choices=SHAPES, default="llama-1b")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--adapter", choices=["lora", "qlora", "none"], default="lora")
    parser.add_argument("--checkpointing", action="store_true", help="gradient checkpointing")
    parser.add_argument("--fp32", dest="bf16", action="store_false")
    parser.add_argument("--tokenizer", default=EXAMPLE, help="folder of a config.json and a small tokenizer")
    args = parser.parse_args()
    args.regard = os.path.abspath(args.regard)
    results = []
    with tempfile.TemporaryDirectory() as root:
        folder, rows = model_folder(root, args), rows_of(args)
        data = write_data(root, rows)
        for module in args.modules:
            results.append(run_regard(args, root, folder, data, module))
        for attention in args.peer:
            results.append(run_peer(args, rows, attention))
        print_table([result for result in results if result])
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
