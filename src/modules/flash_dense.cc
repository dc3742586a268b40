// flash_attn_func and its packed forms.
#include <string>
#include <vector>

#include "core/dtype.h"
#include "modules/flash_lowering.h"
#include "regard/merge_attention.h"

namespace regard {
namespace {

void forward(const char* function, const View& q, const View& k, const View& v,
             const FlashOptions& options, const ForwardOutputs& outputs) {
  flash::LoweredCall call;
  flash::lower_options(function, q, k, v, options, call);
  flash::join_qv(function, options, call);
  flash::run_forward(call, outputs);
}

void backward(const char* function, const View& q, const View& k, const View& v,
              const FlashOptions& options, const BackwardTensors& tensors) {
  flash::LoweredCall call;
  flash::lower_options(function, q, k, v, options, call);
  flash::run_backward(function, options, call, tensors);
}

}  // namespace

View part_of(const PackedView& packed, int64_t index) {
  if (index < 0 || index >= packed.parts) {
    flash::fail("part_of", "part " + std::to_string(index) + " of a tensor of " +
                               std::to_string(packed.parts) + " parts: there is none");
  }
  View view{.data = packed.data,
            .dtype = packed.dtype,
            .batch = packed.batch,
            .seq = packed.seq,
            .heads = packed.heads,
            .dim = packed.dim,
            .stride_batch = packed.stride_batch,
            .stride_seq = packed.stride_seq,
            .stride_head = packed.stride_head};
  if (packed.data != nullptr) {
    view.data =
        static_cast<char*>(packed.data) + index * packed.stride_part * core::bytes_of(packed.dtype);
  }
  return view;
}

void flash_attn_func(const View& q, const View& k, const View& v, const FlashOptions& options,
                     const ForwardOutputs& outputs) {
  forward("flash_attn_func", q, k, v, options, outputs);
}

void flash_attn_backward(const View& q, const View& k, const View& v, const FlashOptions& options,
                         const BackwardTensors& tensors) {
  backward("flash_attn_backward", q, k, v, options, tensors);
}

void flash_attn_qkvpacked_func(const PackedView& qkv, const FlashOptions& options,
                               const ForwardOutputs& outputs) {
  const char* function = "flash_attn_qkvpacked_func";
  flash::check_parts(function, "qkv", qkv, 3);
  forward(function, part_of(qkv, 0), part_of(qkv, 1), part_of(qkv, 2), options, outputs);
}

void flash_attn_qkvpacked_func(const View& qkv, int64_t num_heads_q, const FlashOptions& options,
                               const ForwardOutputs& outputs) {
  const char* function = "flash_attn_qkvpacked_func";
  const int64_t rest = qkv.heads - num_heads_q;
  if (num_heads_q < 1 || rest < 2 || rest % 2 != 0) {
    flash::fail(function, "num_heads_q " + std::to_string(num_heads_q) + " of " +
                              std::to_string(qkv.heads) +
                              " heads: the others must be k and v in equal number");
  }
  const auto heads_from = [&](int64_t first, int64_t count) {
    View view = qkv;
    view.heads = count;
    if (view.data != nullptr) {
      view.data =
          static_cast<char*>(view.data) + first * view.stride_head * core::bytes_of(view.dtype);
    }
    return view;
  };
  forward(function, heads_from(0, num_heads_q), heads_from(num_heads_q, rest / 2),
          heads_from(num_heads_q + rest / 2, rest / 2), options, outputs);
}

void flash_attn_qkvpacked_backward(const PackedView& qkv, const FlashOptions& options,
                                   const BackwardTensors& tensors, const PackedView& dqkv) {
  const char* function = "flash_attn_qkvpacked_backward";
  flash::check_parts(function, "qkv", qkv, 3);
  flash::check_parts(function, "dqkv", dqkv, 3);
  backward(function, part_of(qkv, 0), part_of(qkv, 1), part_of(qkv, 2), options,
           flash::with_gradients(tensors, part_of(dqkv, 0), part_of(dqkv, 1), part_of(dqkv, 2)));
}

void flash_attn_kvpacked_func(const View& q, const PackedView& kv, const FlashOptions& options,
                              const ForwardOutputs& outputs) {
  const char* function = "flash_attn_kvpacked_func";
  flash::check_parts(function, "kv", kv, 2);
  forward(function, q, part_of(kv, 0), part_of(kv, 1), options, outputs);
}

void flash_attn_kvpacked_backward(const View& q, const PackedView& kv, const FlashOptions& options,
                                  const BackwardTensors& tensors, const PackedView& dkv) {
  const char* function = "flash_attn_kvpacked_backward";
  flash::check_parts(function, "kv", kv, 2);
  flash::check_parts(function, "dkv", dkv, 2);
  backward(function, q, part_of(kv, 0), part_of(kv, 1), options,
           flash::with_gradients(tensors, tensors.dq, part_of(dkv, 0), part_of(dkv, 1)));
}

void flash_attn_combine(const PackedView& out_partial, const SplitLse& lse_partial,
                        const ForwardOutputs& outputs) {
  if (out_partial.parts < 1) {
    flash::fail("flash_attn_combine",
                "out_partial has " + std::to_string(out_partial.parts) + " splits: give 1 or more");
  }
  if (lse_partial.lse.data == nullptr) {
    flash::fail("flash_attn_combine", "lse_partial is null: splits are joined by it");
  }
  std::vector<AttentionPart> parts;
  for (int64_t split = 0; split < out_partial.parts; ++split) {
    LseView lse = lse_partial.lse;
    lse.data += split * lse_partial.stride_split;
    parts.push_back({.o = part_of(out_partial, split), .lse = lse});
  }
  merge_attention(parts, outputs);
}

}  // namespace regard
