// Tokenizer: text to ids and back, with the same ids as Hugging Face `tokenizers`.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tune {

class GgufFile;
class ModelSource;

struct SpecialTokens {
  std::optional<int32_t> bos, eos, pad, unk;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // UTF-8 text to ids; special tokens written in the text become their ids. `add_special_tokens`
  // runs the post-processor (usually a BOS in front). Invalid UTF-8 becomes U+FFFD, as Python's
  // decoding with errors=replace.
  virtual std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const = 0;
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special_tokens) const = 0;
  virtual int32_t vocab_size() const = 0;  // largest id + 1, added tokens counted
  virtual std::optional<int32_t> token_id(std::string_view token) const = 0;
  virtual std::string_view token_text(int32_t id) const = 0;
  virtual const SpecialTokens& special() const = 0;
  // The model's own chat template (Jinja), empty if none.
  virtual const std::string& chat_template() const = 0;
  // Changes whenever any id of any text could change; part of the prepared cache's key.
  virtual std::string fingerprint() const = 0;
  // Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json as Transformers reads
  // them.
  virtual void save(const std::string& folder) const = 0;
};

// From a tokenizer.json (tokenizer_config.json and special_tokens_map.json beside it are read too).
std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& path);
std::unique_ptr<Tokenizer> load_tokenizer_gguf(const GgufFile& file);
// The tokenizer of a base model: GGUF's own, or the folder's tokenizer.json.
std::unique_ptr<Tokenizer> load_tokenizer(const ModelSource& model);

// What `special_tokens:` and `tokens:` of a configuration file ask for: new texts are appended to
// the vocabulary.
struct TokenizerChanges {
  std::map<std::string, std::string> special_tokens;  // pad_token, bos_token, eos_token, unk_token
  std::vector<std::string> tokens;
};
std::unique_ptr<Tokenizer> apply_changes(std::unique_ptr<Tokenizer> tokenizer,
                                         const TokenizerChanges& changes);

// Decodes a growing sequence without ever cutting a UTF-8 character: push(id) returns the text that
// became complete, finish() what is left. Joined they are decode() of all ids wherever these are
// valid UTF-8. The tokenizer must outlive the decoder.
class StreamDecoder {
 public:
  StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens);
  std::string push(int32_t id);
  std::string finish();

 private:
  void trim();

  const Tokenizer& tokenizer_;
  bool skip_special_tokens_;
  std::vector<int32_t> ids_;
  size_t num_undecided_ = 0;
  std::string done_;
};

}  // namespace tune
