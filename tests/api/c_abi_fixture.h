/* What the tests of the C interface share. */
#ifndef REGARD_TESTS_API_C_ABI_FIXTURE_H_
#define REGARD_TESTS_API_C_ABI_FIXTURE_H_

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "regard/regard.h"

static int num_failures = 0;

static inline void expect(int condition, const char* what) {
  if (!condition) {
    fprintf(stderr, "failed: %s (last error: %s)\n", what, regard_last_error());
    ++num_failures;
  }
}

static inline void expect_near(double got, double wanted, const char* what) {
  if (!(fabs(got - wanted) <= 1e-6)) {
    fprintf(stderr, "failed: %s is %.9g, must be %.9g\n", what, got, wanted);
    ++num_failures;
  }
}

/* [1, seq, 1, dim], dense */
static inline regard_tensor tensor_of(float* data, int64_t seq, int64_t dim) {
  regard_tensor tensor;
  memset(&tensor, 0, sizeof(tensor));
  tensor.data = data;
  tensor.dtype = REGARD_F32;
  tensor.shape[0] = 1;
  tensor.shape[1] = seq;
  tensor.shape[2] = 1;
  tensor.shape[3] = dim;
  tensor.strides[0] = seq * dim;
  tensor.strides[1] = dim;
  tensor.strides[2] = dim;
  tensor.strides[3] = 1;
  return tensor;
}

/* [1, 1, seq] */
static inline regard_lse lse_of(float* data, int64_t seq) {
  regard_lse lse;
  lse.data = data;
  lse.stride_batch = seq;
  lse.stride_head = seq;
  return lse;
}

#endif /* REGARD_TESTS_API_C_ABI_FIXTURE_H_ */
