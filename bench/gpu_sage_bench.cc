// Times int8 scores beside exact ones on the first GPU, in turn, in one process: TFLOP/s (4 D a
// pair that is seen) of attn_fwd_mma, of sage_fwd_mma alone and with its quantisation, and what
// quantisation takes. bf16, values in f16; heads and batches fill 16384 tokens of 2048.
// Usage: gpu_sage_bench [launches [block_q block_k warps stages keeps_q]...], the latter: other
// tiles of sage_fwd_mma, alone.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "bench/gpu_device.h"
#include "core/dtype.h"
#include "gpu/launch/attn_fwd_mma.h"
#include "gpu/launch/launch_kernel.h"
#include "gpu/launch/sage_fwd_mma.h"
#include "gpu/launch/sage_quantize.h"
#include "gpu/plan/print_config.h"
#include "regard/error.h"

namespace regard::bench {
namespace {

using gpu::AttnConfig;

class SageBench {
 public:
  SageBench(const GpuDevice& device, int launches) : device_(device), launches_(launches) {
    std::mt19937 engine(1);
    std::normal_distribution<float> normal;
    std::vector<uint16_t> values(size_t{16384} * 2048);
    for (uint16_t& value : values) {
      value = core::bf16_from_f32(normal(engine));
    }
    for (uint16_t*& operand : operands_) {
      operand = device.copy_of(values);
    }
    lse_ = static_cast<float*>(device.allocate(values.size()));
    workspace_ = device.allocate(size_t{256} << 20);
  }

  // Five numbers a variant.
  void run(int64_t seq, int64_t dim, bool is_causal, const std::vector<int>& variants) const {
    const int64_t batch = 16384 / seq, heads = 2048 / dim;
    const auto view = [&](void* data) {
      return View{data, DType::bf16, batch, seq, heads, dim, seq * 2048, 2048, dim};
    };
    Problem problem{.q = view(operands_[0]), .k = view(operands_[1]), .v = view(operands_[2])};
    problem.causal = is_causal ? Causal::lower_right : Causal::none;
    const ForwardOutputs outputs{.o = view(operands_[3]), .lse = {lse_, heads * seq, seq}};
    const int capability = device_.compute_capability();
    const gpu::AttnFwdPlan exact = gpu::plan_attn_fwd_mma(problem, outputs, capability);
    const double exact_us = device_.microseconds(
        launches_, [&] { gpu::launch_attn_fwd_mma(device_.driver(), exact, capability, nullptr); });
    problem.quantization = {.scores = ScoreFormat::int8, .values = ValueFormat::f16};
    gpu::SageFwdPlan plan = gpu::plan_sage_fwd_mma(problem, outputs, capability);
    plan.set_workspace(workspace_);
    const double quantize_us = device_.microseconds(launches_, [&] {
      gpu::launch_sage_quantize(device_.driver(), plan.operands, capability, nullptr);
    });
    const double alone_us = device_.microseconds(launches_, [&] { launch(plan); });
    const double whole_us = device_.microseconds(launches_, [&] {
      gpu::launch_sage_quantize(device_.driver(), plan.operands, capability, nullptr);
      launch(plan);
    });
    const double operations =
        4.0 * static_cast<double>(batch * heads * seq * seq * dim) * (is_causal ? 0.5 : 1.0) * 1e-6;
    std::printf(
        "D%-4ld S%-6ld %-6s exact %5.0f  sage alone %5.0f  whole %5.0f TFLOP/s  quantise "
        "%7.1f of %8.1f us  ratio %.2f  %s\n",
        dim, seq, is_causal ? "causal" : "full", operations / exact_us, operations / alone_us,
        operations / whole_us, quantize_us, whole_us, exact_us / whole_us,
        gpu::describe("", plan.config).c_str());
    for (size_t i = 0; i + 5 <= variants.size(); i += 5) {
      AttnConfig& config = plan.config;
      config.block_q = variants[i];
      config.block_k = variants[i + 1];
      config.num_warps = variants[i + 2];
      config.num_stages = variants[i + 3];
      config.keeps_q = variants[i + 4] != 0;
      plan.grid.x = (seq + config.block_q - 1) / config.block_q;
      const double us = device_.microseconds(launches_, [&] { launch(plan); });
      std::printf("   %5.0f TFLOP/s  %s\n", operations / us, gpu::describe("", config).c_str());
    }
    std::fflush(stdout);
  }

 private:
  void launch(const gpu::SageFwdPlan& plan) const {
    gpu::launch_kernel(device_.driver(),
                       {.stem = "sage_fwd_mma",
                        .params = "SageParams",
                        .config = plan.config,
                        .compute_capability = device_.compute_capability(),
                        .smem_bytes = plan.config.smem_bytes()},
                       &plan.params, plan.grid, nullptr);
  }

  const GpuDevice& device_;
  int launches_;
  uint16_t* operands_[4] = {};
  float* lse_ = nullptr;
  void* workspace_ = nullptr;
};

int run(int launches, const std::vector<int>& variants) {
  try {
    const GpuDevice device;
    const SageBench bench(device, launches);
    for (const int64_t dim : {64, 128}) {
      for (const bool is_causal : {false, true}) {
        for (const int64_t seq : {1024, 4096, 16384}) {
          bench.run(seq, dim, is_causal, variants);
        }
      }
    }
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace regard::bench

int main(int argc, char** argv) {
  std::vector<int> variants;
  for (int i = 2; i < argc; ++i) {
    variants.push_back(std::atoi(argv[i]));
  }
  return regard::bench::run(argc > 1 ? std::atoi(argv[1]) : 20, variants);
}
