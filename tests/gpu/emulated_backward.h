// A backward of several kernels on the emulator, against the reference: what attn_bwd_mma's and
// attn_bwd_simt's tests share.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "gpu/plan/attn_bwd_mma.h"
#include "gpu/plan/print_config.h"
#include "reference/attention.h"
#include "tests/gpu/emulated_launch.h"
#include "tests/support/attention_judge.h"

namespace regard::testing {

struct BackwardText {
  const char* stem;
  gpu::AttnConfig config;
  void (*run)(const gpu::AttnBwdParams&, unsigned short*);
};

// O may lie in whole pieces where q does not, and the other way round.
constexpr gpu::AttnConfig with_rows_apart(gpu::AttnConfig config) {
  config.is_vectorised = false;
  return config;
}
constexpr gpu::AttnConfig with_whole_pieces(gpu::AttnConfig config) {
  config.is_vectorised = true;
  return config;
}

// NaN until the kernels write it; NaN where they read what nobody wrote.
class PoisonedWorkspace {
 public:
  explicit PoisonedWorkspace(size_t num_bytes)
      : num_bytes_(num_bytes), data_(::operator new (num_bytes + 1, std::align_val_t{256})) {
    std::memset(data_, 0x7F, num_bytes);
  }
  ~PoisonedWorkspace() { ::operator delete (data_, std::align_val_t{256}); }
  PoisonedWorkspace(const PoisonedWorkspace&) = delete;
  PoisonedWorkspace& operator=(const PoisonedWorkspace&) = delete;

  void* data() const { return data_; }
  MemoryRange range() const { return {data_, num_bytes_, true}; }

 private:
  size_t num_bytes_;
  void* data_;
};

// The first fault in a sentence, empty when there was none.
inline std::string run(const std::vector<BackwardText>& texts, const gpu::BwdLaunch& launch,
                       const gpu::AttnBwdParams& params, const std::vector<MemoryRange>& memory) {
  for (const BackwardText& text : texts) {
    if (std::strcmp(text.stem, launch.stem) == 0 && text.config == launch.config) {
      return emulate(
          emulated_launch(launch.grid, launch.config.num_threads(), launch.smem_bytes, memory),
          [&](unsigned short* shared) { text.run(params, shared); });
    }
  }
  return "add to the texts: " + gpu::literal(launch.config);
}

// `why_unsupported` and `plan` take the relocated problem and its tensors.
template <typename WhyUnsupported, typename Plan>
void expect_backward_right(const std::vector<BackwardText>& texts, int compute_capability,
                           const AttentionCase& config, const WhyUnsupported& why_unsupported,
                           const Plan& plan_backward) {
  const AttentionJudge judge(config);
  AttentionResults results(config, judge.operands());
  reference::forward(judge.problem(), results.outputs());
  RelocatedProblem relocated(host_memory(), judge.problem(), results.tensors(judge.operands()));
  ASSERT_EQ(why_unsupported(relocated.problem(), relocated.tensors()), "");
  gpu::AttnBwdPlan plan = plan_backward(relocated.problem(), relocated.tensors());
  const PoisonedWorkspace workspace(plan.workspace_bytes);
  gpu::place_workspace(plan, workspace.data());
  std::vector<MemoryRange> memory = memory_of(relocated);
  memory.push_back(workspace.range());
  for (const gpu::BwdLaunch& launch : plan.launches) {
    SCOPED_TRACE(gpu::describe(launch.stem, launch.config));
    EXPECT_LE(launch.smem_bytes, gpu::smem_limit_bytes(compute_capability));
    plan.params.pass = launch.pass;
    ASSERT_EQ(run(texts, launch, plan.params, memory), "");
  }
  EXPECT_TRUE(relocated.copy_back()) << "something beside the results was written";
  judge.expect_right(results);
}

}  // namespace regard::testing
