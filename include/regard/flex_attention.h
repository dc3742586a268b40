// FlexAttention: attention whose scores and mask are programs of the user (regard/program.h),
// forward and backward, with block masks that let whole blocks of pairs be skipped.
//
//   const Program causal = mask_program("q >= kv");
//   const BlockMask blocks = create_block_mask(BoundProgram{&causal}, {.q_len = s, .k_len = s});
//   flex_attention(q, k, v, {.block_mask = &blocks}, {o, lse});
//
// O = softmax(score_mod(scale * Q K^T), masked) V. A row that sees nothing gives 0 and LSE = -inf.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "regard/attention.h"
#include "regard/export.h"
#include "regard/problem.h"
#include "regard/program.h"

namespace regard {

// The shape a block mask is made for. `batch` and `heads` matter only where the mask depends on
// them; else one mask serves all. Lengths up to 2^31 - 1; blocks of 1 to 2^20 queries and keys.
struct BlockMaskShape {
  int64_t batch = 1, heads = 1;
  int64_t q_len = 0, k_len = 0;
  int32_t block_q = 128, block_k = 128;
  Documents documents{};  // of packed rows: lengths then count all tokens; batch is 1
};

// Keys [begin, end) that a query sees.
struct KeySpan {
  int32_t begin = 0, end = 0;
};

// Which blocks of block_q x block_k pairs are masked, partial or full, and the mask that decides
// inside partial ones. Owns its lists (4 bytes a row of blocks and 5 a listed block), never
// q_len x k_len of anything; borrows the tensors of its program and the bytes of a dense mask.
// Immutable; copies share.
class REGARD_API BlockMask {
 public:
  struct Contents;
  explicit BlockMask(std::shared_ptr<const Contents> contents) : contents_(std::move(contents)) {}

  const BlockMaskShape& shape() const;
  BlockMaskView view() const;
  // What decides in partial blocks: a program, or a dense mask; unset where there is none.
  BoundProgram mask_program() const;
  MaskTensor dense_mask() const;

  // Share of the pairs that lie in masked blocks, from 0 (nothing is skipped) to 1.
  double sparsity() const;
  int64_t num_listed_blocks() const;  // partial and full ones of all masks
  int64_t num_full_blocks() const;

  // One byte a block, [masks, block rows, block columns]: 0 masked, 1 partial, 2 full. Masks are
  // those of (batch, head) that differ, in order.
  std::vector<uint8_t> to_dense() const;
  // A picture of one mask: '#' full, '+' partial, '.' masked blocks; one character stands for
  // several blocks where there are more than `side` of them in a row.
  std::string picture(int64_t batch = 0, int64_t head = 0, int32_t side = 64) const;

 private:
  std::shared_ptr<const Contents> contents_;
};

// The mask of a program: whole groups of blocks are decided by interval arithmetic, and pairs are
// asked only where that does not decide, until one that is seen and one that is not are found. Time
// grows with the listed blocks and the boundary of the mask, not with q_len x k_len.
// Throws Error(invalid_argument) for shapes, documents, tensors and programs that do not fit, with
// what a Problem's check says about indices and divisors. Thread-safe.
REGARD_API BlockMask create_block_mask(const BoundProgram& mask, const BlockMaskShape& shape);

// The mask of one span of keys a query (documents, prefixes, neighbourhoods of any width), unpacked
// rows: spans [q_len], or [heads * q_len] where heads differ. They are copied.
REGARD_API BlockMask create_block_mask(std::span<const KeySpan> spans, const BlockMaskShape& shape);

// The mask of a dense tensor, which is borrowed; zero strides broadcast.
REGARD_API BlockMask create_block_mask(const MaskTensor& mask, const BlockMaskShape& shape);

struct FlexAttentionOptions {
  BoundProgram score_mod{};
  BoundProgram mask_mod{};  // not together with a block mask, which brings its own
  const BlockMask* block_mask = nullptr;
  float scale = 0.0f;  // 0 = 1/sqrt(D)
  Documents documents{};
};

// The Problem that the functions below compute: for back ends of one's own, and for decoding.
// Throws Error(invalid_argument): mask_mod together with a block mask, a block mask of another
// shape.
REGARD_API Problem flex_attention_problem(const View& q, const View& k, const View& v,
                                          const FlexAttentionOptions& options);

// O and, where outputs.lse is given, LSE (natural logarithm). Q [B, Sq, Hq, D], K [B, Sk, Hkv, D],
// V [B, Sk, Hkv, Dv]; Hq a multiple of Hkv; head sizes 1 to 512. What attention_forward throws.
REGARD_API void flex_attention(const View& q, const View& k, const View& v,
                               const FlexAttentionOptions& options, const ForwardOutputs& outputs,
                               Backend backend = Backend::automatic);

// dQ, dK, dV and, where tensors.d_tensors is given, the gradients of score_mod's f32 tensors;
// deterministic at every thread count.
REGARD_API void flex_attention_backward(const View& q, const View& k, const View& v,
                                        const FlexAttentionOptions& options,
                                        const BackwardTensors& tensors,
                                        Backend backend = Backend::automatic);

}  // namespace regard
