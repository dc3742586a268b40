// The public entry points: validate, choose, run, and turn every failure into regard::Error.
#include "regard/attention.h"

#include <atomic>
#include <mutex>
#include <new>
#include <string>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "api/backends.h"
#include "api/settings.h"
#include "api/validate.h"
#include "cpu/cpu_attention.h"
#include "reference/attention.h"
#include "regard/cuda.h"
#include "regard/error.h"

namespace regard {
namespace {

std::atomic<int> chosen_num_threads{0};

// Obeys REGARD_FORCE_TARGET before the first kernel runs. A bad value is reported by every call.
void prepare_engine() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (const std::string& target = api::settings().force_target; !target.empty()) {
      cpu::force_target(target);
    }
  });
}

template <typename Work>
void run_guarded(const Work& work) {
  try {
    work();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory,
                "scratch memory for attention could not be allocated; shorten the sequence or the "
                "batch");
  } catch (const std::exception& error) {
    throw Error(ErrorCode::internal, std::string("attention failed inside: ") + error.what());
  }
}

// Where the caller left the choice open.
Backend resolved(Backend backend, const Problem& problem) {
  return backend == Backend::automatic && is_cuda_memory(problem.q.data) ? Backend::cuda : backend;
}

bool has_queries(const Problem& problem) {
  return problem.q.batch > 0 && problem.q.seq > 0 && problem.q.heads > 0;
}

}  // namespace

std::string why_unsupported(Backend backend, const Problem& problem) {
  std::string reason;
  run_guarded([&] {
    const Problem valid = api::validated(problem, backend);
    if (backend == Backend::automatic) {
      reason = api::why_none_serves(valid, nullptr);
    }
    for (const api::BackendEntry& entry : api::backends()) {
      if (entry.backend == backend) {
        reason = entry.why_unsupported(valid);
      }
    }
  });
  return reason;
}

Backend backend_of(Module module) {
  (void)module_info(module);  // throws for one that is not in the table
  switch (module) {
    case Module::eager:
      return Backend::cpu_eager;
    case Module::sage:
      return Backend::cpu_sage;
    default:
      return Backend::cpu_tiled;
  }
}

Backend backend_of(Module module, const Problem& problem, Pass pass) {
  const Backend backend = backend_of(module);
  if (is_cuda_memory(problem.q.data)) {
    return Backend::cuda;
  }
  const bool is_exact = backend == Backend::cpu_tiled && pass == Pass::inference;
  return is_exact && why_unsupported(Backend::cpu_decode, problem).empty() ? Backend::cpu_decode
                                                                           : backend;
}

void attention_forward(const Problem& problem, const ForwardOutputs& outputs, Backend backend) {
  run_guarded([&] {
    const Backend named = resolved(backend, problem);
    const Problem valid = api::validated(problem, named);
    api::validate_forward(valid, outputs);
    if (!has_queries(valid)) {
      return;
    }
    prepare_engine();
    api::choose_backend(named, valid, nullptr).forward(valid, outputs);
  });
}

void attention_backward(const Problem& problem, const BackwardTensors& tensors, Backend backend) {
  run_guarded([&] {
    const Backend named = resolved(backend, problem);
    const Problem valid = api::validated(problem, named);
    api::validate_backward(valid, tensors);
    if (!has_queries(valid) && named != Backend::cuda) {
      reference::backward(valid, tensors);  // nobody asked: every gradient is written as zero
      return;
    }
    prepare_engine();
    api::choose_backend(named, valid, &tensors).backward(valid, tensors);
  });
}

void set_num_threads(int num_threads) {
  if (num_threads < 0) {
    throw Error(ErrorCode::invalid_argument, "num_threads " + std::to_string(num_threads) +
                                                 ": must be 1 or more, or 0 for the default");
  }
  chosen_num_threads = num_threads;
}

int num_threads() {
  if (const int chosen = chosen_num_threads; chosen > 0) {
    return chosen;
  }
  if (const int setting = api::settings().num_threads; setting > 0) {
    return setting;
  }
#ifdef _OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

std::string_view active_target() {
  prepare_engine();
  return cpu::active_target();
}

std::string_view version() { return REGARD_VERSION; }

}  // namespace regard
