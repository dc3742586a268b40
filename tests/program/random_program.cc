#include "tests/program/random_program.h"

namespace regard::test {
namespace {

class Writer {
 public:
  Writer(std::mt19937& random, const RandomProgramOptions& options)
      : random_(random), options_(options) {}

  std::string real(int depth) {
    if (depth == 0) {
      return pick({options_.has_score ? "score" : "0.5", "0.25", "-1.5", "row[h % 4]",
                   "table[clamp(q - kv, 0, 2), min(h, 4)]", "3e-1", "(0.125 * (kv - q))"});
    }
    const std::string x = real(depth - 1), y = real(depth - 1);
    switch (below(options_.is_smooth ? 12 : 20)) {
      case 0:
        return "(" + x + " + " + y + ")";
      case 1:
        return "(" + x + " - " + y + ")";
      case 2:
        return "(" + x + " * " + y + ")";
      case 3:
        return "tanh(" + x + ")";
      case 4:
        return "sigmoid(" + x + ")";
      case 5:
        return "exp(0.5 * tanh(" + x + "))";
      case 6:
        return "exp2(sigmoid(" + x + "))";
      case 7:
        return "log(1.5 + sigmoid(" + x + "))";
      case 8:
        return "sqrt(1.25 + tanh(" + x + "))";
      case 9:
        return "rsqrt(2.0 + tanh(" + x + "))";
      case 10:
        return "(" + x + " / (2.0 + sigmoid(" + y + ")))";
      case 11:
        return "pow(1.5 + sigmoid(" + x + "), tanh(" + y + "))";
      case 12:
        return "(" + boolean(depth - 1) + " ? " + x + " : " + y + ")";
      case 13:
        return "where(" + boolean(depth - 1) + ", " + x + ", " + y + ")";
      case 14:
        return "min(" + x + ", " + y + ")";
      case 15:
        return "max(" + x + ", " + y + ")";
      case 16:
        return "abs(" + x + ")";
      case 17:
        return "clamp(" + x + ", -1.0, 0.75)";
      case 18:
        return "(-" + x + ")";
      default:
        return "(" + x + " + 0.01 * " + integer(depth - 1) + ")";
    }
  }

  std::string integer(int depth) {
    if (depth == 0) {
      return pick({"q", "kv", "h", "b", "q_len", "kv_len", "3", "-2", "7", "doc[q]",
                   "bucket[min(kv, 15)]", "(q - kv)"});
    }
    const std::string x = integer(depth - 1), y = integer(depth - 1);
    switch (below(options_.is_total ? 9 : 11)) {
      case 0:
        return "(" + x + " + " + y + ")";
      case 1:
        return "(" + x + " - " + y + ")";
      case 2:
        return "(" + x + " * " + y + ")";
      case 3:
        return "min(" + x + ", " + y + ")";
      case 4:
        return "max(" + x + ", " + y + ")";
      case 5:
        return "abs(" + x + ")";
      case 6:
        return "(" + x + " / " + pick({"3", "-4", "16", "7"}) + ")";
      case 7:
        return "(" + x + " % " + pick({"3", "-4", "16", "7"}) + ")";
      case 8:
        return "(" + boolean(depth - 1) + " ? " + x + " : " + y + ")";
      case 9:
        return "(" + x + " / " + y + ")";
      default:
        return "(" + x + " % " + y + ")";
    }
  }

  std::string boolean(int depth) {
    if (depth == 0) {
      return pick({"q >= kv", "q - kv < 5", "doc[q] == doc[kv]", "h != 1", "kv < q_len", "1"});
    }
    const std::string x = integer(depth - 1), y = integer(depth - 1);
    switch (below(7)) {
      case 0:
        return "(" + x + " < " + y + ")";
      case 1:
        return "(" + x + " >= " + y + ")";
      case 2:
        return "(" + x + " == " + y + ")";
      case 3:
        return "(" + boolean(depth - 1) + " && " + boolean(depth - 1) + ")";
      case 4:
        return "(" + boolean(depth - 1) + " || " + boolean(depth - 1) + ")";
      case 5:
        return "!(" + boolean(depth - 1) + ")";
      default:
        return "(" + integer(depth - 1) + " * 0.37 <= " + integer(depth - 1) + " * 0.11 + 1.5)";
    }
  }

 private:
  uint32_t below(uint32_t end) { return static_cast<uint32_t>(random_()) % end; }
  std::string pick(const std::vector<std::string>& words) {
    return words[below(static_cast<uint32_t>(words.size()))];
  }

  std::mt19937& random_;
  const RandomProgramOptions& options_;
};

}  // namespace

RandomTensors::RandomTensors(uint32_t seed) : row_(4), table_(15), bucket_(16) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> real(-1.0f, 1.0f);
  for (float& value : row_) value = real(random);
  for (float& value : table_) value = real(random);
  for (int32_t& value : bucket_) value = static_cast<int32_t>(random() % 9);
  bound_ = {{row_.data(), false, 1, {4}, {1}},
            {table_.data(), false, 2, {3, 5}, {5, 1}},
            {bucket_.data(), true, 1, {16}, {1}}};
}

std::vector<TensorInfo> RandomTensors::infos() {
  return {{"row", ElementType::real, 1},
          {"table", ElementType::real, 2},
          {"bucket", ElementType::integer, 1}};
}

std::string random_program(std::mt19937& random, const RandomProgramOptions& options) {
  return Writer(random, options).real(options.depth);
}

}  // namespace regard::test
