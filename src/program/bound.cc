#include "program/bound.h"

#include <limits>

#include "regard/error.h"

namespace regard::program {
namespace {

[[noreturn]] void fail(ProgramKind kind, const std::string& message) {
  throw Error(ErrorCode::invalid_argument, place_of(kind, 0) + message);
}

bool is_read(const Code& code, int32_t tensor) {
  for (const Check& check : code.checks) {
    if (check.kind == Check::Kind::index && check.tensor == tensor) {
      return true;
    }
  }
  return false;
}

void check_memory(ProgramKind kind, const std::string& name, const ProgramTensor& tensor) {
  int64_t last = 0;
  for (int axis = 0; axis < tensor.rank; ++axis) {
    const int64_t extent = tensor.shape[axis];
    if (extent < 1 || tensor.stride[axis] < 0) {
      fail(kind, name + " has extent " + std::to_string(extent) + " and stride " +
                     std::to_string(tensor.stride[axis]) + " on axis " + std::to_string(axis) +
                     ": extents must be 1 or more and strides 0 or more");
    }
    if (extent > std::numeric_limits<int32_t>::max() ||
        (extent > 1 && tensor.stride[axis] > std::numeric_limits<int32_t>::max())) {
      last = std::numeric_limits<int64_t>::max() / 8;
    } else {
      last += (extent - 1) * tensor.stride[axis];
    }
  }
  if (last > std::numeric_limits<int32_t>::max() ||
      num_elements(tensor) > std::numeric_limits<int32_t>::max()) {
    fail(kind, name + " spans 2^31 elements or more: programs index with int32");
  }
  if (tensor.data == nullptr || reinterpret_cast<uintptr_t>(tensor.data) % 4 != 0) {
    fail(kind, name + (tensor.data == nullptr ? ".data is null" : ".data is not aligned to 4") +
                   std::string(": it needs f32 or int32 elements"));
  }
}

void check_tensor(ProgramKind kind, const TensorInfo& info, const ProgramTensor& tensor,
                  UnknownElements unknown) {
  const std::string name = "tensor '" + info.name + "'";
  if (info.element == ElementType::unknown && unknown == UnknownElements::refused) {
    fail(kind, name + " was declared without an element type: such a program can be checked only");
  }
  if (tensor.is_integer != (info.element == ElementType::integer)) {
    fail(kind, name + " holds " + (tensor.is_integer ? "int32" : "f32") +
                   " and the program reads " + (tensor.is_integer ? "f32" : "int32"));
  }
  if (tensor.rank != info.rank) {
    fail(kind, name + " has " + std::to_string(tensor.rank) + " axes, and the program indexes " +
                   std::to_string(info.rank));
  }
  check_memory(kind, name, tensor);
}

}  // namespace

std::string place_of(ProgramKind kind, size_t position) {
  return std::string(kind == ProgramKind::mask ? "mask" : "score") + " program" +
         (position == 0 ? ": " : ", character " + std::to_string(position) + ": ");
}

void check_binding(const BoundProgram& bound, ProgramKind kind, UnknownElements unknown) {
  const Code& code = bound.program->code();
  if (code.kind != kind) {
    fail(kind, kind == ProgramKind::mask ? "a score program was given as mask"
                                         : "a mask program was given as score");
  }
  if (bound.num_tensors != static_cast<int32_t>(code.tensors.size()) ||
      (bound.num_tensors > 0 && bound.tensors == nullptr)) {
    fail(kind, std::to_string(bound.num_tensors) + " tensors are bound and the program has " +
                   std::to_string(code.tensors.size()));
  }
  for (size_t i = 0; i < code.tensors.size(); ++i) {
    if (is_read(code, static_cast<int32_t>(i))) {
      check_tensor(kind, code.tensors[i], bound.tensors[i], unknown);
    }
  }
}

}  // namespace regard::program
