#include "regard/flex_attention.h"

#include <string>

#include "regard/error.h"

namespace regard {
namespace {

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::invalid_argument, "flex_attention: " + message);
}

// A mask made for other lengths would skip other pairs than it says.
void check_shape(const View& q, const View& k, const BlockMask& mask) {
  const BlockMaskShape& shape = mask.shape();
  const BlockMaskView view = mask.view();
  if (shape.q_len != q.seq || shape.k_len != k.seq) {
    fail("the block mask is for " + std::to_string(shape.q_len) + " queries and " +
         std::to_string(shape.k_len) + " keys, and there are " + std::to_string(q.seq) + " and " +
         std::to_string(k.seq) + ": make one for these lengths");
  }
  if ((view.stride_batch != 0 && shape.batch != q.batch) ||
      (view.stride_head != 0 && shape.heads != q.heads)) {
    fail("the block mask is for " + std::to_string(shape.batch) + " batch rows and " +
         std::to_string(shape.heads) + " heads and depends on them, and there are " +
         std::to_string(q.batch) + " and " + std::to_string(q.heads));
  }
}

}  // namespace

Problem flex_attention_problem(const View& q, const View& k, const View& v,
                               const FlexAttentionOptions& options) {
  AttentionOptions lowered;
  lowered.is_causal = false;
  lowered.scale = options.scale;
  lowered.documents = options.documents;
  lowered.score_program = options.score_mod;
  lowered.mask_program = options.mask_mod;
  if (options.block_mask != nullptr) {
    check_shape(q, k, *options.block_mask);
    if (options.mask_mod.program != nullptr) {
      fail(
          "mask_mod was given together with a block mask, which brings its own mask: make the "
          "block mask of and_masks({...})");
    }
    lowered.block_mask = options.block_mask->view();
    lowered.mask_program = options.block_mask->mask_program();
  }
  Problem problem = lower(Module::flex_attention, q, k, v, lowered);
  if (options.block_mask != nullptr) {
    problem.mask = options.block_mask->dense_mask();  // known in this form only
  }
  return problem;
}

void flex_attention(const View& q, const View& k, const View& v,
                    const FlexAttentionOptions& options, const ForwardOutputs& outputs,
                    Backend backend) {
  attention_forward(flex_attention_problem(q, k, v, options), outputs, backend);
}

void flex_attention_backward(const View& q, const View& k, const View& v,
                             const FlexAttentionOptions& options, const BackwardTensors& tensors,
                             Backend backend) {
  attention_backward(flex_attention_problem(q, k, v, options), tensors, backend);
}

}  // namespace regard
