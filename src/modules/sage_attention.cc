// The sageattention package's calls: each is Module::sage with the options written out.
#include "regard/sage_attention.h"

#include "regard/attention.h"
#include "regard/error.h"
#include "regard/modules.h"

namespace regard {
namespace {

Problem problem_of(const View& q, const View& k, const View& v, const SageOptions& options,
                   const Documents& documents) {
  AttentionOptions lowered;
  lowered.is_causal = options.is_causal;
  lowered.scale = options.sm_scale;
  lowered.documents = documents;
  lowered.quantization = {.scores = ScoreFormat::int8,
                          .groups = options.qk_quant_gran,
                          .values = options.pv_format,
                          .smooth_k = options.smooth_k,
                          .int8_backward = options.int8_backward};
  return lower(Module::sage, q, k, v, lowered);
}

void check_packed(const Documents& documents) {
  if (documents.count < 1) {
    throw Error(ErrorCode::invalid_argument,
                "sageattn_varlen: documents.count " + std::to_string(documents.count) +
                    ": must be 1 or more; use sageattn for rows that are not packed");
  }
}

void forward(const Problem& problem, const ForwardOutputs& outputs) {
  attention_forward(problem, outputs, backend_of(Module::sage, problem));
}

void backward(const Problem& problem, const BackwardTensors& tensors) {
  attention_backward(problem, tensors, backend_of(Module::sage, problem, Pass::training));
}

}  // namespace

void sageattn(const View& q, const View& k, const View& v, const SageOptions& options,
              const ForwardOutputs& outputs) {
  forward(problem_of(q, k, v, options, {}), outputs);
}

void sageattn_backward(const View& q, const View& k, const View& v, const SageOptions& options,
                       const BackwardTensors& tensors) {
  backward(problem_of(q, k, v, options, {}), tensors);
}

void sageattn_varlen(const View& q, const View& k, const View& v, const Documents& documents,
                     const SageOptions& options, const ForwardOutputs& outputs) {
  check_packed(documents);
  forward(problem_of(q, k, v, options, documents), outputs);
}

void sageattn_varlen_backward(const View& q, const View& k, const View& v,
                              const Documents& documents, const SageOptions& options,
                              const BackwardTensors& tensors) {
  check_packed(documents);
  backward(problem_of(q, k, v, options, documents), tensors);
}

}  // namespace regard
