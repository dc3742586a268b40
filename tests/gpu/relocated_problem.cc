#include "tests/gpu/relocated_problem.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

#include "core/dtype.h"
#include "core/sequences.h"

namespace regard::testing {
namespace {

constexpr size_t kGuardBytes = 256;
constexpr uint8_t kPoison = 0x7F;  // repeated: a NaN in f16, bf16 and f32

bool is_poison(const uint8_t* bytes) {
  return std::all_of(bytes, bytes + kGuardBytes, [](uint8_t byte) { return byte == kPoison; });
}

// Keys of a whole row, as masks count them; of pages the longest sequence's.
int64_t num_keys(const Problem& problem) {
  int64_t longest = core::is_paged(problem) ? 0 : problem.k.seq;
  for (int64_t i = 0; core::is_paged(problem) && i < core::num_sequences(problem); ++i) {
    longest = std::max<int64_t>(longest, problem.pages.lengths[i]);
  }
  return longest;
}

// [B, Hq, Sq, Sk].
struct PairExtent {
  int64_t batch, heads, num_queries, num_keys;

  template <class Tensor>
  int64_t num_elements(const Tensor& tensor) const {
    const std::array<std::pair<int64_t, int64_t>, 4> axes = {{{batch, tensor.stride_batch},
                                                              {heads, tensor.stride_head},
                                                              {num_queries, tensor.stride_q},
                                                              {num_keys, tensor.stride_k}}};
    int64_t last = 0;
    for (const auto& [length, stride] : axes) {
      if (length == 0 && stride != 0) {  // an axis that is broadcast has one element
        return 0;
      }
      last += length == 0 ? 0 : (length - 1) * stride;
    }
    return last + 1;
  }
};

}  // namespace

MemoryKind host_memory() {
  return {
      [](size_t num_bytes) { return ::operator new (num_bytes, std::align_val_t{128}); },
      [](void* memory) { ::operator delete (memory, std::align_val_t{128}); },
      [](void* there, const void* here, size_t num_bytes) { std::memcpy(there, here, num_bytes); },
      [](void* here, const void* there, size_t num_bytes) { std::memcpy(here, there, num_bytes); }};
}

RelocatedProblem::RelocatedProblem(const MemoryKind& kind, const Problem& problem,
                                   const BackwardTensors& tensors)
    : kind_(kind), problem_(problem), tensors_(tensors) {
  move(problem_.q);
  move(problem_.k);
  move(problem_.v);
  move_masks(problem);
  move_sequences(problem);
  move_programs();
  move_tensors(problem);
}

void RelocatedProblem::move_sequences(const Problem& original) {
  const int64_t num_sequences = core::num_sequences(original);
  Documents& documents = problem_.documents;
  if (core::is_packed(original)) {
    move(documents.q_offsets, num_sequences + (documents.q_lengths == nullptr ? 1 : 0));
    move(documents.k_offsets, num_sequences + (documents.k_lengths == nullptr ? 1 : 0));
    move(documents.q_lengths, num_sequences);
    move(documents.k_lengths, num_sequences);
  }
  move(problem_.pages.table, num_sequences * problem_.pages.stride);
  move(problem_.pages.lengths, num_sequences);
  move(problem_.pages.starts, num_sequences);
  const int64_t num_factors =
      (num_sequences - 1) * problem_.descale.stride_batch + original.k.heads;
  move(problem_.descale.q, num_factors);
  move(problem_.descale.k, num_factors);
  move(problem_.descale.v, num_factors);
}

void RelocatedProblem::move_masks(const Problem& original) {
  const int64_t batch = original.q.batch, heads = original.q.heads;
  const PairExtent pairs{batch, heads, original.q.seq, num_keys(original)};
  move(problem_.mask.data, pairs.num_elements(problem_.mask));
  if (original.bias.data != nullptr) {
    const auto* bytes = static_cast<const uint8_t*>(original.bias.data);
    move(bytes, pairs.num_elements(original.bias) * core::bytes_of(original.bias.dtype));
    problem_.bias.data = bytes;
  }
  move(problem_.alibi.slopes, (batch - 1) * problem_.alibi.stride_batch + heads);
  move(problem_.sink.logits, heads);
  const BlockMaskView& blocks = original.block_mask;
  if (blocks.row_offsets != nullptr && batch * heads > 0) {
    const int64_t last_mask = (batch - 1) * blocks.stride_batch + (heads - 1) * blocks.stride_head;
    const int64_t num_rows = (last_mask + 1) * blocks.num_rows;
    move(problem_.block_mask.row_offsets, num_rows + 1);
    move(problem_.block_mask.columns, blocks.row_offsets[num_rows]);
    move(problem_.block_mask.is_full, blocks.row_offsets[num_rows]);
  }
}

void RelocatedProblem::move_programs() {
  const auto move_all = [&](BoundProgram& program, std::vector<ProgramTensor>& tensors) {
    tensors.assign(program.tensors, program.tensors + program.num_tensors);
    for (ProgramTensor& tensor : tensors) {
      const auto* words = static_cast<const uint32_t*>(tensor.data);
      int64_t last = 0;
      for (int axis = 0; axis < tensor.rank; ++axis) {
        last += (tensor.shape[axis] - 1) * tensor.stride[axis];
      }
      move(words, last + 1);
      tensor.data = words;
    }
    program.tensors = tensors.data();
  };
  move_all(problem_.score_program, score_tensors_);
  move_all(problem_.mask_program, mask_tensors_);
}

void RelocatedProblem::move_tensors(const Problem& original) {
  move(tensors_.o, true);
  move(tensors_.lse, true);
  move(tensors_.d_o);
  move(tensors_.d_lse);
  move(tensors_.dq, true);
  move(tensors_.dk, true);
  move(tensors_.dv, true);
  const int64_t batch = original.q.batch, heads = original.q.heads;
  const PairExtent pairs{batch, heads, original.q.seq, num_keys(original)};
  move(tensors_.d_bias.data, pairs.num_elements(tensors_.d_bias), true);
  move(tensors_.d_slopes, (original.alibi.stride_batch == 0 ? 1 : batch) * heads, true);
  move(tensors_.d_sink, heads, true);
  if (tensors_.d_tensors != nullptr) {
    const BoundProgram& program = original.score_program;
    d_tensors_.assign(tensors_.d_tensors, tensors_.d_tensors + program.num_tensors);
    for (size_t i = 0; i < d_tensors_.size(); ++i) {
      const ProgramTensor& tensor = program.tensors[i];
      int64_t num_elements = 1;
      for (int axis = 0; axis < tensor.rank; ++axis) {
        num_elements *= tensor.shape[axis];
      }
      move(d_tensors_[i], num_elements, true);
    }
    tensors_.d_tensors = d_tensors_.data();
  }
}

RelocatedProblem::~RelocatedProblem() {
  for (const Piece& piece : pieces_) {
    kind_.release(static_cast<uint8_t*>(piece.there) - kGuardBytes);
  }
}

void* RelocatedProblem::place(const void* here, size_t num_bytes, bool is_result) {
  std::vector<uint8_t> bytes(num_bytes + 2 * kGuardBytes, kPoison);
  std::memcpy(bytes.data() + kGuardBytes, here, num_bytes);
  auto* memory = static_cast<uint8_t*>(kind_.allocate(bytes.size()));
  kind_.copy_in(memory, bytes.data(), bytes.size());
  pieces_.push_back({const_cast<void*>(here), memory + kGuardBytes, num_bytes, is_result});
  return memory + kGuardBytes;
}

template <typename T>
void RelocatedProblem::move(T*& pointer, int64_t num_elements, bool is_result) {
  if (pointer != nullptr && num_elements > 0) {
    pointer =
        static_cast<T*>(place(pointer, static_cast<size_t>(num_elements) * sizeof(T), is_result));
  }
}

void RelocatedProblem::move(View& view, bool is_result) {
  if (view.batch * view.seq * view.heads * view.dim == 0) {
    return;
  }
  const int64_t elements = (view.batch - 1) * view.stride_batch + (view.seq - 1) * view.stride_seq +
                           (view.heads - 1) * view.stride_head + view.dim;
  auto* bytes = static_cast<uint8_t*>(view.data);
  move(bytes, elements * core::bytes_of(view.dtype), is_result);
  view.data = bytes;
}

void RelocatedProblem::move(LseView& lse, bool is_result) {
  const View& q = problem_.q;
  if (q.batch * q.heads * q.seq > 0) {
    move(lse.data, (q.batch - 1) * lse.stride_batch + (q.heads - 1) * lse.stride_head + q.seq,
         is_result);
  }
}

bool RelocatedProblem::copy_back() {
  bool is_intact = true;
  for (const Piece& piece : pieces_) {
    std::vector<uint8_t> bytes(piece.num_bytes + 2 * kGuardBytes);
    kind_.copy_out(bytes.data(), static_cast<uint8_t*>(piece.there) - kGuardBytes, bytes.size());
    const uint8_t* contents = bytes.data() + kGuardBytes;
    is_intact = is_intact && is_poison(bytes.data()) && is_poison(contents + piece.num_bytes);
    if (piece.is_result) {
      std::memcpy(piece.here, contents, piece.num_bytes);
    } else {
      is_intact = is_intact && std::memcmp(piece.here, contents, piece.num_bytes) == 0;
    }
  }
  return is_intact;
}

}  // namespace regard::testing
