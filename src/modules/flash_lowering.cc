#include "modules/flash_lowering.h"

#include <algorithm>
#include <cstring>

#include "core/dtype.h"
#include "core/sequences.h"
#include "modules/flash_sequences.h"
#include "regard/attention.h"
#include "regard/modules.h"

namespace regard::flash {
namespace {

void check_qv(const char* function, const View& q, const View& v, const View& qv) {
  if (qv.batch != q.batch || qv.seq != q.seq || qv.heads != q.heads || qv.dim != v.dim) {
    fail(function, "qv has the shape " + shape_text(qv) +
                       ": must be that of q with the head size of v, " + std::to_string(v.dim));
  }
  if (qv.dtype != q.dtype || q.dtype == DType::f8_e4m3) {
    fail(function, std::string("qv is ") + core::name_of(qv.dtype) + " and q " +
                       core::name_of(q.dtype) + ": must be equal, f32, f16 or bf16");
  }
}

// Keys [k | v] of all sequences: where they lay unpaged, in the same rows; of pages, one sequence
// after the other as a page of its own.
View joined_keys(LoweredCall& call) {
  const Problem& problem = call.problem;
  const View &k = problem.k, &v = problem.v;
  const bool is_paged = core::is_paged(problem);
  int64_t batch = k.batch, seq = k.seq;
  if (is_paged) {
    batch = core::num_sequences(problem);
    seq = 0;
    for (int64_t i = 0; i < batch; ++i) {
      seq = std::max<int64_t>(seq, problem.pages.lengths[i]);
    }
  }
  const View joined = contiguous_view(k.dtype, batch, seq, k.heads, k.dim + v.dim, call.joined_k);
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t rows = is_paged ? problem.pages.lengths[b] : seq;
    const core::Sequence sequence = is_paged ? core::sequence_at(problem, b) : core::Sequence{};
    for (int64_t s = 0; s < rows; ++s) {
      const core::KeyPlace place =
          is_paged ? core::key_place(problem, sequence, s) : core::KeyPlace{b, s};
      for (int64_t h = 0; h < k.heads; ++h) {
        copy_row(k, {place.batch, place.seq, h}, joined, {b, s, h}, 0);
        copy_row(v, {place.batch, place.seq, h}, joined, {b, s, h}, k.dim);
      }
    }
  }
  return joined;
}

}  // namespace

void fail(const char* function, const std::string& message) {
  checks::fail(std::string(function) + ": " + message);
}

std::string at(const char* name, int64_t i) {
  return std::string(name) + "[" + std::to_string(i) + "]";
}

void check_cu_seqlens(const char* function, const char* name, const int32_t* cu_seqlens,
                      int32_t count, int64_t total) {
  if (cu_seqlens == nullptr) {
    fail(function, std::string(name) + " is null: " + std::to_string(count) + " sequences need " +
                       std::to_string(count + 1) + " entries");
  }
  checks::check_cumulative(std::string(function) + ": " + name, cu_seqlens, count);
  if (cu_seqlens[count] > total) {
    fail(function, at(name, count) + " is " + std::to_string(cu_seqlens[count]) +
                       ": the tensor has " + std::to_string(total) + " rows");
  }
}

View contiguous_view(DType dtype, int64_t batch, int64_t seq, int64_t heads, int64_t dim,
                     std::vector<unsigned char>& memory) {
  memory.resize(static_cast<size_t>(batch * seq * heads * dim * core::bytes_of(dtype)));
  return core::contiguous_view({.batch = batch, .seq = seq, .heads = heads}, dtype, dim,
                               memory.data());
}

void copy_row(const View& from, const RowIndex& from_row, const View& to, const RowIndex& to_row,
              int64_t to_dim) {
  const int64_t element = core::bytes_of(from.dtype);
  const int64_t source = core::row_offset(from, from_row.batch, from_row.seq, from_row.head);
  const int64_t target = core::row_offset(to, to_row.batch, to_row.seq, to_row.head) + to_dim;
  std::memcpy(static_cast<char*>(to.data) + target * element,
              static_cast<const char*>(from.data) + source * element,
              static_cast<size_t>(from.dim * element));
}

void lower_options(const char* function, const View& q, const View& k, const View& v,
                   const FlashOptions& options, LoweredCall& call) {
  if (options.attention_chunk < 0) {
    fail(function, "attention_chunk " + std::to_string(options.attention_chunk) +
                       ": must be 0 (off) or more");
  }
  if (options.qv.data != nullptr) {
    check_qv(function, q, v, options.qv);
  }
  AttentionOptions shared{.is_causal = options.is_causal};
  shared.scale = options.softmax_scale;
  shared.window = options.window;
  shared.alibi = options.alibi;
  shared.sink = options.learnable_sink;
  shared.softcap = options.softcap;
  shared.dropout = options.dropout;
  // The limit on head sizes is that of q k^T; FlashAttention 3 serves values up to 512 with qv.
  const View& measured_v = options.qv.data != nullptr ? k : v;
  Problem& problem = call.problem;
  problem = lower(Module::flash_attention_2, q, k, measured_v, shared);
  problem.v = v;
  problem.scale = options.softmax_scale;  // 0: of the joined head where there is qv
  problem.chunks.size = options.attention_chunk;
  problem.descale = options.descale;
}

void join_qv(const char* function, const FlashOptions& options, LoweredCall& call) {
  if (options.qv.data == nullptr) {
    return;
  }
  Problem& problem = call.problem;
  validate(problem);
  if (problem.v.dtype != problem.q.dtype || problem.k.dtype != problem.q.dtype) {
    fail(function, "qv together with q, k, v of unequal dtypes: must be equal");
  }
  const View& q = problem.q;
  const View joined_q =
      contiguous_view(q.dtype, q.batch, q.seq, q.heads, q.dim + options.qv.dim, call.joined_q);
  for (int64_t b = 0; b < q.batch; ++b) {
    for (int64_t s = 0; s < q.seq; ++s) {
      for (int64_t h = 0; h < q.heads; ++h) {
        copy_row(q, {b, s, h}, joined_q, {b, s, h}, 0);
        copy_row(options.qv, {b, s, h}, joined_q, {b, s, h}, q.dim);
      }
    }
  }
  const View joined_k = joined_keys(call);
  View values = joined_k;
  values.data = static_cast<char*>(values.data) + problem.k.dim * core::bytes_of(values.dtype);
  values.dim = problem.v.dim;
  problem.q = joined_q;
  problem.k = joined_k;
  problem.v = values;
  if (core::is_paged(problem)) {
    call.table.resize(static_cast<size_t>(joined_k.batch));
    for (size_t i = 0; i < call.table.size(); ++i) {
      call.table[i] = static_cast<int32_t>(i);
    }
    problem.pages = {.table = call.table.data(),
                     .stride = 1,
                     .lengths = problem.pages.lengths,
                     .starts = nullptr};
  }
}

void check_parts(const char* function, const char* name, const PackedView& packed, int64_t parts) {
  if (packed.parts != parts) {
    fail(function, std::string(name) + " has " + std::to_string(packed.parts) + " parts: must be " +
                       std::to_string(parts));
  }
}

BackwardTensors with_gradients(const BackwardTensors& tensors, const View& dq, const View& dk,
                               const View& dv) {
  BackwardTensors result = tensors;
  result.dq = dq;
  result.dk = dk;
  result.dv = dv;
  return result;
}

void validate(const Problem& problem) {
  (void)why_unsupported(backend_of(Module::flash_attention_2, problem), problem);
}

void run_forward(const LoweredCall& call, const ForwardOutputs& outputs) {
  if (has_slopes_of_sequences(call.problem)) {
    forward_by_sequence(call.problem, outputs);
    return;
  }
  attention_forward(call.problem, outputs, backend_of(Module::flash_attention_2, call.problem));
}

void run_backward(const char* function, const FlashOptions& options, const LoweredCall& call,
                  const BackwardTensors& tensors) {
  if (options.qv.data != nullptr) {
    fail(function, "qv has no backward, in the package neither; join q and qv, k and v yourself");
  }
  if (has_slopes_of_sequences(call.problem)) {
    backward_by_sequence(call.problem, tensors);
    return;
  }
  attention_backward(call.problem, tensors,
                     backend_of(Module::flash_attention_2, call.problem, Pass::training));
}

}  // namespace regard::flash
