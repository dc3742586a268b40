// Times attn_fwd_mma on the first GPU with one feature at a time beside plain causal attention:
// TFLOP/s over the pairs that are seen, and the ratio to causal. bf16, random operands.
// Usage: gpu_features_bench [S [D [block_q block_k num_warps]...]]
//        (4096 128; heads and batches fill 16384 tokens of 2048; tiles to try beside the planner's)
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "bench/gpu_device.h"
#include "core/dtype.h"
#include "gpu/launch/attn_fwd_mma.h"
#include "gpu/plan/print_config.h"
#include "regard/error.h"
#include "regard/program.h"

namespace regard::bench {
namespace {

constexpr int32_t kBlock = 128;  // of block masks

struct Tiles {
  int block_q, block_k, num_warps;
};

// [B, S, H, D] in device memory, and what features need beside it.
class Features {
 public:
  Features(const GpuDevice& device, int64_t seq, int64_t dim, const std::vector<Tiles>& more_tiles)
      : device_(device),
        more_tiles_(more_tiles),
        batch_(16384 / seq),
        seq_(seq),
        heads_(2048 / dim),
        dim_(dim) {
    base_.q = operand(1);
    base_.k = operand(2);
    base_.v = operand(3);
    outputs_.o = operand(4);
    lse_ = static_cast<float*>(device.allocate(static_cast<size_t>(4 * batch_ * heads_ * seq)));
    outputs_.lse = {lse_, heads_ * seq, seq};
  }

  void run();

 private:
  View operand(uint32_t seed) const {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal;
    std::vector<uint16_t> values(static_cast<size_t>(batch_ * seq_ * heads_ * dim_));
    for (uint16_t& value : values) {
      value = core::bf16_from_f32(normal(engine));
    }
    return {device_.copy_of(values), DType::bf16,   batch_, seq_, heads_, dim_,
            seq_ * heads_ * dim_,    heads_ * dim_, dim_};
  }

  // Blocks on and below the diagonal; those on it are partial.
  BlockMaskView causal_blocks() const {
    const auto num_rows = static_cast<int32_t>((seq_ + kBlock - 1) / kBlock);
    std::vector<int32_t> offsets = {0}, columns;
    std::vector<uint8_t> is_full;
    for (int32_t row = 0; row < num_rows; ++row) {
      for (int32_t column = 0; column <= row; ++column) {
        columns.push_back(column);
        is_full.push_back(column < row ? 1 : 0);
      }
      offsets.push_back(static_cast<int32_t>(columns.size()));
    }
    return {.row_offsets = device_.copy_of(offsets),
            .columns = device_.copy_of(columns),
            .is_full = device_.copy_of(is_full),
            .block_q = kBlock,
            .block_k = kBlock,
            .num_rows = num_rows};
  }

  void time(const char* name, double share, const std::function<void(Problem&)>& change) {
    Problem problem = base_;
    change(problem);
    gpu::AttnFwdPlan plan = gpu::plan_attn_fwd_mma(problem, outputs_, device_.compute_capability());
    time(name, share, plan);
    for (const Tiles& tiles : more_tiles_) {
      plan.config.block_q = tiles.block_q;
      plan.config.block_k = tiles.block_k;
      plan.config.num_warps = tiles.num_warps;
      plan.grid.x = (seq_ + tiles.block_q - 1) / tiles.block_q;
      if (gpu::why_unsupported(plan.config) == nullptr) {
        time("", share, plan);
      }
    }
  }

  void time(const char* name, double share, const gpu::AttnFwdPlan& plan) {
    const double us = device_.microseconds(30, [&] {
      gpu::launch_attn_fwd_mma(device_.driver(), plan, device_.compute_capability(), nullptr);
    });
    const double pairs = share * static_cast<double>(batch_ * heads_ * seq_ * seq_);
    const double speed = 4.0 * pairs * static_cast<double>(dim_) / us * 1e-6;
    causal_speed_ = causal_speed_ == 0 ? speed : causal_speed_;
    std::printf("%-34s %9.1f us %6.0f TFLOP/s %5.2f  %s\n", name, us, speed, speed / causal_speed_,
                gpu::describe("", plan.config).c_str());
    std::fflush(stdout);
  }

  const GpuDevice& device_;
  std::vector<Tiles> more_tiles_;
  int64_t batch_, seq_, heads_, dim_;
  Problem base_;
  ForwardOutputs outputs_;
  float* lse_ = nullptr;
  double causal_speed_ = 0;
};

void Features::run() {
  std::printf("B %ld S %ld H %ld D %ld\n", batch_, seq_, heads_, dim_);
  const auto causal = [](Problem& p) { p.causal = Causal::lower_right; };
  const auto with = [&](auto change) {
    return [=](Problem& p) {
      p.causal = Causal::lower_right;
      change(p);
    };
  };
  const auto count = static_cast<size_t>(seq_ * seq_);
  const auto* mask = device_.copy_of(std::vector<uint8_t>(count, 1));
  const auto* bias32 = device_.copy_of(std::vector<float>(count, 0.25f));
  const auto* bias16 = device_.copy_of(std::vector<uint16_t>(count, core::bf16_from_f32(0.25f)));
  std::vector<float> slope_values;
  for (int64_t head = 0; head < heads_; ++head) {
    slope_values.push_back(
        std::exp2(-8.0f * static_cast<float>(head + 1) / static_cast<float>(heads_)));
  }
  const float* slopes = device_.copy_of(slope_values);
  const ProgramTensor slopes_tensor = {.data = slopes, .rank = 1, .shape = {heads_}, .stride = {1}};
  const Program alibi = score_program("score + slopes[h] * (kv - q)", {{"slopes"}});
  const Program softcap = score_program("20.0 * tanh(score / 20.0)");
  const Program causal_mask = mask_program("q >= kv");
  const std::string length = std::to_string(seq_ / 4);
  const Program documents = mask_program("q >= kv && q / " + length + " == kv / " + length);
  const BlockMaskView blocks = causal_blocks();
  const double window = 1.0 - std::pow(1.0 - 1024.0 / static_cast<double>(seq_), 2);
  time("causal", 0.5, causal);
  time("full", 1.0, [](Problem&) {});
  time("ALiBi", 0.5, with([&](Problem& p) { p.alibi = {slopes, 0}; }));
  time("softcap", 0.5, with([](Problem& p) { p.softcap = 20.0f; }));
  time("window 1024", 0.5 * window, with([](Problem& p) { p.window.left = 1024; }));
  time("sink", 0.5, with([&](Problem& p) { p.sink = {slopes}; }));
  time("chunks of S / 4", 0.125, with([&](Problem& p) { p.chunks.size = seq_ / 4; }));
  time("dropout", 0.5, with([](Problem& p) { p.dropout = {0.1f, 1234}; }));
  time("mask tensor", 0.5, with([&](Problem& p) { p.mask = {mask, 0, 0, seq_, 1}; }));
  time("bias f32", 0.5, with([&](Problem& p) { p.bias = {bias32, DType::f32, 0, 0, seq_, 1}; }));
  time("bias bf16", 0.5, with([&](Problem& p) { p.bias = {bias16, DType::bf16, 0, 0, seq_, 1}; }));
  time("program: ALiBi", 0.5, with([&](Problem& p) {
         p.score_program = {&alibi, &slopes_tensor, 1};
       }));
  time("program: softcap", 0.5, with([&](Problem& p) { p.score_program.program = &softcap; }));
  time("mask program: causal", 1.0, [&](Problem& p) { p.mask_program.program = &causal_mask; });
  time("the same with block mask", 0.5, [&](Problem& p) {
    p.mask_program.program = &causal_mask;
    p.block_mask = blocks;
  });
  time("mask program: documents, causal", 0.5,
       with([&](Problem& p) { p.mask_program.program = &documents; }));
  time("causal again", 0.5, causal);
}

}  // namespace
}  // namespace regard::bench

int main(int argc, char** argv) {
  const long seq = argc > 1 ? std::atol(argv[1]) : 4096, dim = argc > 2 ? std::atol(argv[2]) : 128;
  try {
    const regard::bench::GpuDevice device;
    std::vector<regard::bench::Tiles> tiles;
    for (int i = 3; i + 2 < argc; i += 3) {
      tiles.push_back({std::atoi(argv[i]), std::atoi(argv[i + 1]), std::atoi(argv[i + 2])});
    }
    regard::bench::Features(device, seq, dim, tiles).run();
  } catch (const regard::Error& error) {
    std::fprintf(stderr, "gpu_features_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
