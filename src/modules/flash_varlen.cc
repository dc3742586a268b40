// flash_attn_varlen_func and its packed forms: sequences one behind the other.
#include <limits>
#include <string>
#include <vector>

#include "modules/flash_lowering.h"

namespace regard {
namespace {

using flash::at;
using flash::check_cu_seqlens;

void check_longest(const char* function, const char* name, const int32_t* cu_seqlens, int32_t count,
                   int64_t stated) {
  for (int32_t i = 0; stated != 0 && i < count; ++i) {
    if (cu_seqlens[i + 1] - cu_seqlens[i] > stated) {
      flash::fail(function, std::string(name) + " " + std::to_string(stated) + ": sequence " +
                                std::to_string(i) + " has " +
                                std::to_string(cu_seqlens[i + 1] - cu_seqlens[i]) + " rows");
    }
  }
}

// Rows of each sequence that count: seqused, else all.
void fill_lengths(const char* function, const char* name, const int32_t* seqused,
                  const int32_t* cu_seqlens, int32_t count, std::vector<int32_t>& lengths) {
  for (int32_t i = 0; i < count; ++i) {
    const int32_t all = cu_seqlens[i + 1] - cu_seqlens[i];
    const int32_t used = seqused != nullptr ? seqused[i] : all;
    if (used < 0 || used > all) {
      flash::fail(function, at(name, i) + " is " + std::to_string(used) +
                                ": must be from 0 to the " + std::to_string(all) +
                                " rows of the sequence");
    }
    lengths.push_back(used);
  }
}

// Takes the left padding away from the lengths.
void skip_padding(const char* function, const int32_t* leftpad, std::vector<int32_t>& lengths) {
  for (size_t i = 0; leftpad != nullptr && i < lengths.size(); ++i) {
    if (leftpad[i] < 0 || leftpad[i] > lengths[i]) {
      flash::fail(function, at("leftpad_k", static_cast<int64_t>(i)) + " is " +
                                std::to_string(leftpad[i]) + ": must be from 0 to the " +
                                std::to_string(lengths[i]) + " rows of the sequence");
    }
    lengths[i] -= leftpad[i];
  }
}

void lower_queries(const char* function, const VarlenSequences& sequences,
                   flash::LoweredCall& call) {
  const int32_t count = sequences.count;
  const int64_t total = call.problem.q.seq;
  check_cu_seqlens(function, "cu_seqlens_q", sequences.cu_seqlens_q, count, total);
  check_longest(function, "max_seqlen_q", sequences.cu_seqlens_q, count, sequences.max_seqlen_q);
  call.problem.documents.count = count;
  call.problem.documents.q_offsets = sequences.cu_seqlens_q;
  if (sequences.seqused_q != nullptr || sequences.cu_seqlens_q[count] != total) {
    fill_lengths(function, "seqused_q", sequences.seqused_q, sequences.cu_seqlens_q, count,
                 call.q_lengths);
    call.problem.documents.q_lengths = call.q_lengths.data();
  }
}

void lower_keys(const char* function, const VarlenSequences& sequences, flash::LoweredCall& call) {
  Problem& problem = call.problem;
  const int32_t count = sequences.count;
  const int32_t* cu_seqlens = sequences.cu_seqlens_k;
  const bool is_paged = sequences.block_table != nullptr;
  const int64_t total =
      is_paged ? std::numeric_limits<int32_t>::max() : problem.k.seq;  // pages are checked later
  check_cu_seqlens(function, "cu_seqlens_k", cu_seqlens, count, total);
  check_longest(function, "max_seqlen_k", cu_seqlens, count, sequences.max_seqlen_k);
  if (!is_paged && sequences.seqused_k == nullptr && sequences.leftpad_k == nullptr &&
      cu_seqlens[count] == total) {
    problem.documents.k_offsets = cu_seqlens;
    return;
  }
  fill_lengths(function, "seqused_k", sequences.seqused_k, cu_seqlens, count, call.k_lengths);
  skip_padding(function, sequences.leftpad_k, call.k_lengths);
  if (is_paged) {
    problem.pages = {.table = sequences.block_table,
                     .stride = sequences.block_table_stride,
                     .lengths = call.k_lengths.data(),
                     .starts = sequences.leftpad_k};
    return;
  }
  for (int32_t i = 0; i < count; ++i) {
    call.k_offsets.push_back(cu_seqlens[i] +
                             (sequences.leftpad_k != nullptr ? sequences.leftpad_k[i] : 0));
  }
  problem.documents.k_offsets = call.k_offsets.data();
  problem.documents.k_lengths = call.k_lengths.data();
}

void lower_call(const char* function, const View& q, const View& k, const View& v,
                const VarlenSequences& sequences, const FlashOptions& options,
                flash::LoweredCall& call) {
  if (sequences.count < 1) {
    flash::fail(function, std::to_string(sequences.count) + " sequences: must be 1 or more");
  }
  flash::lower_options(function, q, k, v, options, call);
  lower_queries(function, sequences, call);
  lower_keys(function, sequences, call);
}

void forward(const char* function, const View& q, const View& k, const View& v,
             const VarlenSequences& sequences, const FlashOptions& options,
             const ForwardOutputs& outputs) {
  flash::LoweredCall call;
  lower_call(function, q, k, v, sequences, options, call);
  flash::join_qv(function, options, call);
  flash::run_forward(call, outputs);
}

void backward(const char* function, const View& q, const View& k, const View& v,
              const VarlenSequences& sequences, const FlashOptions& options,
              const BackwardTensors& tensors) {
  flash::LoweredCall call;
  lower_call(function, q, k, v, sequences, options, call);
  flash::run_backward(function, options, call, tensors);
}

// One cu_seqlens for both sides.
VarlenSequences self_attention(VarlenSequences sequences) {
  sequences.cu_seqlens_k = sequences.cu_seqlens_q;
  sequences.max_seqlen_k = sequences.max_seqlen_q;
  return sequences;
}

}  // namespace

void flash_attn_varlen_func(const View& q, const View& k, const View& v,
                            const VarlenSequences& sequences, const FlashOptions& options,
                            const ForwardOutputs& outputs) {
  forward("flash_attn_varlen_func", q, k, v, sequences, options, outputs);
}

void flash_attn_varlen_backward(const View& q, const View& k, const View& v,
                                const VarlenSequences& sequences, const FlashOptions& options,
                                const BackwardTensors& tensors) {
  backward("flash_attn_varlen_backward", q, k, v, sequences, options, tensors);
}

void flash_attn_varlen_qkvpacked_func(const PackedView& qkv, const VarlenSequences& sequences,
                                      const FlashOptions& options, const ForwardOutputs& outputs) {
  const char* function = "flash_attn_varlen_qkvpacked_func";
  flash::check_parts(function, "qkv", qkv, 3);
  forward(function, part_of(qkv, 0), part_of(qkv, 1), part_of(qkv, 2), self_attention(sequences),
          options, outputs);
}

void flash_attn_varlen_qkvpacked_backward(const PackedView& qkv, const VarlenSequences& sequences,
                                          const FlashOptions& options,
                                          const BackwardTensors& tensors, const PackedView& dqkv) {
  const char* function = "flash_attn_varlen_qkvpacked_backward";
  flash::check_parts(function, "qkv", qkv, 3);
  flash::check_parts(function, "dqkv", dqkv, 3);
  backward(function, part_of(qkv, 0), part_of(qkv, 1), part_of(qkv, 2), self_attention(sequences),
           options,
           flash::with_gradients(tensors, part_of(dqkv, 0), part_of(dqkv, 1), part_of(dqkv, 2)));
}

void flash_attn_varlen_kvpacked_func(const View& q, const PackedView& kv,
                                     const VarlenSequences& sequences, const FlashOptions& options,
                                     const ForwardOutputs& outputs) {
  const char* function = "flash_attn_varlen_kvpacked_func";
  flash::check_parts(function, "kv", kv, 2);
  forward(function, q, part_of(kv, 0), part_of(kv, 1), sequences, options, outputs);
}

void flash_attn_varlen_kvpacked_backward(const View& q, const PackedView& kv,
                                         const VarlenSequences& sequences,
                                         const FlashOptions& options,
                                         const BackwardTensors& tensors, const PackedView& dkv) {
  const char* function = "flash_attn_varlen_kvpacked_backward";
  flash::check_parts(function, "kv", kv, 2);
  flash::check_parts(function, "dkv", dkv, 2);
  backward(function, q, part_of(kv, 0), part_of(kv, 1), sequences, options,
           flash::with_gradients(tensors, tensors.dq, part_of(dkv, 0), part_of(dkv, 1)));
}

}  // namespace regard
