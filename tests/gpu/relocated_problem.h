// A forward's operands and results copied to other memory, aligned as device allocations are, with
// guard bands around every piece.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "regard/problem.h"

namespace regard::testing {

// Memory of a device, or of the host; `copy_in` and `copy_out` cross between it and the host's.
struct MemoryKind {
  std::function<void*(size_t num_bytes)> allocate;  // 128-byte aligned
  std::function<void(void*)> release;
  std::function<void(void* there, const void* here, size_t num_bytes)> copy_in;
  std::function<void(void* here, const void* there, size_t num_bytes)> copy_out;
};

// Plain host memory.
MemoryKind host_memory();

class RelocatedProblem {
 public:
  RelocatedProblem(const MemoryKind& kind, const Problem& problem, const ForwardOutputs& outputs);
  ~RelocatedProblem();
  RelocatedProblem(const RelocatedProblem&) = delete;
  RelocatedProblem& operator=(const RelocatedProblem&) = delete;

  struct Piece {
    void* here;   // in the host's memory
    void* there;  // null for an empty piece
    size_t num_bytes;
    bool is_result;
  };

  const Problem& problem() const { return problem_; }
  const ForwardOutputs& outputs() const { return outputs_; }
  const std::vector<Piece>& pieces() const { return pieces_; }

  // Copies the results back to where the constructor found them; whether all guards are intact.
  bool copy_back();

 private:
  void* place(const void* here, size_t num_bytes, bool is_result);
  template <typename T>
  void move(T*& pointer, size_t num_bytes, bool is_result = false);
  void move(View& view, bool is_result = false);

  MemoryKind kind_;
  Problem problem_;
  ForwardOutputs outputs_;
  std::vector<Piece> pieces_;
};

}  // namespace regard::testing
