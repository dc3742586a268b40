// AttnConfig: the one compile-time parameter of the kernels. Freestanding: the planner, the
// compiler of kernels and the kernels themselves read the same text.
#pragma once

namespace regard::gpu {

// f32 is for kernels that multiply without the matrix unit.
enum class Element : int { f16, bf16, f32 };
enum class BiasFormat : int { none, f32, f16, bf16 };
// What P V takes instead of elements: P and V rounded to f16, or their e4m3 values held in f16.
enum class ValueRounding : int { none, f16, e4m3 };
// The instruction of the matrix unit: m16n8k8 exists from Turing on (f16 only), m16n8k16 from
// Ampere on.
enum class MatrixProduct : int { m16n8k8, m16n8k16 };

struct AttnConfig {
  Element element = Element::f16;
  MatrixProduct product = MatrixProduct::m16n8k16;
  BiasFormat bias = BiasFormat::none;
  ValueRounding values = ValueRounding::none;  // with int8 scores
  int head_dim = 64;                           // D, rounded up to a multiple of 16
  int value_dim = 64;                          // Dv, likewise
  int block_q = 64;                            // queries of a thread block
  int block_k = 64;                            // keys of a step
  int num_warps = 4;
  // Tiles of K and of V in shared memory: with several, those of the next steps are copied while
  // one is computed.
  int num_stages = 1;
  int min_blocks = 1;   // thread blocks that a multiprocessor's registers must have room for
  int fetch_bytes = 0;  // around every asynchronous copy, into the L2 cache: 0, 128 or 256
  // Of the backward: queries whose scores lie in registers at once, and parts of dK's and dV's
  // columns that different warps add up.
  int slice_q = 0, column_parts = 1;
  bool keeps_q = false;       // all of Q stays in registers, head_dim / 4 * row_tiles a lane
  bool copies_async = true;   // cp.async, from Ampere on
  bool is_vectorised = true;  // every row lies in whole 16-byte pieces; else element by element
  bool loads_twos = false;    // mask and bias of keys 2 i and 2 i + 1 are neighbours, aligned
  bool has_limits = false;    // causal or window
  bool folds_scale = false;   // softmax multiplies by score_factor, which is positive: until then
                              // scores are products, and ALiBi is divided by it
  bool has_softcap = false;
  bool has_alibi = false;
  bool is_packed = false;    // documents
  bool has_lengths = false;  // documents with lengths of their own
  bool has_chunks = false;
  bool has_mask = false;  // a boolean tensor
  bool has_sink = false;
  bool has_dropout = false;
  bool has_block_mask = false;
  bool has_score_program = false;  // programs.cuh then holds its text
  bool has_mask_program = false;
  bool is_paged = false;
  bool is_deterministic = false;  // a backward: no sum depends on the order of thread blocks

  friend constexpr bool operator==(const AttnConfig&, const AttnConfig&) = default;

  // Whether something beside the limits may hide a pair.
  constexpr bool masks_pairs() const { return has_mask || has_mask_program || has_block_mask; }
  // Whether weights are computed pair by pair from more than positions.
  constexpr bool changes_pairs() const {
    return masks_pairs() || bias != BiasFormat::none || has_score_program || has_dropout;
  }
  // Whether a score is more than scale * product, or nothing (masked).
  constexpr bool changes_scores() const {
    return has_softcap || has_alibi || bias != BiasFormat::none || has_score_program;
  }
  constexpr int num_pair_terms() const {
    return int{has_mask} + int{bias != BiasFormat::none} + int{has_block_mask} +
           int{has_score_program} + int{has_mask_program};
  }
  constexpr bool may_fold_scale() const {
    return !has_softcap && bias == BiasFormat::none && !has_score_program;
  }
  // Whether a score is computed from memory that only pairs of the problem have.
  constexpr bool reads_pairs() const {
    return has_mask || bias != BiasFormat::none || has_block_mask;
  }

  constexpr int num_threads() const { return 32 * num_warps; }
  // 16-row tiles that each warp owns.
  constexpr int row_tiles() const { return block_q / (16 * num_warps); }
  // Rows in shared memory are one 16-byte piece longer than their contents: their distance is then
  // odd in pieces, and the 8 rows of a fragment load lie in 8 different groups of banks.
  constexpr int k_stride() const { return head_dim + 8; }
  constexpr int v_stride() const { return value_dim + 8; }
  constexpr int q_elements() const { return block_q * k_stride(); }
  constexpr int k_elements() const { return block_k * k_stride(); }
  constexpr int v_elements() const { return block_k * v_stride(); }
  constexpr int smem_bytes() const {
    return 2 * (q_elements() + num_stages * (k_elements() + v_elements()));
  }
};

// Why no kernel can be made of `config`; nullptr when one can. The planner, the tests and the
// kernel (as a static_assert) ask.
constexpr const char* why_unsupported(const AttnConfig& config) {
  if (config.head_dim < 16 || config.head_dim > 256 || config.head_dim % 16 != 0) {
    return "head_dim: must be a multiple of 16 from 16 to 256";
  }
  if (config.value_dim < 16 || config.value_dim > 256 || config.value_dim % 16 != 0) {
    return "value_dim: must be a multiple of 16 from 16 to 256";
  }
  if (config.num_warps < 1 || config.num_warps > 8) {
    return "num_warps: must be 1 to 8";
  }
  if (config.block_q < 16 * config.num_warps || config.block_q % (16 * config.num_warps) != 0) {
    return "block_q: must be a multiple of 16 rows for each warp";
  }
  if (config.block_k < 16 || config.block_k % 16 != 0) {
    return "block_k: must be a multiple of 16";
  }
  if (config.folds_scale && !config.may_fold_scale()) {
    return "folds_scale: only where a score is the product times the scale, and ALiBi";
  }
  if (config.product == MatrixProduct::m16n8k8 && config.element != Element::f16) {
    return "element: m16n8k8 multiplies f16 only";
  }
  if (config.smem_bytes() > 227 * 1024) {
    return "smem_bytes: more than the 227 KiB that any GPU gives to a thread block";
  }
  return nullptr;
}

}  // namespace regard::gpu
