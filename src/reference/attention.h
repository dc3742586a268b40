// The meaning of a Problem: plain loops in double, one query row at a time. Slow on purpose; every
// other back end is judged by it.
//
// Math     s_ij = scale * q_i . k_j             c_ij = softcap * tanh(s_ij / softcap), or s_ij
//          x_ij = program(c_ij) + bias_ij - slope * |i + Sk - Sq - j|  for the keys i may see
//          LSE_i = log (exp(sink) + sum_j exp(x_ij))       p_ij = exp(x_ij - LSE_i)
//          O_i = sum_j p_ij * m_ij * v_j        m_ij = 0 or 1 / (1 - probability) under dropout
// Gradient g_ij = m_ij * dO_i . v_j             dx_ij = p_ij * (g_ij - sum_k p_ik g_ik + dLSE_i)
//          ds_ij = dx_ij * d x_ij / d s_ij
//          dQ_i = scale * sum_j ds_ij k_j       dK_j = scale * sum_i ds_ij q_i
//          dV_j = sum_i p_ij * m_ij * dO_i      (sums over i run over all query heads of the group)
//          dbias = sum of dx_ij over the axes that the bias broadcasts
//          dslope = -sum_ij dx_ij * |i + Sk - Sq - j|
//          dsink = sum_i exp(sink - LSE_i) * (dLSE_i - sum_k p_ik g_ik)
// A row without a visible key has O = 0, LSE = -inf (the sink's logit where there is one) and adds
// nothing to any gradient but the sink's. A query of no document has O = 0, LSE = -inf, dQ = 0; a
// key of no document has dK = dV = 0.
#pragma once

#include "regard/problem.h"

namespace regard::reference {

// Writes O [B, Sq, Hq, Dv] in the dtype of outputs.o (any, so that a test can ask for f32 results
// of 16-bit operands) and, where asked, LSE [B, Hq, Sq]. Problems arrive validated (src/api).
void forward(const Problem& problem, const ForwardOutputs& outputs);

// Writes dQ, dK, dV and the optional gradients asked for. Everything is computed again from q, k, v
// and dO: tensors.o and tensors.lse are not read, so that their rounding is no part of the
// specification.
void backward(const Problem& problem, const BackwardTensors& tensors);

}  // namespace regard::reference
