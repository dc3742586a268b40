// Runs a fuzz target without a fuzzing engine: mutations of known inputs from a fixed seed for a
// bounded time. Usage: NAME [seconds [seed]]; more of either for a longer search. Built with
// -DREGARD_FUZZER=ON under Clang, libFuzzer drives the same target instead.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern uint64_t fuzz_num_accepted;

namespace {

// Byte 0 is the kind of program; the rest is its text.
const std::vector<std::string> kSeeds = {
    "0score + slopes[h] * (kv - q)",
    "1q >= kv && doc[q] == doc[kv]",
    "0score + table[min(h, 1), clamp(q - kv, 0, 2)]",
    "030 * tanh(score / 30.5e0)",
    "1abs(q / 7 - kv / 7) <= 2 && abs(q % 7 - kv % 7) <= 1",
    "0where(q_len - 1 > kv, score, log(exp2(score) + 1))",
    "1kv <= q ? bucket[kv % 4] != 0 : !(h == 2 || b < 1)",
    "0pow(sigmoid(score), max(0.5, rsqrt(3))) - floor(sqrt(abs(score)))",
};
const std::vector<std::string> kPieces = {
    "(",      ")",       "[",      "]",       ",",    "?",         ":",      "+",
    "-",      "*",       "/",      "%",       "<",    "<=",        ">",      ">=",
    "==",     "!=",      "&&",     "||",      "!",    "score",     "q",      "kv",
    "h",      "b",       "kv_len", "doc",     "0",    "1",         "1e9",    ".5",
    "abs(",   "min(",    "max(",   "exp(",    "log(", "pow(",      "where(", "clamp(",
    "floor(", "slopes[", "table[", "bucket[", " ",    "2147483647"};

std::string mutated(std::string text, std::mt19937_64& random) {
  const auto below = [&](size_t end) { return static_cast<size_t>(random() % end); };
  for (size_t n = 1 + below(6); n-- > 0;) {
    const size_t at = below(text.size() + 1);
    switch (below(5)) {
      case 0:
        text.insert(at, kPieces[below(kPieces.size())]);
        break;
      case 1:
        text.erase(at, 1 + below(8));
        break;
      case 2: {
        const std::string& other = kSeeds[below(kSeeds.size())];
        text.insert(at, other, 1 + below(other.size() - 1), below(other.size()));
        break;
      }
      case 3:
        if (at < text.size()) text[at] = static_cast<char>(random());
        break;
      default:
        text.insert(at, text, below(text.size() + 1), below(40));
        break;
    }
    if (text.size() > 6000) text.resize(6000);
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 5.0;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  std::mt19937_64 random(seed);
  std::vector<std::string> texts = kSeeds;
  const auto start = std::chrono::steady_clock::now();
  const auto is_over = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() >
           seconds;
  };
  uint64_t num_runs = 0;
  for (; !is_over(); ++num_runs) {
    const std::string text = mutated(texts[random() % texts.size()], random);
    const uint64_t num_accepted = fuzz_num_accepted;
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    // Mutations of what was accepted: from broken texts hardly anything whole is made.
    if (fuzz_num_accepted != num_accepted && random() % 4 == 0) {
      if (texts.size() < 512) {
        texts.push_back(text);
      } else {
        texts[kSeeds.size() + random() % (texts.size() - kSeeds.size())] = text;
      }
    }
  }
  std::printf("%llu inputs, %llu of them programs, from seed %llu in %g s\n",
              static_cast<unsigned long long>(num_runs),
              static_cast<unsigned long long>(fuzz_num_accepted),
              static_cast<unsigned long long>(seed), seconds);
  return fuzz_num_accepted == 0 ? 1 : 0;
}
