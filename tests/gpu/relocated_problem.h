// Everything that a Problem, a forward and a backward point to, copied to other memory, aligned as
// device allocations are, with guard bands around every piece.
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
  // `tensors` of which only o and lse are set serve a forward alone. Results, o and lse among them,
  // start with what they hold: AttentionResults poisons them.
  RelocatedProblem(const MemoryKind& kind, const Problem& problem, const BackwardTensors& tensors);
  RelocatedProblem(const MemoryKind& kind, const Problem& problem, const ForwardOutputs& outputs)
      : RelocatedProblem(kind, problem, BackwardTensors{.o = outputs.o, .lse = outputs.lse}) {}
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
  ForwardOutputs outputs() const { return {.o = tensors_.o, .lse = tensors_.lse}; }
  const BackwardTensors& tensors() const { return tensors_; }
  const std::vector<Piece>& pieces() const { return pieces_; }

  // Copies the results back to where the constructor found them; whether all guards, and all that
  // is no result, are intact.
  bool copy_back();

 private:
  void* place(const void* here, size_t num_bytes, bool is_result);
  template <typename T>
  void move(T*& pointer, int64_t num_elements, bool is_result = false);
  void move(View& view, bool is_result = false);
  void move(LseView& lse, bool is_result = false);
  void move_sequences(const Problem& original);
  void move_masks(const Problem& original);
  void move_programs();
  void move_tensors(const Problem& original);

  MemoryKind kind_;
  Problem problem_;
  BackwardTensors tensors_;
  std::vector<Piece> pieces_;
  std::vector<ProgramTensor> score_tensors_, mask_tensors_;  // the host's lists of device pointers
  std::vector<float*> d_tensors_;
};

}  // namespace regard::testing
