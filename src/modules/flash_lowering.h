// From the vocabulary of flash-attn to Problems: what the functions of regard/flash_attention.h
// share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "modules/checks.h"
#include "regard/flash_attention.h"

namespace regard::flash {

using checks::shape_text;

// Throws Error(invalid_argument): "flash_attn_varlen_func: <message>".
[[noreturn]] void fail(const char* function, const std::string& message);

// Memory that a lowered call adds to its arguments; lives as long as the call.
struct LoweredCall {
  Problem problem;
  std::vector<int32_t> q_lengths, k_offsets, k_lengths, table, starts;
  std::vector<unsigned char> joined_q, joined_k, rotated_q;
};

// Throws Error(invalid_argument) for a problem that contradicts itself.
void validate(const Problem& problem);

// The options over q, k, v, without sequences. Checks what only this vocabulary can get wrong.
void lower_options(const char* function, const View& q, const View& k, const View& v,
                   const FlashOptions& options, LoweredCall& call);

// Queries [q | qv] and keys [k | v], values still a part of the keys: scores are then q k^T +
// qv v^T. Copies both; nothing where qv is off. After sequences and pages are set: pages are
// gathered, so that keys are no longer paged but one page a sequence.
void join_qv(const char* function, const FlashOptions& options, LoweredCall& call);

// Runs the problem on the back end of flash_attention_2.
void run_forward(const LoweredCall& call, const ForwardOutputs& outputs);
void run_backward(const char* function, const FlashOptions& options, const LoweredCall& call,
                  const BackwardTensors& tensors);

// A contiguous [batch, seq, heads, dim] tensor in `memory`, which is resized for it.
View contiguous_view(DType dtype, int64_t batch, int64_t seq, int64_t heads, int64_t dim,
                     std::vector<unsigned char>& memory);

// Copies the row (batch, seq, head) of a view to another of the same dtype.
struct RowIndex {
  int64_t batch, seq, head;
};
void copy_row(const View& from, const RowIndex& from_row, const View& to, const RowIndex& to_row,
              int64_t to_dim);

// "cu_seqlens_q[3]"
std::string at(const char* name, int64_t i);

// cu_seqlens of one side: from 0, not decreasing, inside the tensor's `total` rows.
void check_cu_seqlens(const char* function, const char* name, const int32_t* cu_seqlens,
                      int32_t count, int64_t total);

// That a packed tensor holds `parts` operands.
void check_parts(const char* function, const char* name, const PackedView& packed, int64_t parts);

// `tensors` with other gradients of q, k, v.
BackwardTensors with_gradients(const BackwardTensors& tensors, const View& dq, const View& dk,
                               const View& dv);

// q or k of one sequence rotated at `position`, from one row to another of the same dtype.
void rotate_row(const RotaryTable& table, int64_t position, const View& from,
                const RowIndex& from_row, const View& to, const RowIndex& to_row);

// Checks the table's pointers and that it fits a head of `head_dim`.
void check_rotary(const char* function, const RotaryTable& table, int64_t head_dim);

}  // namespace regard::flash
