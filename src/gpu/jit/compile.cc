#include "gpu/jit/compile.h"

#include <string_view>
#include <vector>

#include "gpu/jit/kernel_texts.h"
#include "gpu/plan/print_config.h"
#include "regard/error.h"

namespace regard::gpu {
namespace {

// -v: registers, stack and spills into the log, which tests and reports read.
std::vector<std::string> options_for(int compute_capability) {
  return {"--gpu-architecture=" + arch_of(compute_capability), "--std=c++20", "-default-device",
          "--ptxas-options=-v"};
}

// Destroyed at the end.
class NvrtcProgram {
 public:
  NvrtcProgram(const Nvrtc& nvrtc, const std::string& source, const std::string& programs)
      : nvrtc_(nvrtc) {
    std::vector<const char*> texts, names;
    for (const KernelText& text : kernel_texts()) {
      const bool is_replaced = !programs.empty() && text.name == std::string_view("programs.cuh");
      texts.push_back(is_replaced ? programs.c_str() : text.text);
      names.push_back(text.name);
    }
    require(nvrtc.create_program(&program_, source.c_str(), "kernel.cu",
                                 static_cast<int>(texts.size()), texts.data(), names.data()),
            "nvrtcCreateProgram");
  }
  ~NvrtcProgram() { nvrtc_.destroy_program(&program_); }
  NvrtcProgram(const NvrtcProgram&) = delete;
  NvrtcProgram& operator=(const NvrtcProgram&) = delete;

  int compile(const std::vector<std::string>& options) {
    std::vector<const char*> pointers;
    pointers.reserve(options.size());
    for (const std::string& option : options) {
      pointers.push_back(option.c_str());
    }
    return nvrtc_.compile_program(program_, static_cast<int>(pointers.size()), pointers.data());
  }
  std::string log() const { return bytes(nvrtc_.get_log_size, nvrtc_.get_log); }
  std::string cubin() const { return bytes(nvrtc_.get_cubin_size, nvrtc_.get_cubin); }

 private:
  void require(int result, const char* what) const {
    if (result != 0) {
      throw Error(ErrorCode::internal, std::string(what) + ": " + nvrtc_.get_error_string(result));
    }
  }
  std::string bytes(int (*get_size)(void*, size_t*), int (*get)(void*, char*)) const {
    size_t size = 0;
    require(get_size(program_, &size), "NVRTC's result");
    std::string result(size, '\0');
    require(get(program_, result.data()), "NVRTC's result");
    return result;
  }

  const Nvrtc& nvrtc_;
  void* program_ = nullptr;
};

std::string key_of(const Nvrtc& nvrtc, int compute_capability, const std::string& source,
                   const std::string& programs) {
  std::string key = "NVRTC " + std::to_string(nvrtc.major) + "." + std::to_string(nvrtc.minor);
  for (const std::string& option : options_for(compute_capability)) {
    key += " " + option;
  }
  key += "\n" + source + "\n" + programs;
  for (const KernelText& text : kernel_texts()) {
    key += std::string("\n--- ") + text.name + "\n" + text.text;
  }
  return key;
}

// `name` is for the message of a text that does not compile.
CompiledKernel compile_source(const Nvrtc& nvrtc, int compute_capability, const std::string& source,
                              const std::string& programs, const std::string& name) {
  NvrtcProgram program(nvrtc, source, programs);
  const int result = program.compile(options_for(compute_capability));
  const std::string log = program.log();
  if (result != 0) {
    throw Error(ErrorCode::internal, name + " does not compile for " + arch_of(compute_capability) +
                                         ": " + nvrtc.get_error_string(result) + "\n" + log);
  }
  return {.cubin = program.cubin(), .log = log};
}

}  // namespace

std::string arch_of(int compute_capability) {
  return "sm_" + std::to_string(compute_capability) + (compute_capability == 90 ? "a" : "");
}

// The number of blocks is always given: else ptxas may spill to fit several.
std::string generated_source(const CompileRequest& request) {
  return "#include \"" + request.stem + ".cuh\"\n" +
         "using namespace regard::gpu;\n"
         "extern __shared__ __align__(128) unsigned short shared[];\n"
         "extern \"C\" __global__ void __launch_bounds__(" +
         std::to_string(request.config.num_threads()) + ", " +
         std::to_string(request.config.min_blocks) + ") " + request.stem +
         "(const __grid_constant__ " + request.params +
         " params) {\n  regard::gpu::" + request.stem + "<" + literal(request.config) +
         ">(params, shared);\n}\n";
}

std::string cache_key(const Nvrtc& nvrtc, const CompileRequest& request) {
  return key_of(nvrtc, request.compute_capability, generated_source(request), request.programs);
}

CompiledKernel compile(const Nvrtc& nvrtc, const CompileRequest& request) {
  return compile_source(nvrtc, request.compute_capability, generated_source(request),
                        request.programs, describe(request.stem.c_str(), request.config));
}

CompiledKernel compile_cached(const Nvrtc& nvrtc, const KernelCache& cache,
                              const CompileRequest& request) {
  const std::string key = cache_key(nvrtc, request);
  if (auto found = cache.find(key)) {
    return *std::move(found);
  }
  CompiledKernel kernel = compile(nvrtc, request);
  cache.store(key, kernel);
  return kernel;
}

CompiledKernel compile_text_cached(const Nvrtc& nvrtc, const KernelCache& cache,
                                   const std::string& source, int compute_capability) {
  const std::string key = key_of(nvrtc, compute_capability, source, "");
  if (auto found = cache.find(key)) {
    return *std::move(found);
  }
  CompiledKernel kernel = compile_source(nvrtc, compute_capability, source, "", "a caller's text");
  cache.store(key, kernel);
  return kernel;
}

}  // namespace regard::gpu
