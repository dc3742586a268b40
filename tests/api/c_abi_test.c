/* The C interface from C: a hand-computed forward and backward, and every kind of refusal. */
#include <stddef.h>
#include <stdlib.h>

#include "tests/api/c_abi_fixture.h"

/* One query of two keys with scores 0 and ln 3: weights 1/4 and 3/4. */
static void test_two_keys(const char* module) {
  float q[1] = {1.0f}, k[2] = {0.0f, 1.0986122887f}, v[2] = {8.0f, 4.0f};
  float o[1] = {NAN}, lse[1] = {NAN}, d_o[1] = {1.0f};
  float dq[1] = {NAN}, dk[2] = {NAN, NAN}, dv[2] = {NAN, NAN};
  regard_attention_args args;
  regard_attention_args_init(&args);
  args.module = module;
  args.is_causal = 0;
  args.scale = 1.0f;
  args.q = tensor_of(q, 1, 1);
  args.k = tensor_of(k, 2, 1);
  args.v = tensor_of(v, 2, 1);
  args.o = tensor_of(o, 1, 1);
  args.lse.data = lse;
  args.lse.stride_batch = 1;
  args.lse.stride_head = 1;
  expect(regard_attention_forward(&args) == REGARD_OK, "forward of two keys");
  expect(strcmp(regard_last_error(), "") == 0, "no message after a success");
  expect_near(o[0], 5.0, "o");
  expect_near(lse[0], log(4.0), "lse");
  args.d_o = tensor_of(d_o, 1, 1);
  args.dq = tensor_of(dq, 1, 1);
  args.dk = tensor_of(dk, 2, 1);
  args.dv = tensor_of(dv, 2, 1);
  expect(regard_attention_backward(&args) == REGARD_OK, "backward of two keys");
  /* dS = p * (v - 5) = {0.75, -0.75} */
  expect_near(dv[0], 0.25, "dv[0]");
  expect_near(dv[1], 0.75, "dv[1]");
  expect_near(dk[0], 0.75, "dk[0]");
  expect_near(dk[1], -0.75, "dk[1]");
  expect_near(dq[0], -0.75 * 1.0986122887, "dq");
}

/* Chunks, a sink and their gradients: fields that the first struct did not have. */
static void test_later_fields(void) {
  float q[2] = {0.0f, 0.0f}, k[2] = {1.0f, 1.0f}, v[2] = {4.0f, 8.0f}, d_o[2] = {1.0f, 1.0f};
  float o[2], lse[2], dq[2], dk[2], dv[2], d_sink[1] = {NAN}, d_bias[2] = {NAN, NAN};
  const float sink[1] = {0.0f}, bias[2] = {0.0f, 0.0f};
  regard_attention_args args;
  regard_attention_args_init(&args);
  args.module = "flash_attention_3";
  args.is_causal = 0;
  args.q = tensor_of(q, 2, 1);
  args.k = tensor_of(k, 2, 1);
  args.v = tensor_of(v, 2, 1);
  args.o = tensor_of(o, 2, 1);
  args.lse.data = lse;
  args.lse.stride_batch = 2;
  args.lse.stride_head = 2;
  args.d_o = tensor_of(d_o, 2, 1);
  args.dq = tensor_of(dq, 2, 1);
  args.dk = tensor_of(dk, 2, 1);
  args.dv = tensor_of(dv, 2, 1);
  args.chunk_size = 1;
  args.sink = sink;
  args.d_sink = d_sink;
  expect(regard_attention_forward(&args) == REGARD_OK, "forward with chunks and a sink");
  expect_near(o[0], 2.0, "o[0]"); /* half the weight is the sink's */
  expect_near(o[1], 4.0, "o[1]");
  expect(regard_attention_backward(&args) == REGARD_OK, "backward with a sink");
  expect_near(d_sink[0], 0.5 * (0 - 2.0) + 0.5 * (0 - 4.0), "d_sink");

  args.module = "sdpa";
  expect(regard_attention_forward(&args) == REGARD_INVALID_ARGUMENT, "sdpa knows no chunks");
  args.chunk_size = 0;
  args.sink = NULL;
  args.d_sink = NULL;
  args.bias.data = bias;
  args.bias.strides[3] = 1;
  args.d_bias.data = d_bias;
  args.d_bias.strides[3] = 1;
  expect(regard_attention_forward(&args) == REGARD_OK, "forward with a bias");
  expect(regard_attention_backward(&args) == REGARD_OK, "backward with a bias");
  expect_near(d_bias[0], 2 * 0.5 * (4.0 - 6.0), "d_bias[0]"); /* two queries, O = 6 */
  expect_near(d_bias[1], 2 * 0.5 * (8.0 - 6.0), "d_bias[1]");
  args.quantization.scores = 77;
  expect(regard_attention_forward(&args) == REGARD_INVALID_ARGUMENT, "unknown score format");
}

/* A caller compiled against the first struct: same fields, and no memory behind them. */
static void test_first_struct(void) {
  const size_t first_size = offsetof(regard_attention_args, document_q_lengths);
  float q[1] = {1.0f}, k[1] = {2.0f}, v[1] = {3.0f}, o[1] = {NAN};
  regard_attention_args filled;
  regard_attention_args* args = malloc(first_size);
  expect(args != NULL, "memory");
  regard_attention_args_init(&filled);
  filled.q = tensor_of(q, 1, 1);
  filled.k = tensor_of(k, 1, 1);
  filled.v = tensor_of(v, 1, 1);
  filled.o = tensor_of(o, 1, 1);
  filled.struct_size = first_size;
  memcpy(args, &filled, first_size);
  expect(regard_attention_forward(args) == REGARD_OK, "the first struct works");
  expect_near(o[0], 3.0, "o of the first struct");
  filled.struct_size = first_size + 4;
  memcpy(args, &filled, sizeof(filled.struct_size));
  expect(regard_attention_forward(args) == REGARD_INVALID_ARGUMENT, "half a field is refused");
  filled.struct_size = first_size - 8;
  memcpy(args, &filled, sizeof(filled.struct_size));
  expect(regard_attention_forward(args) == REGARD_INVALID_ARGUMENT, "a shorter struct is refused");
  free(args);
}

static void test_refusals(void) {
  float q[2] = {1.0f, 1.0f}, o[2];
  regard_attention_args args;
  regard_attention_args_init(&args);
  expect(args.struct_size == sizeof(args), "struct_size");
  expect(args.window[0] == -1 && args.is_causal == 1, "defaults");
  args.q = tensor_of(q, 1, 2);
  args.k = tensor_of(q, 1, 2);
  args.v = tensor_of(q, 1, 2);
  args.o = tensor_of(o, 1, 2);

  expect(regard_attention_forward(NULL) == REGARD_INVALID_ARGUMENT, "NULL is refused");
  args.module = "flash";
  expect(regard_attention_forward(&args) == REGARD_INVALID_ARGUMENT, "unknown module is refused");
  expect(strstr(regard_last_error(), "flash_attention_2") != NULL, "message lists the modules");
  args.module = "flash_attention_2";
  args.q = args.k = args.v = tensor_of(q, 1, 257);
  expect(regard_attention_forward(&args) == REGARD_UNSUPPORTED, "a head size beyond the module's");
  args.q = args.k = args.v = tensor_of(q, 1, 2);
  args.module = "sdpa";
  args.q.dtype = 9;
  expect(regard_attention_forward(&args) == REGARD_INVALID_ARGUMENT, "unknown dtype is refused");
  args.q.dtype = REGARD_F32;
  args.q.strides[3] = 2;
  expect(regard_attention_forward(&args) == REGARD_INVALID_ARGUMENT, "last stride must be 1");
  args.q.strides[3] = 1;
  args.k.shape[3] = 1;
  expect(regard_attention_forward(&args) == REGARD_INVALID_ARGUMENT, "head sizes must agree");
  expect(strstr(regard_last_error(), "q.dim 2") != NULL, "message has the value");
  args.k.shape[3] = 2;
  args.struct_size = 8;
  expect(regard_attention_forward(&args) == REGARD_INVALID_ARGUMENT, "wrong struct_size");
  args.struct_size = sizeof(args);
  expect(regard_attention_forward(&args) == REGARD_OK, "the repaired call works");
  expect(regard_set_num_threads(-1) == REGARD_INVALID_ARGUMENT, "negative thread count");
  expect(regard_set_num_threads(0) == REGARD_OK, "default thread count");
}

int main(void) {
  test_two_keys("sdpa");
  test_two_keys("flash_attention_2");
  test_two_keys("eager");
  test_later_fields();
  test_first_struct();
  test_refusals();
  expect(strlen(regard_version()) >= 5, "version");
  return num_failures == 0 ? 0 : 1;
}
