// Fuzz target of the engine: a random attention problem, a few of whose fields are then changed to
// anything. Whatever comes out is refused with a reason, or every back end that takes it computes
// what the reference computes and writes nowhere else. Bytes 0-3 choose the problem, the rest are
// changes of five bytes each: field, and a 32-bit value.
//
// Usage without a fuzzing engine: problem_fuzz [seconds [seed]]. Built with -DREGARD_FUZZER=ON
// under Clang, libFuzzer drives the same target.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "regard/attention.h"
#include "regard/error.h"
#include "tests/support/attention_results.h"
#include "tests/support/case_list.h"

namespace regard::testing {
namespace {

constexpr size_t kChangeBytes = 5;
constexpr size_t kMaxChanges = 6;

struct Change {
  uint8_t field;
  int32_t value;
};

struct Input {
  uint32_t seed = 0;
  std::vector<Change> changes;
};

Input read_input(const uint8_t* data, size_t size) {
  Input input;
  if (size >= sizeof(input.seed)) {
    std::memcpy(&input.seed, data, sizeof(input.seed));
  }
  for (size_t at = sizeof(input.seed);
       at + kChangeBytes <= size && input.changes.size() < kMaxChanges; at += kChangeBytes) {
    Change change{data[at], 0};
    std::memcpy(&change.value, data + at + 1, sizeof(change.value));
    input.changes.push_back(change);
  }
  return input;
}

void fail(const Input& input, const std::string& what) {
  std::fprintf(stderr, "problem_fuzz: %s\nproblem %u, changes", what.c_str(), input.seed);
  for (const Change& change : input.changes) {
    std::fprintf(stderr, " (%d, %d)", change.field, change.value);
  }
  std::fprintf(stderr, "\n");
  std::abort();
}

// Copies of the arrays that a Problem points to, free to be changed.
class ChangedArrays {
 public:
  // Entry value % size of the array becomes something near `value`'s upper half.
  void change(const int32_t*& array, int64_t size, int32_t value) {
    if (array == nullptr || size <= 0) {
      return;
    }
    copies_.emplace_back(array, array + size);
    auto& entry = copies_.back()[static_cast<uint32_t>(value) % static_cast<uint64_t>(size)];
    const int32_t step = (value >> 16) % 9;  // small steps stay valid often, large ones never
    entry = (value & 0x8000) != 0 ? value : entry + step;
    array = copies_.back().data();
  }

 private:
  std::vector<std::vector<int32_t>> copies_;
};

float real_of(int32_t value) {
  float real;
  std::memcpy(&real, &value, sizeof(real));
  return (value & 1) != 0 ? real : static_cast<float>(value % 1000) / 64.0f;
}

// A length or a position: mostly small.
int64_t position_of(int32_t value) { return (value & 3) != 0 ? value % 200 : value; }

// `num_first_columns`: key blocks of the block mask's first row.
void apply(const Change& change, int64_t num_first_columns, ChangedArrays& arrays,
           Problem& problem) {
  Documents& documents = problem.documents;
  Pages& pages = problem.pages;
  const int64_t sequences = documents.count > 0 ? documents.count : problem.q.batch;
  const int32_t value = change.value;
  switch (change.field % 20) {
    case 0:
      problem.causal = static_cast<Causal>(value & 3);
      break;
    case 1:
      problem.window.left = position_of(value);
      break;
    case 2:
      problem.window.right = position_of(value);
      break;
    case 3:
      problem.chunks.size = position_of(value);
      break;
    case 4:
      problem.chunks.shift = position_of(value);
      break;
    case 5:
      problem.chunks.first_shifted_head = value % 8;
      break;
    case 6:
      problem.scale = real_of(value);
      break;
    case 7:
      problem.softcap = real_of(value);
      break;
    case 8:
      problem.dropout.probability = real_of(value) / 16.0f;
      break;
    case 9:
      arrays.change(documents.q_offsets, documents.count, value);
      break;
    case 10:
      arrays.change(documents.k_offsets, documents.count, value);
      break;
    case 11:
      arrays.change(documents.q_lengths, documents.count, value);
      break;
    case 12:
      arrays.change(documents.k_lengths, documents.count, value);
      break;
    case 13:
      arrays.change(pages.lengths, sequences, value);
      break;
    case 14:
      arrays.change(pages.table, pages.stride * sequences, value);
      break;
    case 15:
      arrays.change(problem.block_mask.row_offsets, problem.block_mask.num_rows + 1, value);
      break;
    case 16:
      arrays.change(problem.block_mask.columns, num_first_columns, value);
      break;
    case 17:
      documents.count = documents.count < 0 ? 0 : value % (documents.count + 1);
      break;
    case 18:
      problem.first_query = value % 4096;  // a program's f32 has no digits left at far positions
      break;
    default:
      problem.quantization.scores = static_cast<ScoreFormat>(value & 1);
      problem.quantization.groups = static_cast<ScaleGroups>((value >> 1) & 3);
      problem.quantization.values = static_cast<ValueFormat>((value >> 3) & 3);
      problem.quantization.smooth_k = (value & 32) != 0;
      break;
  }
}

// Runs forward, and backward where there is one; false where it is refused.
bool run(const Input& input, const Problem& problem, const CaseOperands& operands, Backend backend,
         bool with_backward, AttentionResults& results) {
  try {
    attention_forward(problem, results.outputs(), backend);
    if (with_backward) {
      attention_backward(problem, results.tensors(operands), backend);
    }
  } catch (const Error& error) {
    if (error.code() == ErrorCode::internal || std::string(error.what()).empty()) {
      fail(input, std::string("an error that is no refusal: ") + error.what());
    }
    return false;
  }
  return true;
}

// Gross disagreement only: the attention table judges roundings.
void expect_near(const Input& input, const char* name, const GuardedTensor& got,
                 const GuardedTensor& exact) {
  const std::vector<float> a = got.dense(), b = exact.dense();
  double largest = 0, difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(b[i])) {
      return;  // overflow of a huge scale: roundings decide
    }
    largest = std::max(largest, std::abs(double{b[i]}));
    difference = std::isfinite(a[i]) ? std::max(difference, std::abs(double{a[i]} - double{b[i]}))
                                     : HUGE_VAL;
  }
  if (difference > 0.1 * (1 + largest)) {
    fail(input, std::string(name) + " is " + std::to_string(difference) +
                    " from the reference's, whose largest value is " + std::to_string(largest));
  }
}

// Large scores turn roundings into other weights.
bool is_well_conditioned(const AttentionCase& config, const Problem& problem) {
  return config.q_magnitude <= 2.0f && std::abs(problem.scale) <= 1.0f &&
         problem.dropout.probability < 0.9f;
}

void judge(const Input& input, const AttentionCase& config, const CaseOperands& operands,
           const Problem& problem) {
  const bool with_backward = has_backward(problem);
  AttentionResults exact(operands);
  const bool is_valid = run(input, problem, operands, Backend::reference, with_backward, exact);
  if (!exact.guards_intact()) {
    fail(input, "the reference wrote outside the outputs");
  }
  for (const Backend backend : {Backend::automatic, Backend::cpu_tiled, Backend::cpu_eager}) {
    AttentionResults results(config, operands);
    const bool ran = run(input, problem, operands, backend, with_backward, results);
    if (!results.guards_intact()) {
      fail(input, "a back end wrote outside the outputs");
    }
    if (ran && is_valid && is_well_conditioned(config, problem)) {
      expect_near(input, "o", results.o, exact.o);
    }
    if (ran && is_valid && with_backward && is_well_conditioned(config, problem)) {
      expect_near(input, "dq", results.dq, exact.dq);
      expect_near(input, "dk", results.dk, exact.dk);
      expect_near(input, "dv", results.dv, exact.dv);
    }
  }
}

}  // namespace
}  // namespace regard::testing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace regard::testing;
  const Input input = read_input(data, size);
  const AttentionCase config = random_cases(1, input.seed).front();
  const CaseOperands operands(config);
  regard::Problem problem = operands.problem();
  const int32_t* row_offsets = problem.block_mask.row_offsets;
  const int64_t num_first_columns = row_offsets == nullptr ? 0 : row_offsets[1];
  ChangedArrays arrays;
  for (const Change& change : input.changes) {
    apply(change, num_first_columns, arrays, problem);
  }
  judge(input, config, operands, problem);
  return 0;
}

#ifndef REGARD_LIBFUZZER
int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 5.0;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  std::mt19937_64 random(seed);
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  uint64_t num_runs = 0;
  for (; elapsed() < seconds; ++num_runs) {
    std::vector<uint8_t> bytes(4 + 5 * (random() % 5));
    for (uint8_t& byte : bytes) {
      byte = static_cast<uint8_t>(random());
    }
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  std::printf("%llu problems from seed %llu in %g s\n", static_cast<unsigned long long>(num_runs),
              static_cast<unsigned long long>(seed), seconds);
  return num_runs == 0 ? 1 : 0;
}
#endif
