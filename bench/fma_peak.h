// The yardstick of every CPU benchmark.
#pragma once

namespace regard::bench {

// GFLOP/s of one core that does nothing but multiply-add on the active SIMD target: best of several
// runs of ~10 ms over 16 independent chains in registers.
double fma_peak_gflops();

}  // namespace regard::bench
