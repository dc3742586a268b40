// The C interface over the C++ one: copies the struct, turns exceptions into codes.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "api/c_abi_call.h"
#include "regard/attention.h"
#include "regard/cuda.h"
#include "regard/error.h"
#include "regard/merge_attention.h"
#include "regard/regard.h"

namespace {

using namespace regard;
using c_abi::fail;
using c_abi::lse_of;
using c_abi::view_of;

thread_local std::string last_error;

// The smallest struct any version wrote. Later fields go to the end, and a caller that does not
// know them gets their defaults.
constexpr size_t kFirstStructSize = offsetof(regard_attention_args, document_q_lengths);

// Runs `work`; its exception becomes a code and a message of this thread.
template <typename Work>
int guarded(const Work& work) noexcept {
  try {
    last_error.clear();
    work();
    return REGARD_OK;
  } catch (const Error& error) {
    try {
      last_error = error.what();
    } catch (...) {
      last_error.clear();
    }
    return static_cast<int>(error.code());
  } catch (const std::bad_alloc&) {
    return REGARD_OUT_OF_MEMORY;
  } catch (...) {
    return REGARD_INTERNAL;
  }
}

// A size in the middle of a field would leave half a pointer behind; fields end at multiples of
// the struct's alignment, two int32 at a time.
bool is_struct_size(size_t size) {
  return size >= kFirstStructSize && size <= sizeof(regard_attention_args) &&
         size % alignof(regard_attention_args) == 0;
}

regard_attention_args copy_of(const regard_attention_args* args) {
  if (args == nullptr) {
    fail("args is NULL");
  }
  if (!is_struct_size(args->struct_size)) {
    fail("args.struct_size " + std::to_string(args->struct_size) + ": this library (" +
         std::string(version()) + ") knows " + std::to_string(sizeof(regard_attention_args)) +
         "; call regard_attention_args_init and use one version of header and library");
  }
  regard_attention_args copy;
  regard_attention_args_init(&copy);
  std::memcpy(&copy, args, args->struct_size);
  return copy;
}

void check_program_gradients(const regard_attention_args& args) {
  if (args.d_score_tensors != nullptr && args.score_program.text == nullptr) {
    fail("d_score_tensors without a score program: set score_program.text, or it to NULL");
  }
}

const regard_attention_part& part_at(const char* name, const regard_attention_part* part) {
  if (part == nullptr) {
    fail(std::string(name) + " is NULL");
  }
  return *part;
}

std::vector<AttentionPart> parts_of(const char* name, const regard_attention_part* parts,
                                    int32_t num_parts) {
  if (num_parts < 1) {
    fail("num_parts " + std::to_string(num_parts) + ": must be 1 or more");
  }
  (void)part_at(name, parts);
  std::vector<AttentionPart> result;
  for (int32_t i = 0; i < num_parts; ++i) {
    const std::string place = std::string(name) + "[" + std::to_string(i) + "]";
    result.push_back({.o = view_of(place + ".o", parts[i].o), .lse = lse_of(parts[i].lse)});
  }
  return result;
}

}  // namespace

extern "C" {

void regard_attention_args_init(regard_attention_args* args) {
  if (args == nullptr) {
    return;
  }
  *args = regard_attention_args{};
  args->struct_size = sizeof(*args);
  args->module = "sdpa";
  args->is_causal = 1;
  args->window[0] = -1;
  args->window[1] = -1;
  args->quantization.groups = REGARD_GROUPS_PER_THREAD;
  args->quantization.smooth_k = 1;
  args->is_training = 1;
}

int regard_attention_forward(const regard_attention_args* args) {
  return guarded([args] {
    const regard_attention_args given = copy_of(args);
    const c_abi::Call call(given);
    attention_forward(call.problem(), {.o = view_of("o", given.o), .lse = lse_of(given.lse)},
                      backend_of(call.module(), call.problem()));
  });
}

int regard_attention_backward(const regard_attention_args* args) {
  return guarded([args] {
    const regard_attention_args given = copy_of(args);
    const c_abi::Call call(given);
    check_program_gradients(given);
    attention_backward(call.problem(),
                       {.o = view_of("o", given.o),
                        .lse = lse_of(given.lse),
                        .d_o = view_of("d_o", given.d_o),
                        .d_lse = lse_of(given.d_lse),
                        .dq = view_of("dq", given.dq),
                        .dk = view_of("dk", given.dk),
                        .dv = view_of("dv", given.dv),
                        .d_bias = c_abi::gradient_of(given.d_bias),
                        .d_slopes = given.d_alibi_slopes,
                        .d_sink = given.d_sink,
                        .d_tensors = given.d_score_tensors},
                       backend_of(call.module(), call.problem(), Pass::training));
  });
}

int regard_merge_attention(const regard_attention_part* parts, int32_t num_parts,
                           const regard_attention_part* merged) {
  return guarded([=] {
    const regard_attention_part& result = part_at("merged", merged);
    merge_attention(parts_of("parts", parts, num_parts),
                    {.o = view_of("merged.o", result.o), .lse = lse_of(result.lse)});
  });
}

int regard_merge_attention_backward(const regard_attention_part* parts, int32_t num_parts,
                                    const regard_attention_part* merged,
                                    const regard_attention_part* d_merged,
                                    const regard_attention_part* gradients) {
  return guarded([=] {
    std::vector<PartGradients> written;
    for (const AttentionPart& part : parts_of("gradients", gradients, num_parts)) {
      written.push_back({.d_o = part.o, .d_lse = part.lse});
    }
    const regard_attention_part& d_result = part_at("d_merged", d_merged);
    merge_attention_backward(parts_of("parts", parts, num_parts),
                             view_of("merged.o", part_at("merged", merged).o),
                             view_of("d_merged.o", d_result.o), lse_of(d_result.lse), written);
  });
}

const char* regard_last_error(void) { return last_error.c_str(); }

const char* regard_version(void) { return version().data(); }

int regard_set_num_threads(int num_threads) {
  return guarded([num_threads] { set_num_threads(num_threads); });
}

int regard_set_cuda_stream(void* stream) {
  return guarded([stream] { set_cuda_stream(stream); });
}

}  // extern "C"
