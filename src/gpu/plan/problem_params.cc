#include "gpu/plan/problem_params.h"

#include <algorithm>
#include <cmath>

#include "core/dtype.h"
#include "core/features.h"
#include "core/philox.h"
#include "core/sequences.h"

namespace regard::gpu {
namespace {

constexpr double kLog2E = 1.4426950408889634;

Element element_of(DType dtype) {
  return dtype == DType::f32 ? Element::f32 : dtype == DType::bf16 ? Element::bf16 : Element::f16;
}

BiasFormat bias_format(const BiasTensor& bias) {
  if (bias.data == nullptr) {
    return BiasFormat::none;
  }
  return bias.dtype == DType::f32    ? BiasFormat::f32
         : bias.dtype == DType::bf16 ? BiasFormat::bf16
                                     : BiasFormat::f16;
}

int bounded(int64_t count) {
  return count < 0 || count > kUnbounded ? kUnbounded : static_cast<int>(count);
}

// Causal is a window that ends at the query's own key.
void set_limits(const Problem& problem, ProblemParams& params) {
  params.left = bounded(problem.window.left);
  params.right = problem.causal == Causal::none ? bounded(problem.window.right) : 0;
  params.is_upper_left = problem.causal == Causal::upper_left ? 1 : 0;
  params.chunk_size = bounded(problem.chunks.size);
  params.chunk_shift = bounded(problem.chunks.shift);
  params.first_shifted_head = bounded(problem.chunks.first_shifted_head);
}

void set_sequences(const Problem& problem, ProblemParams& params) {
  params.num_sequences = static_cast<int>(core::num_sequences(problem));
  params.q_offsets = problem.documents.q_offsets;
  params.k_offsets = problem.documents.k_offsets;
  params.q_lengths = problem.documents.q_lengths;
  params.k_lengths = core::is_paged(problem) ? problem.pages.lengths : problem.documents.k_lengths;
  params.page_table = problem.pages.table;
  params.page_stride = problem.pages.stride;
  params.page_starts = problem.pages.starts;
}

// tanh(x) / x within 2^-22 for |x| <= 0.75, through Chebyshev's points. An exponential and a
// reciprocal, of which a multiprocessor makes 16 a cycle, cost more than these terms.
constexpr double kTanhRatio[6] = {1.0,           -0.3333331,   0.133312497,
                                  -0.0536648131, 0.0202780831, -0.00523479559};

void set_small_cap(double scale, double softcap, ProblemParams& params) {
  const double factor = scale / softcap;
  // Of other factors some power leaves the range of f32.
  const bool is_usual = std::abs(factor) > 1e-3 && std::abs(factor) < 1e3;
  params.small_product = is_usual ? static_cast<float>(0.75 / std::abs(factor)) : 0.0f;
  double power = scale * kLog2E;
  for (int i = 0; i < 6; ++i) {
    params.small_cap[i] = static_cast<float>(kTanhRatio[i] * power);
    power *= factor * factor;
  }
}

void set_scores(const Problem& problem, ProblemParams& params) {
  const double scale =
      problem.scale != 0.0f ? problem.scale : 1.0 / std::sqrt(static_cast<double>(problem.q.dim));
  const bool has_softcap = problem.softcap != 0.0f;
  params.scale = static_cast<float>(scale);
  params.score_factor = static_cast<float>(has_softcap ? scale / problem.softcap : scale * kLog2E);
  params.softcap = problem.softcap;
  params.softcap_log2 = static_cast<float>(problem.softcap * kLog2E);
  if (has_softcap) {
    set_small_cap(scale, problem.softcap, params);
  }
  params.slopes = problem.alibi.slopes;
  params.slopes_stride_batch = problem.alibi.stride_batch;
  params.sink = problem.sink.logits;
  params.mask = {problem.mask.data, problem.mask.stride_batch, problem.mask.stride_head,
                 problem.mask.stride_q, problem.mask.stride_k};
  params.bias = {problem.bias.data, problem.bias.stride_batch, problem.bias.stride_head,
                 problem.bias.stride_q, problem.bias.stride_k};
  params.dropout_seed = problem.dropout.seed;
  params.dropout_threshold = core::dropout_threshold(problem.dropout.probability);
  params.dropout_scale = core::dropout_scale(problem.dropout.probability);
}

void set_block_mask(const BlockMaskView& mask, ProblemParams& params) {
  params.block_row_offsets = mask.row_offsets;
  params.block_columns = mask.columns;
  params.block_is_full = mask.is_full;
  params.block_mask_q = mask.block_q;
  params.block_mask_k = mask.block_k;
  params.block_mask_rows = mask.num_rows;
  params.block_mask_stride_batch = mask.stride_batch;
  params.block_mask_stride_head = mask.stride_head;
}

void set_tensors(const BoundProgram& program, ProgramTensorView (&views)[kMaxProgramTensors]) {
  for (int i = 0; i < std::min(program.num_tensors, kMaxProgramTensors); ++i) {
    const ProgramTensor& tensor = program.tensors[i];
    views[i].data = tensor.data;
    for (int axis = 0; axis < tensor.rank; ++axis) {  // a span is below 2^31 elements
      views[i].shape[axis] = static_cast<int>(tensor.shape[axis]);
      views[i].stride[axis] = static_cast<int>(tensor.stride[axis]);
    }
  }
}

}  // namespace

std::string limit_text(const char* name, int64_t value, int64_t limit) {
  return std::string(name) + " " + std::to_string(value) + ": at most " + std::to_string(limit) +
         " on the GPU";
}

std::string why_unplannable(const Problem& problem, uint32_t served, int compute_capability) {
  if (compute_capability < 75) {
    return "compute capability " + std::to_string(compute_capability) +
           ": needs 75 (Turing) or newer";
  }
  if (const char* feature = core::first_unserved(problem, served)) {
    return std::string(feature) + ": this kernel of the GPU engine does not serve it";
  }
  if (problem.q.dim == 0 || problem.v.dim == 0) {
    return "head size 0: must be at least 1 on the GPU";
  }
  if (problem.q.seq > kUnbounded || problem.k.seq > kUnbounded) {
    return limit_text("sequence length", std::max(problem.q.seq, problem.k.seq), kUnbounded);
  }
  if (problem.q.heads > kMostGridBlocks) {
    return limit_text("number of query heads", problem.q.heads, kMostGridBlocks);
  }
  if (core::num_sequences(problem) > kMostGridBlocks) {
    return limit_text("number of sequences", core::num_sequences(problem), kMostGridBlocks);
  }
  const int num_tensors =
      std::max(problem.score_program.num_tensors, problem.mask_program.num_tensors);
  return num_tensors > kMaxProgramTensors
             ? limit_text("number of a program's tensors", num_tensors, kMaxProgramTensors)
             : "";
}

std::string why_unplannable_mma(const Problem& problem, uint32_t served, int compute_capability) {
  if (std::string reason = why_unplannable(problem, served, compute_capability); !reason.empty()) {
    return reason;
  }
  if (problem.q.dtype == DType::f32) {
    return "dtype f32: kernels on the matrix unit serve f16 and bf16; convert the operands";
  }
  if (problem.q.dtype == DType::bf16 && compute_capability < 80) {
    return "dtype bf16: needs compute capability 80 (Ampere); use f16 on Turing";
  }
  if (problem.q.dim > 256 || problem.v.dim > 256) {
    return limit_text("head size", std::max(problem.q.dim, problem.v.dim), 256);
  }
  return "";
}

bool has_whole_pieces(const View& view) {
  const auto address = reinterpret_cast<uintptr_t>(view.data);
  const bool is_empty = view.batch == 0 || view.seq == 0 || view.heads == 0;
  const int64_t piece = 16 / core::bytes_of(view.dtype);
  return is_empty ||
         (address % 16 == 0 && view.dim % piece == 0 && view.stride_batch % piece == 0 &&
          view.stride_seq % piece == 0 && view.stride_head % piece == 0);
}

AttnConfig config_of(const Problem& problem) {
  return {
      .element = element_of(problem.q.dtype),
      .bias = bias_format(problem.bias),
      .head_dim = round_up(problem.q.dim, 16),
      .value_dim = round_up(problem.v.dim, 16),
      .is_vectorised =
          has_whole_pieces(problem.q) && has_whole_pieces(problem.k) && has_whole_pieces(problem.v),
      .has_limits =
          problem.causal != Causal::none || problem.window.left >= 0 || problem.window.right >= 0,
      .has_softcap = problem.softcap != 0.0f,
      .has_alibi = problem.alibi.slopes != nullptr,
      .is_packed = core::is_packed(problem),
      .has_lengths = core::uses(problem, core::Feature::lengths),
      .has_chunks = core::uses(problem, core::Feature::chunks),
      .has_mask = problem.mask.data != nullptr,
      .has_sink = core::uses(problem, core::Feature::sink),
      .has_dropout = problem.dropout.probability != 0.0f,
      .has_block_mask = core::uses(problem, core::Feature::block_mask),
      .has_score_program = core::uses(problem, core::Feature::score_program),
      .has_mask_program = core::uses(problem, core::Feature::mask_program),
      .is_paged = core::is_paged(problem),
  };
}

OperandView operand(const View& view) {
  return {static_cast<const unsigned short*>(view.data), view.stride_batch, view.stride_seq,
          view.stride_head};
}

ResultView result(const View& view) {
  return {static_cast<unsigned short*>(view.data), view.stride_batch, view.stride_seq,
          view.stride_head};
}

void set_params(const Problem& problem, ProblemParams& params) {
  params.q = operand(problem.q);
  params.k = operand(problem.k);
  params.v = operand(problem.v);
  params.q_len = static_cast<int>(problem.q.seq);
  params.k_len = static_cast<int>(problem.k.seq);
  params.head_dim = static_cast<int>(problem.q.dim);
  params.value_dim = static_cast<int>(problem.v.dim);
  params.num_heads = static_cast<int>(problem.q.heads);
  params.heads_per_kv_head =
      problem.k.heads == 0 ? 1 : static_cast<int>(problem.q.heads / problem.k.heads);
  set_sequences(problem, params);
  set_scores(problem, params);
  set_limits(problem, params);
  set_block_mask(problem.block_mask, params);
  params.first_query = static_cast<int>(problem.first_query);
  set_tensors(problem.score_program, params.score_tensors);
  set_tensors(problem.mask_program, params.mask_tensors);
}

}  // namespace regard::gpu
