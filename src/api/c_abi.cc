// The C interface over the C++ one: copies the struct, turns exceptions into codes.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "regard/attention.h"
#include "regard/error.h"
#include "regard/modules.h"
#include "regard/regard.h"

namespace {

using namespace regard;

thread_local std::string last_error;

// The smallest struct any version wrote. Later fields go to the end, and a caller that does not
// know them gets their defaults.
constexpr size_t kFirstStructSize = offsetof(regard_attention_args, document_q_lengths);

[[noreturn]] void fail(const std::string& message) {
  throw Error(ErrorCode::invalid_argument, message);
}

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

regard_attention_args copy_of(const regard_attention_args* args) {
  if (args == nullptr) {
    fail("args is NULL");
  }
  if (args->struct_size < kFirstStructSize || args->struct_size > sizeof(regard_attention_args)) {
    fail("args.struct_size " + std::to_string(args->struct_size) + ": this library (" +
         std::string(version()) + ") knows " + std::to_string(sizeof(regard_attention_args)) +
         "; call regard_attention_args_init and use one version of header and library");
  }
  regard_attention_args copy;
  regard_attention_args_init(&copy);
  std::memcpy(&copy, args, args->struct_size);
  return copy;
}

DType dtype_of(const char* name, int32_t dtype) {
  if (dtype < REGARD_F32 || dtype > REGARD_BF16) {
    fail(std::string(name) + ".dtype " + std::to_string(dtype) +
         ": must be REGARD_F32, REGARD_F16 or REGARD_BF16");
  }
  return static_cast<DType>(dtype);
}

View view_of(const char* name, const regard_tensor& tensor) {
  if (tensor.strides[3] != 1) {
    fail(std::string(name) + ".strides[3] " + std::to_string(tensor.strides[3]) + ": must be 1");
  }
  return {.data = tensor.data,
          .dtype = dtype_of(name, tensor.dtype),
          .batch = tensor.shape[0],
          .seq = tensor.shape[1],
          .heads = tensor.shape[2],
          .dim = tensor.shape[3],
          .stride_batch = tensor.strides[0],
          .stride_seq = tensor.strides[1],
          .stride_head = tensor.strides[2]};
}

LseView lse_of(const regard_lse& lse) {
  return {.data = lse.data, .stride_batch = lse.stride_batch, .stride_head = lse.stride_head};
}

// A value out of range is kept out of range, for validation to name.
template <typename Enum>
Enum enum_of(int32_t value) {
  return static_cast<Enum>(value < 0 || value > UINT8_MAX ? UINT8_MAX : value);
}

Quantization quantization_of(const regard_quantization& quantization) {
  return {.scores = enum_of<ScoreFormat>(quantization.scores),
          .groups = enum_of<ScaleGroups>(quantization.groups),
          .values = enum_of<ValueFormat>(quantization.values),
          .smooth_k = quantization.smooth_k != 0,
          .int8_backward = quantization.int8_backward != 0};
}

BiasGradient bias_gradient_of(const regard_bias_gradient& gradient) {
  return {gradient.data, gradient.strides[0], gradient.strides[1], gradient.strides[2],
          gradient.strides[3]};
}

AttentionOptions options_of(const regard_attention_args& args) {
  AttentionOptions options;
  options.is_causal = args.is_causal != 0;
  options.scale = args.scale;
  options.window = {.left = args.window[0], .right = args.window[1]};
  options.documents = {.q_offsets = args.document_q_offsets,
                       .k_offsets = args.document_k_offsets,
                       .count = args.num_documents,
                       .q_lengths = args.document_q_lengths,
                       .k_lengths = args.document_k_lengths};
  options.mask = {static_cast<const uint8_t*>(args.mask.data), args.mask.strides[0],
                  args.mask.strides[1], args.mask.strides[2], args.mask.strides[3]};
  if (args.bias.data != nullptr) {
    options.bias = {args.bias.data,       dtype_of("bias", args.bias.dtype),
                    args.bias.strides[0], args.bias.strides[1],
                    args.bias.strides[2], args.bias.strides[3]};
  }
  options.alibi = {.slopes = args.alibi_slopes, .stride_batch = args.alibi_stride_batch};
  options.sink = {args.sink};
  options.block_mask = {.row_offsets = args.block_mask.row_offsets,
                        .columns = args.block_mask.columns,
                        .block_q = args.block_mask.block_q,
                        .block_k = args.block_mask.block_k,
                        .num_rows = args.block_mask.num_rows,
                        .stride_batch = args.block_mask.stride_batch,
                        .stride_head = args.block_mask.stride_head};
  options.quantization = quantization_of(args.quantization);
  options.softcap = args.softcap;
  options.dropout = {.probability = args.dropout_probability, .seed = args.dropout_seed};
  return options;
}

struct Call {
  Module module;
  Problem problem;
};

Call call_of(const regard_attention_args& args) {
  const char* name = args.module == nullptr ? "sdpa" : args.module;
  const std::optional<Module> module = find_module(name);
  if (!module) {
    std::string names;
    for (const ModuleInfo& info : modules()) {
      names += (names.empty() ? "" : ", ") + std::string(info.name);
    }
    fail("module '" + std::string(name) + "' is not known; write one of " + names);
  }
  Call call{.module = *module,
            .problem = lower(*module, view_of("q", args.q), view_of("k", args.k),
                             view_of("v", args.v), options_of(args))};
  if (args.chunk_size != 0) {
    if (*module != Module::flash_attention_3) {
      fail("chunk_size " + std::to_string(args.chunk_size) + " for the module '" + name +
           "': only flash_attention_3 knows it; set it to 0");
    }
    call.problem.chunks.size = args.chunk_size;
  }
  return call;
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
}

int regard_attention_forward(const regard_attention_args* args) {
  return guarded([args] {
    const regard_attention_args given = copy_of(args);
    const Call call = call_of(given);
    attention_forward(call.problem, {.o = view_of("o", given.o), .lse = lse_of(given.lse)},
                      backend_of(call.module, call.problem));
  });
}

int regard_attention_backward(const regard_attention_args* args) {
  return guarded([args] {
    const regard_attention_args given = copy_of(args);
    const Call call = call_of(given);
    attention_backward(call.problem,
                       {.o = view_of("o", given.o),
                        .lse = lse_of(given.lse),
                        .d_o = view_of("d_o", given.d_o),
                        .d_lse = lse_of(given.d_lse),
                        .dq = view_of("dq", given.dq),
                        .dk = view_of("dk", given.dk),
                        .dv = view_of("dv", given.dv),
                        .d_bias = bias_gradient_of(given.d_bias),
                        .d_slopes = given.d_alibi_slopes,
                        .d_sink = given.d_sink},
                       backend_of(call.module));
  });
}

const char* regard_last_error(void) { return last_error.c_str(); }

const char* regard_version(void) { return version().data(); }

int regard_set_num_threads(int num_threads) {
  return guarded([num_threads] { set_num_threads(num_threads); });
}

}  // extern "C"
