// Evaluation of a checked program over doubles; only the rules use it, so clarity goes before
// speed.
#include <algorithm>
#include <cmath>

#include "tune/config/program_check.h"

namespace tune {
namespace {

using Op = ProgramStep::Op;

double truth(bool value) { return value ? 1.0 : 0.0; }

double leaf(const ProgramStep& step, const ProgramPoint& point) {
  switch (step.op) {
    case Op::score:
      return point.score;
    case Op::b:
      return point.b;
    case Op::h:
      return point.h;
    case Op::q:
      return point.q;
    case Op::kv:
      return point.kv;
    case Op::q_len:
      return point.q_len;
    case Op::kv_len:
      return point.kv_len;
    case Op::tensor:
      return point.tensor;
    case Op::doc:
      return 0.0;  // one document: where documents meet is not the mask's business
    default:
      return step.value;
  }
}

double logic(Op op, double x, double y, double z) {
  switch (op) {
    case Op::logical_not:
      return truth(x == 0.0);
    case Op::less:
      return truth(x < y);
    case Op::less_equal:
      return truth(x <= y);
    case Op::greater:
      return truth(x > y);
    case Op::greater_equal:
      return truth(x >= y);
    case Op::equal:
      return truth(x == y);
    case Op::not_equal:
      return truth(x != y);
    case Op::logical_and:
      return truth(x != 0.0 && y != 0.0);
    case Op::logical_or:
      return truth(x != 0.0 || y != 0.0);
    default:
      return x != 0.0 ? y : z;
  }
}

double arithmetic(Op op, double x, double y, double z) {
  switch (op) {
    case Op::negate:
      return -x;
    case Op::add:
      return x + y;
    case Op::subtract:
      return x - y;
    case Op::multiply:
      return x * y;
    case Op::divide:
      return x / y;
    case Op::modulo:
      return std::fmod(x, y);
    case Op::min:
      return std::fmin(x, y);
    case Op::max:
      return std::fmax(x, y);
    case Op::pow:
      return std::pow(x, y);
    default:  // clamp
      return std::fmin(std::fmax(x, y), z);
  }
}

double function(Op op, double x) {
  switch (op) {
    case Op::abs:
      return std::fabs(x);
    case Op::exp:
      return std::exp(x);
    case Op::exp2:
      return std::exp2(x);
    case Op::log:
      return std::log(x);
    case Op::tanh:
      return std::tanh(x);
    case Op::sigmoid:
      return 1.0 / (1.0 + std::exp(-x));
    case Op::sqrt:
      return std::sqrt(x);
    case Op::rsqrt:
      return 1.0 / std::sqrt(x);
    default:
      return std::floor(x);
  }
}

double apply(const ProgramStep& step, const ProgramPoint& point, double x, double y, double z) {
  switch (step.op) {
    case Op::constant:
    case Op::score:
    case Op::b:
    case Op::h:
    case Op::q:
    case Op::kv:
    case Op::q_len:
    case Op::kv_len:
    case Op::doc:
    case Op::tensor:
      return leaf(step, point);
    case Op::logical_not:
    case Op::less:
    case Op::less_equal:
    case Op::greater:
    case Op::greater_equal:
    case Op::equal:
    case Op::not_equal:
    case Op::logical_and:
    case Op::logical_or:
    case Op::select:
      return logic(step.op, x, y, z);
    case Op::abs:
    case Op::exp:
    case Op::exp2:
    case Op::log:
    case Op::tanh:
    case Op::sigmoid:
    case Op::sqrt:
    case Op::rsqrt:
    case Op::floor:
      return function(step.op, x);
    default:
      return arithmetic(step.op, x, y, z);
  }
}

double run(const Program& program, const ProgramPoint& point, std::vector<double>& values) {
  values.assign(program.steps.size(), 0.0);
  const auto operand = [&](int32_t index) {
    return index < 0 ? 0.0 : values[static_cast<size_t>(index)];
  };
  for (size_t i = 0; i < program.steps.size(); ++i) {
    const ProgramStep& step = program.steps[i];
    values[i] = apply(step, point, operand(step.a), operand(step.b), operand(step.c));
  }
  return values.empty() ? 0.0 : values.back();
}

std::vector<int64_t> grid_positions(int64_t length) {
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
  return positions;
}

}  // namespace

double evaluate_program(const Program& program, const ProgramPoint& point) {
  std::vector<double> values;
  return run(program, point, values);
}

bool mask_sees_later_keys(const Program& mask, int64_t sequence_len) {
  if (mask.steps.empty()) return false;
  const auto uses = [&](Op op) {
    return std::any_of(mask.steps.begin(), mask.steps.end(),
                       [&](const ProgramStep& step) { return step.op == op; });
  };
  const std::vector<int64_t> positions = grid_positions(sequence_len);
  const std::vector<double> tensors =
      uses(Op::tensor) ? std::vector<double>{0.0, 1.0, static_cast<double>(sequence_len)}
                       : std::vector<double>{0.0};
  const int num_heads = uses(Op::h) ? 8 : 1;
  ProgramPoint point;
  point.q_len = point.kv_len = static_cast<double>(sequence_len);
  std::vector<double> values;
  for (const double tensor : tensors) {
    point.tensor = tensor;
    for (int head = 0; head < num_heads; ++head) {
      point.h = head;
      for (const int64_t q : positions) {
        point.q = static_cast<double>(q);
        for (const int64_t kv : positions) {
          point.kv = static_cast<double>(kv);
          // NaN counts as seen: it is not zero.
          if (kv > q && run(mask, point, values) != 0.0) return true;
        }
      }
    }
  }
  return false;
}

}  // namespace tune
