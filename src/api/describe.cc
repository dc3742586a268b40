#include "api/describe.h"

#include <string_view>

#include "core/dtype.h"
#include "core/features.h"
#include "core/sequences.h"

namespace regard::api {
namespace {

std::string window_text(const Window& window) {
  const auto side = [](int64_t count) { return count < 0 ? "inf" : std::to_string(count); };
  return "_window" + side(window.left) + "x" + side(window.right);
}

}  // namespace

std::string describe(const Problem& problem) {
  std::string text = core::name_of(problem.q.dtype);
  const auto number = [&text](std::string_view label, int64_t value) {
    text.append("_").append(label).append(std::to_string(value));
  };
  number("b", problem.q.batch);
  number("h", problem.q.heads);
  if (problem.k.heads != problem.q.heads) {
    number("kv", problem.k.heads);
  }
  number("sq", problem.q.seq);
  number("sk", problem.k.seq);
  number("d", problem.q.dim);
  if (problem.v.dim != problem.q.dim) {
    number("dv", problem.v.dim);
  }
  if (problem.causal != Causal::none) {
    text += problem.causal == Causal::upper_left ? "_causal_upper" : "_causal";
  }
  if (problem.window.left >= 0 || problem.window.right >= 0) {
    text += window_text(problem.window);
  }
  if (problem.chunks.size > 0) {
    number("chunks", problem.chunks.size);
  }
  if (problem.documents.count > 0) {
    number("documents", problem.documents.count);
  }
  text += core::uses(problem, core::Feature::lengths) ? "_lengths" : "";
  if (core::is_paged(problem)) {
    number("pages", problem.k.batch);
  }
  if (core::uses(problem, core::Feature::block_mask)) {
    number("blocks", problem.block_mask.block_q);
    text += "x" + std::to_string(problem.block_mask.block_k);
  }
  text += problem.mask.data != nullptr ? "_mask" : "";
  text += problem.bias.data != nullptr ? "_bias" : "";
  text += problem.alibi.slopes != nullptr ? "_alibi" : "";
  text += problem.sink.logits != nullptr ? "_sink" : "";
  text += problem.score_program.program != nullptr ? "_score" : "";
  text += problem.mask_program.program != nullptr ? "_maskprogram" : "";
  text += core::uses(problem, core::Feature::descale) ? "_descale" : "";
  text += core::uses(problem, core::Feature::int8_scores) ? "_int8" : "";
  text += problem.softcap > 0.0f ? "_softcap" : "";
  text += problem.dropout.probability > 0.0f ? "_dropout" : "";
  return text;
}

}  // namespace regard::api
