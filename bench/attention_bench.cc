// Attention forward and backward of the CPU back ends.
//
// Ids     op/backend/target/dtype/B.Hq.Hkv.Sq.Sk.D/mask/threads:N
// Rates   key_bytes counts K and V once, flop_rate counts the matmul operations of forward_flops()
// (bench_problem.h), a backward 2.5
//         times that; of_peak is flop_rate over N times the multiply-add peak of one core, measured
//         at the start. One thread is timed in CPU time, several in wall time.
// Usage   attention_bench --benchmark_filter='attn_fwd/cpu_tiled/.*/f32/.*threads:1'
//                         --benchmark_repetitions=10 --benchmark_report_aggregates_only
//         REGARD_FORCE_TARGET=AVX2 attention_bench ...
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "bench/bench_problem.h"
#include "bench/fma_peak.h"
#include "core/dtype.h"
#include "regard/attention.h"

namespace regard::bench {
namespace {

struct BenchCase {
  bool is_backward;
  Backend backend;
  DType dtype;
  Shape shape;
  int num_threads;
};

const char* name_of(Backend backend) {
  return backend == Backend::cpu_eager    ? "cpu_eager/"
         : backend == Backend::cpu_decode ? "cpu_decode/"
         : backend == Backend::cpu_sage   ? "cpu_sage/"
                                          : "cpu_tiled/";
}

std::string name_of(const BenchCase& c) {
  return std::string(c.is_backward ? "attn_bwd/" : "attn_fwd/") + name_of(c.backend) +
         std::string(active_target()) + "/" + core::name_of(c.dtype) + "/" + id_of(c.shape) +
         "/threads:" + std::to_string(c.num_threads);
}

void run_case(benchmark::State& state, const BenchCase& c, double peak_gflops) {
  set_num_threads(c.num_threads);
  if (const std::string wrong = BenchProblem::check(c.shape, c.dtype, c.backend); !wrong.empty()) {
    state.SkipWithError(wrong.c_str());
    return;
  }
  BenchProblem data(c.shape, c.dtype, c.backend);
  attention_forward(data.problem(), data.outputs(), c.backend);
  for (auto _ : state) {
    if (c.is_backward) {
      attention_backward(data.problem(), data.gradients(), c.backend);
    } else {
      attention_forward(data.problem(), data.outputs(), c.backend);
    }
  }
  const double flops = forward_flops(c.shape) * (c.is_backward ? 2.5 : 1.0) *
                       static_cast<double>(state.iterations());
  state.counters["flop_rate"] = benchmark::Counter(flops, benchmark::Counter::kIsRate);
  state.counters["of_peak"] =
      benchmark::Counter(flops / (peak_gflops * 1e9 * c.num_threads), benchmark::Counter::kIsRate);
  const Shape& shape = c.shape;
  state.counters["key_bytes"] = benchmark::Counter(
      static_cast<double>(2 * shape.batch * shape.k_len * shape.kv_heads * shape.head_dim *
                          core::bytes_of(c.dtype) * state.iterations()),
      benchmark::Counter::kIsRate, benchmark::Counter::kIs1024);
}

double percentile(const std::vector<double>& values, double fraction) {
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  return sorted[static_cast<size_t>(fraction * static_cast<double>(sorted.size() - 1) + 0.5)];
}

// One token of SmolLM2-135M, of an 8B model, of a model without grouped heads; then the number of
// rows where the tiled kernel becomes the faster one.
std::vector<BenchCase> decode_cases() {
  std::vector<Shape> shapes{{1, 9, 3, 1, 2048, 64, Causal::lower_right},
                            {1, 32, 8, 1, 4096, 128, Causal::lower_right},
                            {1, 16, 16, 1, 4096, 64, Causal::lower_right}};
  for (const int64_t rows : {4, 8, 16, 24, 32, 48, 64}) {
    shapes.push_back({1, 8, 8, rows, 2048, 64, Causal::lower_right});
  }
  std::vector<BenchCase> cases;
  for (const Backend backend : {Backend::cpu_tiled, Backend::cpu_decode}) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      for (const Shape& shape : shapes) {
        for (const int threads : {1, 2}) {
          if (backend == Backend::cpu_tiled || shape.q_len <= 32) {
            cases.push_back({false, backend, dtype, shape, threads});
          }
        }
      }
    }
  }
  return cases;
}

// What terms of scores cost, and their gradients.
void add_score_term_cases(std::vector<BenchCase>& cases) {
  for (const Terms terms :
       {Terms::none, Terms::mask, Terms::bias, Terms::d_bias, Terms::d_slopes}) {
    for (const int threads : {1, 2}) {
      for (const bool is_backward : {false, true}) {
        cases.push_back({is_backward,
                         Backend::cpu_tiled,
                         DType::f32,
                         {1, 4, 4, 1024, 1024, 64, Causal::none, -1, terms},
                         threads});
      }
    }
  }
}

std::vector<BenchCase> bench_cases() {
  std::vector<Shape> shapes;
  for (const Causal causal : {Causal::none, Causal::lower_right}) {
    shapes.push_back({1, 8, 8, 512, 512, 64, causal});
    shapes.push_back({1, 8, 8, 2048, 2048, 64, causal});
    shapes.push_back({1, 8, 8, 2048, 2048, 128, causal});
  }
  shapes.push_back({1, 9, 3, 2048, 2048, 64, Causal::lower_right});
  shapes.push_back({1, 8, 8, 4096, 4096, 64, Causal::lower_right, 512});
  std::vector<BenchCase> cases = decode_cases();
  add_score_term_cases(cases);
  for (const Backend backend : {Backend::cpu_tiled, Backend::cpu_sage, Backend::cpu_eager}) {
    for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
      for (const Shape& shape : shapes) {
        for (const int threads : {1, 2}) {
          for (const bool is_backward : {false, true}) {
            cases.push_back({is_backward, backend, dtype, shape, threads});
          }
        }
      }
    }
  }
  return cases;
}

void register_cases(double peak_gflops) {
  for (const BenchCase& c : bench_cases()) {
    auto* bench = benchmark::RegisterBenchmark(
        name_of(c).c_str(),
        [c, peak_gflops](benchmark::State& state) { run_case(state, c, peak_gflops); });
    bench->Unit(benchmark::kMillisecond);
    bench->ComputeStatistics("p10", [](const auto& values) { return percentile(values, 0.1); });
    bench->ComputeStatistics("p90", [](const auto& values) { return percentile(values, 0.9); });
    if (c.num_threads > 1) {
      bench->UseRealTime();
    }
  }
}

}  // namespace
}  // namespace regard::bench

int main(int argc, char** argv) {
  try {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
      return 2;
    }
    const std::string target(regard::active_target());
    const double peak = regard::bench::fma_peak_gflops();
    benchmark::AddCustomContext("target", target);
    benchmark::AddCustomContext("fma_peak_gflops", std::to_string(peak));
    regard::bench::register_cases(peak);
    benchmark::RunSpecifiedBenchmarks();
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
