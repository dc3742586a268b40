#include "tune/config/mask_grid.h"

#include <algorithm>
#include <vector>

namespace tune {
namespace {

std::vector<int32_t> grid_positions(int64_t length) {
  std::vector<int64_t> positions;
  for (int64_t p = 0; p < std::min<int64_t>(length, 32); ++p) positions.push_back(p);
  for (int64_t power = 32; power <= length; power *= 2) {
    for (const int64_t p : {power - 1, power, power + 1}) positions.push_back(p);
  }
  positions.push_back(length - 1);
  const auto outside = [&](int64_t p) { return p < 0 || p >= length; };
  positions.erase(std::remove_if(positions.begin(), positions.end(), outside), positions.end());
  std::sort(positions.begin(), positions.end());
  positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
  return {positions.begin(), positions.end()};
}

// Tensors of a single element each, which every index reads.
std::vector<regard::ProgramTensor> tensors_of(const regard::Program& mask, const float& real,
                                              const int32_t& integer) {
  std::vector<regard::ProgramTensor> tensors;
  for (const regard::TensorInfo& info : mask.tensors()) {
    regard::ProgramTensor tensor;
    tensor.is_integer = info.element == regard::ElementType::integer;
    tensor.data = &real;
    if (tensor.is_integer) tensor.data = &integer;
    tensor.rank = info.rank;
    std::fill_n(tensor.shape, 4, 1);
    tensors.push_back(tensor);
  }
  return tensors;
}

}  // namespace

bool mask_sees_later_keys(const regard::Program& mask, int64_t sequence_len) {
  const std::vector<int32_t> positions = grid_positions(sequence_len);
  const auto length = static_cast<int32_t>(sequence_len);
  for (const int32_t element : {0, 1, length}) {
    const auto real = static_cast<float>(element);
    const std::vector<regard::ProgramTensor> tensors = tensors_of(mask, real, element);
    const regard::BoundProgram bound{&mask, tensors.data(), static_cast<int32_t>(tensors.size())};
    regard::ProgramPoint point{.q_len = length, .kv_len = length};
    for (point.h = 0; point.h < 8; ++point.h) {
      for (const int32_t q : positions) {
        point.q = q;
        for (const int32_t kv : positions) {
          point.kv = kv;
          if (kv > q && regard::evaluate(bound, point) != 0.0) return true;
        }
      }
    }
    if (tensors.empty()) return false;
  }
  return false;
}

}  // namespace tune
