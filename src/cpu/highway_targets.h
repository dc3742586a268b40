// Which targets of Highway the engine is compiled for; included before any Highway header. SSSE3 is
// left out (machines with it but without SSE4 are from before 2008), scalable vectors too: register
// tiles are arrays of vectors, which those types do not allow.
#pragma once

// A definition on the command line wins: fewer targets compile faster while developing.
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#endif

#include "hwy/detect_targets.h"

// Register tiles must unroll completely, else the accumulators live on the stack.
#if defined(__clang__)
#define REGARD_UNROLL _Pragma("clang loop unroll(full)")
#else
#define REGARD_UNROLL _Pragma("GCC unroll 16")
#endif
