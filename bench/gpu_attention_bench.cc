// Times attn_fwd_mma on the first GPU: a line for each shape, TFLOP/s over the products of the
// pairs that are seen (4 D a pair). bf16, random operands, 16384 tokens of 2048 columns, in two
// sets that take turns, so that neither stays in the L2 cache. Some rows are checked before
// anything is timed. bench/torch_attention.py prints the same lines of PyTorch's back ends: compare
// within one run. Usage: gpu_attention_bench [D...] [full|causal] [TILES...]
//        D: 64, 128, 256 by default. TILES to try beside the planner's: q128k64w4s2 (128 queries,
//        64 keys, 4 warps, 2 stages), with r at the end: Q in registers.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "bench/gpu_device.h"
#include "core/dtype.h"
#include "gpu/launch/attn_fwd_mma.h"
#include "gpu/plan/print_config.h"
#include "regard/error.h"

namespace regard::bench {
namespace {

constexpr int64_t kTokens = 16384, kColumns = 2048;
constexpr size_t kElements = kTokens * kColumns;

struct Tiles {
  int block_q = 0, block_k = 0, num_warps = 0, num_stages = 0;
  bool keeps_q = false;
};

struct Choice {
  std::vector<int64_t> dims;
  std::vector<bool> is_causal;
  std::vector<Tiles> tiles = {{}};  // the planner's
};

struct OperandSet {
  std::array<std::vector<uint16_t>, 3> host;  // q, k, v
  std::array<void*, 4> device;                // and o
};

OperandSet random_operands(const GpuDevice& device, uint32_t seed) {
  OperandSet set;
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < 3; ++i) {
    set.host[i].resize(kElements);
    for (uint16_t& value : set.host[i]) {
      value = core::bf16_from_f32(normal(engine));
    }
    set.device[i] = device.copy_of(set.host[i]);
  }
  set.device[3] = device.copy_of(std::vector<uint16_t>(kElements, 0x7FFF));  // NaN
  return set;
}

class Bench {
 public:
  explicit Bench(const GpuDevice& device)
      : device_(device), sets_{random_operands(device, 1), random_operands(device, 2)} {}

  void time(int64_t dim, int64_t seq, bool is_causal, const Tiles& tiles) const {
    std::vector<gpu::AttnFwdPlan> plans;
    for (const OperandSet& set : sets_) {
      plans.push_back(plan(set, dim, seq, is_causal, tiles));
    }
    const gpu::AttnConfig& config = plans[0].config;
    if (const char* reason = why_unsupported(config)) {
      std::printf("%s: %s\n", gpu::describe("attn_fwd_mma", config).c_str(), reason);
      return;
    }
    launch(plans[0]);
    const double error = largest_error(sets_[0], dim, seq, is_causal);
    size_t turn = 0;
    const double us = device_.microseconds(30, [&] { launch(plans[turn++ % plans.size()]); });
    const double flops = 4.0 * kTokens * kColumns * static_cast<double>(seq) / (is_causal ? 2 : 1);
    const long batch = kTokens / seq, heads = kColumns / dim;
    std::printf("attn_fwd/cuda/sm%d/bf16/%ld.%ld.%ld.%ld.%ld.%ld/%s %9.1f us %6.0f TFLOP/s  %s%s\n",
                device_.compute_capability(), batch, heads, heads, seq, seq, dim,
                is_causal ? "causal" : "full", us, flops / us * 1e-6,
                gpu::describe("", config).c_str(), error < 0.02 ? "" : "  WRONG");
    std::fflush(stdout);
  }

 private:
  gpu::AttnFwdPlan plan(const OperandSet& set, int64_t dim, int64_t seq, bool is_causal,
                        const Tiles& tiles) const {
    const int64_t heads = kColumns / dim;
    const auto view = [&](void* data) {
      return View{data, DType::bf16, kTokens / seq, seq, heads, dim, seq * kColumns, kColumns, dim};
    };
    Problem problem;
    problem.q = view(set.device[0]);
    problem.k = view(set.device[1]);
    problem.v = view(set.device[2]);
    problem.causal = is_causal ? Causal::lower_right : Causal::none;
    ForwardOutputs outputs;
    outputs.o = view(set.device[3]);
    gpu::AttnFwdPlan plan = gpu::plan_attn_fwd_mma(problem, outputs, device_.compute_capability());
    if (tiles.block_q != 0) {
      plan.config.block_q = tiles.block_q;
      plan.config.block_k = tiles.block_k;
      plan.config.num_warps = tiles.num_warps;
      plan.config.num_stages = tiles.num_stages;
      plan.config.keeps_q = tiles.keeps_q;
      plan.grid.x = (seq + tiles.block_q - 1) / tiles.block_q;
    }
    return plan;
  }

  void launch(const gpu::AttnFwdPlan& plan) const {
    gpu::launch_attn_fwd_mma(device_.driver(), plan, device_.compute_capability(), nullptr);
  }

  // Of the first, middle and last row of the last head and batch row, in units of one.
  double largest_error(const OperandSet& set, int64_t dim, int64_t seq, bool is_causal) const {
    std::vector<uint16_t> out(kElements);
    const auto address = static_cast<gpu::CudaPointer>(reinterpret_cast<uintptr_t>(set.device[3]));
    gpu::check(device_.driver(), device_.driver().copy_to_host(out.data(), address, 2 * kElements),
               "copy");
    const size_t head_begin = static_cast<size_t>((kTokens - seq) * kColumns + kColumns - dim);
    const auto row = [&](const std::vector<uint16_t>& values, int64_t index) {
      return values.data() + head_begin + static_cast<size_t>(index * kColumns);
    };
    double largest = 0;
    for (const int64_t query : {int64_t{0}, seq / 2, seq - 1}) {
      std::vector<double> sums(static_cast<size_t>(dim));
      double total = 0;
      for (int64_t key = 0; key < (is_causal ? query + 1 : seq); ++key) {
        double product = 0;
        for (int64_t d = 0; d < dim; ++d) {
          product += static_cast<double>(core::f32_from_bf16(row(set.host[0], query)[d])) *
                     static_cast<double>(core::f32_from_bf16(row(set.host[1], key)[d]));
        }
        const double weight = std::exp(product / std::sqrt(static_cast<double>(dim)));
        total += weight;
        for (int64_t d = 0; d < dim; ++d) {
          sums[static_cast<size_t>(d)] +=
              weight * static_cast<double>(core::f32_from_bf16(row(set.host[2], key)[d]));
        }
      }
      for (int64_t d = 0; d < dim; ++d) {
        const double got = static_cast<double>(core::f32_from_bf16(row(out, query)[d]));
        const double error = std::abs(got - sums[static_cast<size_t>(d)] / total);
        largest = error <= largest ? largest : error;  // a NaN stays
      }
    }
    return largest;
  }

  const GpuDevice& device_;
  std::array<OperandSet, 2> sets_;
};

// Throws Error for an argument that is none.
Choice choice_of(int argc, char** argv) {
  Choice choice;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    Tiles tiles;
    if (word == "full" || word == "causal") {
      choice.is_causal.push_back(word == "causal");
    } else if (std::sscanf(argv[i], "q%dk%dw%ds%d", &tiles.block_q, &tiles.block_k,
                           &tiles.num_warps, &tiles.num_stages) == 4) {
      tiles.keeps_q = word.back() == 'r';
      choice.tiles.push_back(tiles);
    } else if (word == "64" || word == "128" || word == "256") {
      choice.dims.push_back(std::stol(word));
    } else {
      throw Error(ErrorCode::invalid_argument,
                  word + ": must be 64, 128, 256, full, causal, or tiles such as q128k64w4s2");
    }
  }
  if (choice.dims.empty()) {
    choice.dims = {64, 128, 256};
  }
  if (choice.is_causal.empty()) {
    choice.is_causal = {false, true};
  }
  return choice;
}

void run(const Choice& choice) {
  const GpuDevice device;
  const Bench bench(device);
  for (const int64_t dim : choice.dims) {
    for (const bool is_causal : choice.is_causal) {
      for (int64_t seq = 512; seq <= kTokens; seq *= 2) {
        for (const Tiles& tiles : choice.tiles) {
          bench.time(dim, seq, is_causal, tiles);
        }
      }
    }
  }
}

}  // namespace
}  // namespace regard::bench

int main(int argc, char** argv) {
  try {
    regard::bench::run(regard::bench::choice_of(argc, argv));
  } catch (const regard::Error& error) {
    std::fprintf(stderr, "gpu_attention_bench: %s\n", error.what());
    return error.code() == regard::ErrorCode::invalid_argument ? 2 : 1;
  }
  return 0;
}
