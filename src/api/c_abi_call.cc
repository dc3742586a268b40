// Copies what the C structs say into the C++ interface, which judges it.
#include "api/c_abi_call.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace regard::c_abi {
namespace {

DType dtype_of(const std::string& name, int32_t dtype) {
  if (dtype < REGARD_F32 || dtype > REGARD_F8_E4M3) {
    fail(name + ".dtype " + std::to_string(dtype) +
         ": must be REGARD_F32, REGARD_F16, REGARD_BF16 or REGARD_F8_E4M3");
  }
  return static_cast<DType>(dtype);
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

Documents documents_of(const regard_attention_args& args) {
  return {.q_offsets = args.document_q_offsets,
          .k_offsets = args.document_k_offsets,
          .count = args.num_documents,
          .q_lengths = args.document_q_lengths,
          .k_lengths = args.document_k_lengths};
}

BlockMaskView block_mask_of(const regard_attention_args& args) {
  const regard_block_mask& mask = args.block_mask;
  if (mask.row_offsets == nullptr && args.block_is_full != nullptr) {
    fail("block_is_full without a block mask: set block_mask too, or it to NULL");
  }
  return {.row_offsets = mask.row_offsets,
          .columns = mask.columns,
          .is_full = args.block_is_full,
          .block_q = mask.block_q,
          .block_k = mask.block_k,
          .num_rows = mask.num_rows,
          .stride_batch = mask.stride_batch,
          .stride_head = mask.stride_head};
}

Module module_of(const regard_attention_args& args) {
  const char* name = args.module == nullptr ? "sdpa" : args.module;
  if (const std::optional<Module> module = find_module(name)) {
    return *module;
  }
  std::string names;
  for (const ModuleInfo& info : modules()) {
    names += (names.empty() ? "" : ", ") + std::string(info.name);
  }
  fail("module '" + std::string(name) + "' is not known; write one of " + names);
}

// Tensor `index` of a program: what parsing does not look at, and binding does not where the text
// never reads the tensor.
void check_tensor(const std::string& program, const regard_program& given, int32_t index) {
  const regard_program_tensor& tensor = given.tensors[index];
  const std::string place = program + ".tensors[" + std::to_string(index) + "]";
  if (tensor.name == nullptr || *tensor.name == '\0') {
    fail(place + ".name is " + (tensor.name == nullptr ? "NULL" : "empty") +
         ": give the name by which the text reads it");
  }
  const auto has_the_name = [&](const regard_program_tensor& other) {
    return std::string_view(other.name) == tensor.name;
  };
  if (std::any_of(given.tensors, given.tensors + index, has_the_name)) {
    fail(place + ".name '" + tensor.name + "' is that of a tensor before it: names must differ");
  }
  if (tensor.rank < 1 || tensor.rank > 4) {
    fail(place + ".rank " + std::to_string(tensor.rank) + ": must be from 1 to 4");
  }
  for (int32_t axis = 0; axis < tensor.rank; ++axis) {
    if (tensor.shape[axis] < 1) {
      fail(place + ".shape[" + std::to_string(axis) + "] " + std::to_string(tensor.shape[axis]) +
           ": must be 1 or more");
    }
  }
}

void check_program(const std::string& name, const regard_program& given) {
  if (given.num_tensors < 0 || (given.num_tensors > 0 && given.tensors == nullptr)) {
    fail(name + ".num_tensors " + std::to_string(given.num_tensors) +
         (given.num_tensors < 0 ? ": must be 0 or more" : " and tensors NULL: give them"));
  }
  for (int32_t i = 0; i < given.num_tensors; ++i) {
    check_tensor(name, given, i);
  }
}

ProgramTensor memory_of(const regard_program_tensor& tensor) {
  ProgramTensor memory{
      .data = tensor.data, .is_integer = tensor.is_integer != 0, .rank = tensor.rank};
  std::copy(std::begin(tensor.shape), std::end(tensor.shape), memory.shape);
  std::copy(std::begin(tensor.strides), std::end(tensor.strides), memory.stride);
  return memory;
}

bool is_set(const regard_descale& descale) {
  return descale.q != nullptr || descale.k != nullptr || descale.v != nullptr;
}

// Fields of a Problem that no module's shared options have, but flash_attention_3's functions do.
void check_of_flash_3(Module module, const regard_attention_args& args) {
  const std::string remedy = std::string(" for the module '") +
                             std::string(module_info(module).name) +
                             "': only flash_attention_3 knows it; set it to ";
  if (module == Module::flash_attention_3) {
    return;
  }
  if (args.chunk_size != 0) {
    fail("chunk_size " + std::to_string(args.chunk_size) + remedy + "0");
  }
  if (is_set(args.descale)) {
    fail("descale" + remedy + "NULL");
  }
}

}  // namespace

View view_of(const std::string& name, const regard_tensor& tensor) {
  if (tensor.strides[3] != 1) {
    fail(name + ".strides[3] " + std::to_string(tensor.strides[3]) + ": must be 1");
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

BiasGradient gradient_of(const regard_bias_gradient& gradient) {
  return {gradient.data, gradient.strides[0], gradient.strides[1], gradient.strides[2],
          gradient.strides[3]};
}

CompiledProgram::CompiledProgram(ProgramKind kind, const regard_program& program) {
  if (program.text == nullptr) {
    return;
  }
  check_program(kind == ProgramKind::score ? "score_program" : "mask_program", program);
  std::vector<TensorInfo> infos;
  for (int32_t i = 0; i < program.num_tensors; ++i) {
    const regard_program_tensor& tensor = program.tensors[i];
    tensors_.push_back(memory_of(tensor));
    infos.push_back({.name = tensor.name,
                     .element = tensor.is_integer != 0 ? ElementType::integer : ElementType::real,
                     .rank = tensor.rank});
  }
  program_ = kind == ProgramKind::score ? score_program(program.text, infos)
                                        : mask_program(program.text, infos);
}

BoundProgram CompiledProgram::bound() const {
  if (!program_) {
    return {};
  }
  return {.program = &*program_,
          .tensors = tensors_.data(),
          .num_tensors = static_cast<int32_t>(tensors_.size())};
}

Call::Call(const regard_attention_args& args)
    : module_(module_of(args)),
      score_program_(ProgramKind::score, args.score_program),
      mask_program_(ProgramKind::mask, args.mask_program) {
  check_of_flash_3(module_, args);
  problem_ = lower(module_, view_of("q", args.q), view_of("k", args.k), view_of("v", args.v),
                   options_of(args));
  if (args.chunk_size != 0) {
    problem_.chunks.size = args.chunk_size;
  }
  problem_.pages = {.table = args.pages.table,
                    .stride = args.pages.stride,
                    .lengths = args.pages.lengths,
                    .starts = args.pages.starts};
  problem_.descale = {.q = args.descale.q,
                      .k = args.descale.k,
                      .v = args.descale.v,
                      .stride_batch = args.descale.stride_batch};
}

AttentionOptions Call::options_of(const regard_attention_args& args) const {
  AttentionOptions options;
  options.is_causal = args.is_causal != 0;
  options.training = args.is_training != 0;
  options.scale = args.scale;
  options.window = {.left = args.window[0], .right = args.window[1]};
  options.documents = documents_of(args);
  options.mask = {static_cast<const uint8_t*>(args.mask.data), args.mask.strides[0],
                  args.mask.strides[1], args.mask.strides[2], args.mask.strides[3]};
  if (args.bias.data != nullptr) {
    options.bias = {args.bias.data,       dtype_of("bias", args.bias.dtype),
                    args.bias.strides[0], args.bias.strides[1],
                    args.bias.strides[2], args.bias.strides[3]};
  }
  options.alibi = {.slopes = args.alibi_slopes, .stride_batch = args.alibi_stride_batch};
  options.sink = {args.sink};
  options.block_mask = block_mask_of(args);
  options.softcap = args.softcap;
  options.score_program = score_program_.bound();
  options.mask_program = mask_program_.bound();
  options.first_query = args.first_query;
  options.dropout = {.probability = args.dropout_probability, .seed = args.dropout_seed};
  options.quantization = quantization_of(args.quantization);
  options.s2_row_length = args.s2_row_length;
  return options;
}

}  // namespace regard::c_abi
