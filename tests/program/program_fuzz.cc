// Fuzz target of the program language: whatever the bytes are, they are refused with a position or
// become a program that prints, bounds and evaluates. Byte 0 chooses the kind.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "program/check.h"
#include "program/decide.h"
#include "program/evaluate.h"
#include "regard/error.h"
#include "regard/program.h"

namespace regard {
namespace {

const float kReal[6] = {0.5f, -1.0f, 0.0f, 3.0f, 1e30f, -0.25f};
const int32_t kInteger[4] = {0, -7, 2147483647, 2};

std::vector<TensorInfo> infos() {
  return {{"slopes", ElementType::real, 1},
          {"table", ElementType::real, 2},
          {"bucket", ElementType::integer, 1}};
}

std::string_view input;  // the text at hand, for the report

void require(bool holds, const char* what) {
  if (!holds) {
    std::fprintf(stderr, "program_fuzz: %s: %.*s\n", what, static_cast<int>(input.size()),
                 input.data());
    std::abort();
  }
}

void use(const Program& program) {
  const ProgramTensor tensors[3] = {{kReal, false, 1, {6}, {1}},
                                    {kReal, false, 2, {2, 3}, {3, 1}},
                                    {kInteger, true, 1, {4}, {1}}};
  const BoundProgram bound{&program, tensors, 3};
  const std::string text = program.text();
  if (text.find('\n') == std::string::npos && text.size() <= 4096) {
    const ParsedProgram again = parse_program(text, program.kind(), infos());
    // Nesting may pass the limit where shared parts are written out.
    require(again.program.has_value() || again.fault->message.find("nested") != std::string::npos,
            "a printed program does not parse");
  }
  program::Evaluator evaluator(bound);
  program::IntervalEvaluator intervals(bound);
  const program::Box box{.h_hi = 2, .q_hi = 5, .kv_lo = 1, .kv_hi = 4, .q_len = 6, .kv_len = 6};
  const program::Interval range = intervals.result(box);
  for (int32_t i = 0; i < 12; ++i) {
    const ProgramPoint point{
        .score = 0.5 * i - 2.0, .h = i % 3, .q = i % 6, .kv = 1 + i % 4, .q_len = 6, .kv_len = 6};
    const double value = evaluator.value(point);
    require(std::isnan(value) ? range.has_nan : value >= range.lo && value <= range.hi,
            "a value lies outside its interval");
    evaluator.d_score(point);
    std::vector<program::ElementGradient> gradients;
    evaluator.d_tensors(point, gradients);
  }
  Problem problem;
  problem.q = {.batch = 1, .seq = 6, .heads = 3, .dim = 1};
  problem.k = problem.v = {.batch = 1, .seq = 6, .heads = 3, .dim = 1};
  (program.kind() == ProgramKind::mask ? problem.mask_program : problem.score_program) = bound;
  try {
    program::check_programs(problem);
  } catch (const Error& error) {
    require(error.code() == ErrorCode::invalid_argument, "a check fails with another code");
  }
}

}  // namespace
}  // namespace regard

// How many inputs were programs: the driver breeds from those.
uint64_t fuzz_num_accepted = 0;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) {
    return 0;
  }
  const auto kind = data[0] % 2 == 0 ? regard::ProgramKind::score : regard::ProgramKind::mask;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  regard::input = text;
  const regard::ParsedProgram parsed = regard::parse_program(text, kind, regard::infos());
  regard::require(parsed.program.has_value() != parsed.fault.has_value(),
                  "neither a program nor a fault");
  if (parsed.fault) {
    regard::require(!parsed.fault->message.empty() && parsed.fault->position <= text.size() + 1,
                    "a fault without place or message");
  } else {
    ++fuzz_num_accepted;
    regard::use(*parsed.program);
  }
  return 0;
}
