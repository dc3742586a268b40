// What the GPU's row kernels (row_kernels.cuh) are given. Read by the host and by the GPU's
// compiler: nothing is included. Matrices are contiguous [rows, width] of the element type that the
// text is compiled for; null pointers where the comment allows it.
#pragma once

namespace tune::rows {

struct NormParams {
  long long num_rows, width;
  const void* h;
  const void* delta;  // or null: sum is then not written
  const float* weight;
  void* sum;
  void* normed;
  float* rstd;  // [rows]
  float eps;
};

struct NormBackwardParams {
  long long num_rows, width;
  const void* d_normed;
  const void* d_sum;  // or null
  const void* sum;
  const float* weight;
  const float* rstd;
  void* dx;
};

struct NormWeightParams {
  long long num_rows, width, rows_per_partial;
  const void* d_normed;
  const void* sum;
  const float* rstd;
  float* partials;  // [ceil(num_rows / rows_per_partial), width]
};

struct SwigluParams {
  long long num_elements;
  const void* d_act;  // backward only
  const void* gate;
  const void* up;
  void* act;  // forward only
  void* d_gate;
  void* d_up;
};

struct RotateParams {
  long long num_rows, width, head_dim;
  const void* in;
  void* out;         // may be `in`
  const float* cos;  // [rows, head_dim / 2]
  const float* sin;
  float sign;
};

struct CrossEntropyParams {
  long long num_rows, width;
  void* logits;
  const long long* targets;  // [rows]
  float* losses;             // [rows]
  bool writes_gradient;
};

struct DropoutParams {
  long long num_elements;
  const void* in;
  void* out;
  unsigned key_low, key_high, threshold;
  float scale;
  bool accumulates;
};

// Everything of one update that is the same for all elements of a parameter.
struct AdamWScalars {
  float gradient_scale, keep, one_minus_beta1, beta2, one_minus_beta2, step_size, root_correction,
      epsilon;
};
struct AdamWParams {
  long long num_elements;
  float* parameter;
  const float* gradient;
  float* first;
  float* second;
  AdamWScalars scalars;
};

struct Nf4Params {
  long long num_elements;
  const unsigned char* codes;   // two a byte, first in the high nibble
  const unsigned char* maxima;  // one a block of 64
  const float* nested_scales;   // one a group of 256 maxima
  const float* tables;          // 16 levels, then the 256 values of the 8-bit code
  void* out;
  float offset;
};

}  // namespace tune::rows
