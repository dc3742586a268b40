#include "bench/fma_peak.h"

#include <time.h>

#include <algorithm>

#include "cpu/highway_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bench/fma_peak.cc"
#include "hwy/foreach_target.h"  // must come before highway.h

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::bench::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 12 chains cover the latency (4 cycles x 2 units, at most 5 x 2) and leave room in 16 registers.
constexpr int kChains = 12;

// Floating-point operations of `steps` rounds; `sink` keeps the result alive.
double multiply_add(long steps, float* sink) {
  const hn::ScalableTag<float> d;
  hn::Vec<decltype(d)> chains[kChains];
  REGARD_UNROLL
  for (int i = 0; i < kChains; ++i) {
    chains[i] = hn::Set(d, static_cast<float>(i));
  }
  const auto factor = hn::Set(d, 0.999f);
  const auto term = hn::Set(d, 1e-3f);
  for (long step = 0; step < steps; ++step) {
    REGARD_UNROLL
    for (int i = 0; i < kChains; ++i) {
      chains[i] = hn::MulAdd(chains[i], factor, term);
    }
  }
  for (int i = 1; i < kChains; ++i) {
    chains[0] = hn::Add(chains[0], chains[i]);
  }
  *sink = hn::GetLane(chains[0]);
  return 2.0 * kChains * static_cast<double>(hn::Lanes(d)) * static_cast<double>(steps);
}

}  // namespace regard::bench::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regard::bench {

HWY_EXPORT(multiply_add);

double fma_peak_gflops() {
  const auto seconds = [] {
    timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  };
  volatile float keep = 0;
  double best = 0;
  for (int run = 0; run < 20; ++run) {
    float sink = 0;
    const double begin = seconds();
    const double flops = HWY_DYNAMIC_DISPATCH(multiply_add)(1000000, &sink);
    best = std::max(best, flops / (seconds() - begin) * 1e-9);
    keep = keep + sink;
  }
  return best;
}

}  // namespace regard::bench
#endif
