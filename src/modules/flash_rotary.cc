// Rotary position embedding of single rows, for what a cache call appends and asks.
#include <cmath>

#include "core/dtype.h"
#include "modules/flash_lowering.h"

namespace regard::flash {

void check_rotary(const char* function, const RotaryTable& table, int64_t head_dim) {
  if (table.cos == nullptr && table.sin == nullptr) {
    return;
  }
  if (table.cos == nullptr || table.sin == nullptr) {
    fail(function, "rotary.cos or rotary.sin is null: set both or neither");
  }
  if (table.dtype == DType::f8_e4m3) {
    fail(function, "rotary tables are f8_e4m3: must be f32, f16 or bf16");
  }
  if (table.dim < 2 || table.dim % 2 != 0 || table.dim > head_dim) {
    fail(function, "rotary.dim " + std::to_string(table.dim) + ": must be even and from 2 to the " +
                       "head size " + std::to_string(head_dim));
  }
}

void rotate_row(const RotaryTable& table, int64_t position, const View& from,
                const RowIndex& from_row, const View& to, const RowIndex& to_row) {
  copy_row(from, from_row, to, to_row, 0);
  if (table.cos == nullptr) {
    return;
  }
  const int64_t half = table.dim / 2;
  const int64_t source = core::row_offset(from, from_row.batch, from_row.seq, from_row.head);
  const int64_t target = core::row_offset(to, to_row.batch, to_row.seq, to_row.head);
  for (int64_t i = 0; i < half; ++i) {
    const int64_t first = table.is_interleaved ? 2 * i : i;
    const int64_t second = table.is_interleaved ? 2 * i + 1 : i + half;
    const float cos = core::load(table.cos, table.dtype, position * half + i);
    const float sin = core::load(table.sin, table.dtype, position * half + i);
    const float x = core::load(from.data, from.dtype, source + first);
    const float y = core::load(from.data, from.dtype, source + second);
    core::store(to.data, to.dtype, target + first, x * cos - y * sin);
    core::store(to.data, to.dtype, target + second, x * sin + y * cos);
  }
}

}  // namespace regard::flash
