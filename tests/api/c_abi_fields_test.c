/* What the C struct says of pages, f8 operands, programs, full blocks and s2, and the merging of
 * parts: each by numbers worked out by hand. */
#include "tests/api/c_abi_fixture.h"

/* Every score 0: O is the mean of the values that a query sees. */
typedef struct mean_call {
  float q[3], k[8], v[8], o[3], lse[3];
  regard_attention_args args;
} mean_call;

static void init_mean_call(mean_call* call, const char* module, int64_t sq, int64_t sk) {
  int i;
  memset(call, 0, sizeof(*call));
  for (i = 0; i < 8; ++i) {
    call->v[i] = (float)(1 << i);
  }
  regard_attention_args_init(&call->args);
  call->args.module = module;
  call->args.is_causal = 0;
  call->args.q = tensor_of(call->q, sq, 1);
  call->args.k = tensor_of(call->k, sk, 1);
  call->args.v = tensor_of(call->v, sk, 1);
  call->args.o = tensor_of(call->o, sq, 1);
  call->args.lse = lse_of(call->lse, sq);
}

static void expect_refused(const regard_attention_args* args, const char* message,
                           const char* what) {
  expect(regard_attention_forward(args) == REGARD_INVALID_ARGUMENT, what);
  expect(strstr(regard_last_error(), message) != NULL, message);
}

/* Four pages of two rows; the sequence has three keys from row 1 of pages 2 and 0. */
static void test_pages(void) {
  const int32_t table[2] = {2, 0}, length[1] = {3}, start[1] = {1}, far[2] = {2, 4};
  mean_call call;
  init_mean_call(&call, "flash_attention_2", 1, 2);
  call.args.k.shape[0] = call.args.v.shape[0] = 4;
  call.args.pages.table = table;
  call.args.pages.stride = 2;
  call.args.pages.lengths = length;
  call.args.pages.starts = start;
  expect(regard_attention_forward(&call.args) == REGARD_OK, "forward over pages");
  expect_near(call.o[0], (32.0 + 1.0 + 2.0) / 3.0, "o over pages");
  call.args.pages.table = far;
  expect_refused(&call.args, "pages.table[0][1] is 4", "a page that is not there");
  call.args.pages.table = table;
  call.args.pages.lengths = NULL;
  expect_refused(&call.args, "pages.lengths is null", "pages without lengths");
  call.args.pages.lengths = length;
  call.args.d_o = call.args.dq = call.args.o;
  call.args.dk = call.args.dv = call.args.k;
  expect(regard_attention_backward(&call.args) == REGARD_INVALID_ARGUMENT, "no backward of pages");
}

/* 1.5 is 0x3c in e4m3, and 0 is 0. */
static void test_f8(void) {
  unsigned char q[1] = {0}, k[2] = {0, 0}, v[2] = {0x3c, 0x3c};
  const float factor[1] = {4.0f};
  mean_call call;
  init_mean_call(&call, "flash_attention_3", 1, 2);
  call.args.q.data = q;
  call.args.k.data = k;
  call.args.v.data = v;
  call.args.q.dtype = call.args.k.dtype = call.args.v.dtype = REGARD_F8_E4M3;
  expect(regard_attention_forward(&call.args) == REGARD_OK, "forward of e4m3");
  expect_near(call.o[0], 1.5, "o of e4m3");
  call.args.descale.v = factor;
  expect(regard_attention_forward(&call.args) == REGARD_OK, "forward of e4m3 with a factor");
  expect_near(call.o[0], 6.0, "o of e4m3 with a factor");
  call.args.module = "flash_attention_2";
  expect_refused(&call.args, "only flash_attention_3 knows it", "descale for another module");
  call.args.module = "flash_attention_3";
  call.args.o.dtype = REGARD_F8_E4M3;
  expect_refused(&call.args, "f8_e4m3", "o in e4m3");
}

/* Scores t[kv] and, for the query, the keys from `first` on; the gradient of t is p (v - O). */
static void test_programs(void) {
  const float values[3] = {0.0f, 0.0f, 1.0986122887f};
  const int32_t first[1] = {1};
  float d_values[3] = {NAN, NAN, NAN}, d_o[1] = {1.0f}, dq[1], dk[3], dv[3];
  float* d_tensors[2] = {NULL, NULL};
  regard_program_tensor tensors[2];
  mean_call call;
  init_mean_call(&call, "flex_attention", 1, 3);
  memset(tensors, 0, sizeof(tensors));
  tensors[0].name = "first";
  tensors[0].data = first;
  tensors[0].is_integer = 1;
  tensors[1].name = "t";
  tensors[1].data = values;
  tensors[0].rank = tensors[1].rank = 1;
  tensors[0].shape[0] = 1;
  tensors[1].shape[0] = 3;
  tensors[0].strides[0] = tensors[1].strides[0] = 1;
  call.args.score_program.text = "score + t[kv]";
  call.args.score_program.tensors = tensors;
  call.args.score_program.num_tensors = 2;
  call.args.mask_program = call.args.score_program;
  call.args.mask_program.text = "kv >= first[b]";
  expect(regard_attention_forward(&call.args) == REGARD_OK, "forward with programs");
  expect_near(call.o[0], 0.25 * 2.0 + 0.75 * 4.0, "o with programs");
  call.args.d_o = tensor_of(d_o, 1, 1);
  call.args.dq = tensor_of(dq, 1, 1);
  call.args.dk = tensor_of(dk, 3, 1);
  call.args.dv = tensor_of(dv, 3, 1);
  d_tensors[1] = d_values;
  call.args.d_score_tensors = d_tensors;
  expect(regard_attention_backward(&call.args) == REGARD_OK, "backward with programs");
  expect_near(d_values[0], 0.0, "gradient of t[0]");
  expect_near(d_values[1], 0.25 * (2.0 - 3.5), "gradient of t[1]");
  expect_near(d_values[2], 0.75 * (4.0 - 3.5), "gradient of t[2]");

  /* Query 0 of the call stands at position 1. */
  call.args.first_query = 1;
  call.args.mask_program.text = "kv <= q";
  expect(regard_attention_forward(&call.args) == REGARD_OK, "forward at a later position");
  expect_near(call.o[0], 1.5, "o at a later position");
}

static void test_program_refusals(void) {
  const float values[3] = {0};
  regard_program_tensor tensors[2];
  mean_call call;
  init_mean_call(&call, "flex_attention", 1, 3);
  memset(tensors, 0, sizeof(tensors));
  tensors[0].name = "t";
  tensors[0].data = values;
  tensors[0].rank = 1;
  tensors[0].shape[0] = 3;
  tensors[0].strides[0] = 1;
  tensors[1] = tensors[0];
  call.args.score_program.tensors = tensors;
  call.args.score_program.num_tensors = 1;
  call.args.score_program.text = "score +";
  expect_refused(&call.args, "score program, character 8", "a text that ends early");
  call.args.score_program.text = "score + t[kv + 1]";
  expect_refused(&call.args, "index 3 on axis 0 of tensor 't'", "an index outside its axis");
  call.args.score_program.text = "score + t[kv]";
  call.args.score_program.num_tensors = 2;
  expect_refused(&call.args, "tensors[1].name 't'", "one name twice");
  call.args.score_program.num_tensors = -1;
  expect_refused(&call.args, "num_tensors -1", "a negative count");
  call.args.score_program.num_tensors = 1;
  call.args.score_program.tensors = NULL;
  expect_refused(&call.args, "tensors NULL", "no tensors");
  call.args.score_program.tensors = tensors;
  tensors[0].name = NULL;
  expect_refused(&call.args, "name is NULL", "no name");
  tensors[0].name = "t";
  tensors[0].rank = 1000;
  expect_refused(&call.args, "rank 1000", "too many axes");
  tensors[0].rank = 1;
  tensors[0].shape[0] = 0;
  expect_refused(&call.args, "shape[0] 0", "an axis without elements");
  tensors[0].shape[0] = 3;
  tensors[0].data = NULL;
  expect_refused(&call.args, "tensor 't'.data is null", "no memory");
  tensors[0].data = values;
  call.args.module = "sdpa";
  expect_refused(&call.args, "use flex_attention", "a module without programs");
}

/* One block of two queries by two keys, full: its mask program, which reads too far, is not asked.
 */
static void test_full_blocks(void) {
  const int32_t row_offsets[2] = {0, 1}, columns[1] = {0};
  const unsigned char is_full[1] = {1};
  const float one[1] = {1.0f};
  regard_program_tensor tensor;
  mean_call call;
  init_mean_call(&call, "flex_attention", 2, 4);
  memset(&tensor, 0, sizeof(tensor));
  tensor.name = "t";
  tensor.data = one;
  tensor.rank = 1;
  tensor.shape[0] = tensor.strides[0] = 1;
  call.args.mask_program.text = "t[kv] > 0.0";
  call.args.mask_program.tensors = &tensor;
  call.args.mask_program.num_tensors = 1;
  call.args.block_mask.row_offsets = row_offsets;
  call.args.block_mask.columns = columns;
  call.args.block_mask.block_q = call.args.block_mask.block_k = 2;
  call.args.block_mask.num_rows = 1;
  expect_refused(&call.args, "index 1 on axis 0 of tensor 't'", "a partial block asks");
  call.args.block_is_full = is_full;
  expect(regard_attention_forward(&call.args) == REGARD_OK, "forward of a full block");
  expect_near(call.o[0], 1.5, "o of a full block");
  call.args.block_mask.row_offsets = NULL;
  expect_refused(&call.args, "block_is_full without a block mask", "flags of no blocks");
}

/* Two heads, four tokens of a row of eight: cut at 2, the upper head at 1 and 3. */
static void test_s2(void) {
  float q[8] = {0}, v[8] = {1, 1, 2, 2, 4, 4, 8, 8}, o[8];
  mean_call call;
  regard_tensor tensor = tensor_of(q, 4, 1);
  tensor.shape[2] = 2;
  tensor.strides[0] = 8;
  tensor.strides[1] = 2;
  tensor.strides[2] = 1;
  init_mean_call(&call, "s2", 1, 1);
  call.args.is_causal = 1;
  call.args.q = call.args.k = call.args.v = call.args.o = tensor;
  call.args.v.data = v;
  call.args.o.data = o;
  call.args.lse.data = NULL;
  call.args.s2_row_length = 8;
  expect(regard_attention_forward(&call.args) == REGARD_OK, "forward of s2");
  expect_near(o[6], 6.0, "o of the lower head");
  expect_near(o[5], 3.0, "o of the upper head");
  expect_near(o[7], 8.0, "o of the upper head behind its cut");
  call.args.is_training = 0;
  expect(regard_attention_forward(&call.args) == REGARD_OK, "forward of s2 for inference");
  expect_near(o[7], 15.0 / 4.0, "o without cuts");
  call.args.is_training = 1;
  call.args.s2_row_length = 3;
  expect_refused(&call.args, "row length 3: must be a multiple of 4", "a row length of 3");
}

/* Keys 0 and 1, and keys 2: merged as if seen together, forward and backward. */
static void test_merge(void) {
  mean_call first, second;
  float o[1], lse[1], d_o[1] = {1.0f}, d_lse[1] = {3.0f};
  float d_parts[2], d_lses[2];
  regard_attention_part parts[2], gradients[2], merged, d_merged;
  init_mean_call(&first, "sdpa", 1, 2);
  init_mean_call(&second, "sdpa", 1, 1);
  second.v[0] = 4.0f;
  expect(regard_attention_forward(&first.args) == REGARD_OK, "forward of the first part");
  expect(regard_attention_forward(&second.args) == REGARD_OK, "forward of the second part");
  parts[0].o = first.args.o;
  parts[0].lse = first.args.lse;
  parts[1].o = second.args.o;
  parts[1].lse = second.args.lse;
  merged.o = tensor_of(o, 1, 1);
  merged.lse = lse_of(lse, 1);
  expect(regard_merge_attention(parts, 2, &merged) == REGARD_OK, "merge");
  expect_near(o[0], 7.0 / 3.0, "merged o");
  expect_near(lse[0], log(3.0), "merged lse");
  d_merged.o = tensor_of(d_o, 1, 1);
  d_merged.lse = lse_of(d_lse, 1);
  gradients[0].o = tensor_of(d_parts, 1, 1);
  gradients[0].lse = lse_of(d_lses, 1);
  gradients[1].o = tensor_of(d_parts + 1, 1, 1);
  gradients[1].lse = lse_of(d_lses + 1, 1);
  expect(regard_merge_attention_backward(parts, 2, &merged, &d_merged, gradients) == REGARD_OK,
         "backward of a merge");
  /* w_i dO and w_i (dO (O_i - O) + dLSE) */
  expect_near(d_parts[0], 2.0 / 3.0, "gradient of the first o");
  expect_near(d_parts[1], 1.0 / 3.0, "gradient of the second o");
  expect_near(d_lses[0], 2.0 / 3.0 * (1.5 - 7.0 / 3.0 + 3.0), "gradient of the first lse");
  expect_near(d_lses[1], 1.0 / 3.0 * (4.0 - 7.0 / 3.0 + 3.0), "gradient of the second lse");

  expect(regard_merge_attention(parts, 0, &merged) == REGARD_INVALID_ARGUMENT, "no parts");
  expect(strstr(regard_last_error(), "num_parts 0") != NULL, "message has the count");
  expect(regard_merge_attention(NULL, 2, &merged) == REGARD_INVALID_ARGUMENT, "parts NULL");
  expect(regard_merge_attention(parts, 2, NULL) == REGARD_INVALID_ARGUMENT, "merged NULL");
  parts[1].o.shape[0] = parts[1].o.shape[1] = -1;
  expect(regard_merge_attention(parts, 2, &merged) == REGARD_INVALID_ARGUMENT, "unequal shapes");
  parts[0].o.shape[0] = parts[0].o.shape[1] = -1;
  merged.o.shape[0] = merged.o.shape[1] = -1;
  expect(regard_merge_attention(parts, 2, &merged) == REGARD_INVALID_ARGUMENT, "negative shapes");
  parts[0].o.dtype = 7;
  expect(regard_merge_attention(parts, 2, &merged) == REGARD_INVALID_ARGUMENT, "unknown dtype");
  expect(strstr(regard_last_error(), "parts[0].o.dtype 7") != NULL, "message names the part");
}

int main(void) {
  test_pages();
  test_f8();
  test_programs();
  test_program_refusals();
  test_full_blocks();
  test_s2();
  test_merge();
  return num_failures == 0 ? 0 : 1;
}
