// GgufVocabulary: what the metadata of a GGUF file say about its tokenizer (keys tokenizer.*).
// Meaning: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, section "Tokenizer".
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tune/tokenizer/bpe_tokenizer.h"

namespace tune {

class GgufFile;

enum class GgufTokenType : int32_t {
  normal = 1,
  unknown = 2,
  control = 3,       // special: <s>, <|im_end|>
  user_defined = 4,  // found in raw text like a special token, but plain text when decoded
  unused = 5,
  byte = 6,  // <0x0A>
};

struct GgufVocabulary {
  std::string file;   // for messages
  std::string model;  // "gpt2" (byte-level BPE) or "llama" (SentencePiece BPE)
  std::string pre;    // for gpt2: which words the text is cut into
  std::vector<std::string> tokens;
  std::vector<double> scores;
  std::vector<GgufTokenType> types;
  std::vector<std::string> merges;
  SpecialTokens special;
  std::optional<bool> add_bos, add_eos, add_space_prefix;
  std::string chat_template;
};

GgufVocabulary read_gguf_vocabulary(const GgufFile& file);
// Throws UsageError for a model or pre-tokenizer that is not supported, with the list, and for
// arrays that contradict each other.
std::unique_ptr<Tokenizer> make_gguf_tokenizer(const GgufVocabulary& vocabulary);

// The sections of the tokenizer.json that means the same as tokenizer.ggml.pre; what llama.cpp and
// the original models do. Throws UsageError for an unknown name.
struct GgufPreTokenizer {
  nlohmann::json normalizer, pre_tokenizer;
  bool ignore_merges = false;
  bool adds_bos = false;  // unless tokenizer.ggml.add_bos_token says otherwise
};
GgufPreTokenizer find_gguf_pre_tokenizer(const std::string& name, const std::string& file);

}  // namespace tune
