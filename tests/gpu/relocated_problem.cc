#include "tests/gpu/relocated_problem.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>

#include "core/dtype.h"

namespace regard::testing {
namespace {

constexpr size_t kGuardBytes = 256;
constexpr uint8_t kPoison = 0x7F;  // repeated: a NaN in f16, bf16 and f32

bool is_poison(const uint8_t* bytes) {
  return std::all_of(bytes, bytes + kGuardBytes, [](uint8_t byte) { return byte == kPoison; });
}

}  // namespace

MemoryKind host_memory() {
  return {
      [](size_t num_bytes) { return ::operator new (num_bytes, std::align_val_t{128}); },
      [](void* memory) { ::operator delete (memory, std::align_val_t{128}); },
      [](void* there, const void* here, size_t num_bytes) { std::memcpy(there, here, num_bytes); },
      [](void* here, const void* there, size_t num_bytes) { std::memcpy(here, there, num_bytes); }};
}

RelocatedProblem::RelocatedProblem(const MemoryKind& kind, const Problem& problem,
                                   const ForwardOutputs& outputs)
    : kind_(kind), problem_(problem), outputs_(outputs) {
  move(problem_.q);
  move(problem_.k);
  move(problem_.v);
  move(outputs_.o, true);
  const auto batch = static_cast<size_t>(problem.q.batch),
             heads = static_cast<size_t>(problem.q.heads);
  if (outputs.lse.data != nullptr && batch * heads > 0) {
    const size_t elements = (batch - 1) * static_cast<size_t>(outputs.lse.stride_batch) +
                            (heads - 1) * static_cast<size_t>(outputs.lse.stride_head) +
                            static_cast<size_t>(problem.q.seq);
    move(outputs_.lse.data, elements * sizeof(float), true);
  }
  const size_t offset_bytes = sizeof(int32_t) * static_cast<size_t>(problem.documents.count + 1);
  move(problem_.documents.q_offsets, offset_bytes);
  move(problem_.documents.k_offsets, offset_bytes);
  const size_t rows = problem.alibi.stride_batch == 0 ? 1 : batch;
  move(problem_.alibi.slopes, sizeof(float) * rows * heads);
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
void RelocatedProblem::move(T*& pointer, size_t num_bytes, bool is_result) {
  if (pointer != nullptr && num_bytes > 0) {
    pointer = static_cast<T*>(place(pointer, num_bytes, is_result));
  }
}

void RelocatedProblem::move(View& view, bool is_result) {
  if (view.batch * view.seq * view.heads * view.dim == 0) {
    return;
  }
  const int64_t elements = (view.batch - 1) * view.stride_batch + (view.seq - 1) * view.stride_seq +
                           (view.heads - 1) * view.stride_head + view.dim;
  move(view.data, static_cast<size_t>(elements * core::bytes_of(view.dtype)), is_result);
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
