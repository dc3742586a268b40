// From a config to machine code: the generated source, NVRTC over the embedded texts, the cache.
#pragma once

#include <string>

#include "gpu/jit/kernel_cache.h"
#include "gpu/jit/nvrtc.h"
#include "gpu/kernels/attn_config.h"

namespace regard::gpu {

// One kernel of a stem: what is compiled, for which GPU.
struct CompileRequest {
  std::string stem;    // "attn_fwd_mma": kernel text, entry point
  std::string params;  // "AttnFwdParams"
  AttnConfig config;
  int compute_capability = 80;
  int smem_bytes = 0;      // that a launch asks for
  std::string programs{};  // stands in for programs.cuh where not empty

  friend bool operator==(const CompileRequest&, const CompileRequest&) = default;
};

// "sm_80"; "sm_90a", whose instructions are a superset of sm_90's.
std::string arch_of(int compute_capability);

// At most ten lines: one include, one entry point with the literal config. `extern "C"`, so that
// the entry point's name is the stem.
std::string generated_source(const CompileRequest& request);

// Compiles without a cache. Throws Error(internal) with the compiler's log.
CompiledKernel compile(const Nvrtc& nvrtc, const CompileRequest& request);

// The same through `cache`.
CompiledKernel compile_cached(const Nvrtc& nvrtc, const KernelCache& cache,
                              const CompileRequest& request);

// Any text that may include the embedded ones, through `cache`; the entry points are its own.
// Throws Error(internal) with the compiler's log.
CompiledKernel compile_text_cached(const Nvrtc& nvrtc, const KernelCache& cache,
                                   const std::string& source, int compute_capability);

// Everything that decides what compile() makes.
std::string cache_key(const Nvrtc& nvrtc, const CompileRequest& request);

}  // namespace regard::gpu
