// Score and mask programs over a strip of a transposed score tile (ScoreStrip of scores-inl.h).
// What the tiled kernels call, in this order: softcap, apply_score_program, ALiBi, bias and mask
// tensors, apply_mask_program, position limits.
//
//   size_t program_floats(const Problem&)
//       floats of scratch, aligned to 64 bytes, that each function below needs; 0 without programs.
//   void apply_score_program(const ScoreStrip&, const float* raw, float* scores, float* derivative,
//                            float* memory)
//       scores = program(raw), both in log2 units (raw may be scores); derivative = d program / d
//       score at each pair, unless null. The tile strides are those of the strip.
//   void apply_mask_program(const ScoreStrip&, float* scores, float* memory)
//       scores of pairs that the mask program hides become -inf.
//   class TensorGradients(const Problem&, float* const* d_tensors, int num_slots)
//       sums gradients of captured tensors: memory of num_slots times the tensors' elements, in
//       double. Work is deterministic when the strips that go to one slot, and their order, do not
//       depend on threads.
//     void add(int slot, const ScoreStrip&, const float* raw, const float* d_out, float* memory)
//       raw: scores before the program, log2 units; d_out: gradient of the program's result,
//       natural units (P * (dP - delta)), 0 at masked pairs.
//     void write()   sums the slots in ascending order into d_tensors (whole).
