#include "tune/files/model_source.h"

#include <filesystem>

#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/files/gguf.h"
#include "tune/files/gguf_source.h"
#include "tune/files/safetensors.h"

namespace tune {
namespace {

class FolderSource : public ModelSource {
 public:
  explicit FolderSource(const std::string& folder)
      : folder_(folder),
        config_(parse_model_config(read_file(folder + "/config.json"), folder + "/config.json")),
        file_(open_safetensors_folder(folder)) {}

  const ModelConfig& config() const override { return config_; }
  const std::string& path() const override { return folder_; }

  bool has(std::string_view hf_name) const override {
    // Some tied models store the copy too; what config.json says holds.
    if (hf_name == "lm_head.weight" && config_.tie_word_embeddings) return false;
    return file_->find(hf_name) != nullptr;
  }

  std::vector<int64_t> shape(std::string_view hf_name) const override {
    return required(hf_name).shape;
  }

  void read(std::string_view hf_name, std::span<const int64_t> expected_shape,
            std::span<float> out) const override {
    const StoredTensor& tensor = required(hf_name);
    check_shape(folder_, hf_name, tensor, expected_shape, out.size());
    dequantize(tensor, 0, out);
  }

 private:
  const StoredTensor& required(std::string_view hf_name) const {
    const StoredTensor* tensor = has(hf_name) ? file_->find(hf_name) : nullptr;
    if (tensor == nullptr) {
      throw Error("tensor " + std::string(hf_name) + " is not in the weights of " + folder_);
    }
    return *tensor;
  }

  std::string folder_;
  ModelConfig config_;
  std::unique_ptr<TensorFile> file_;
};

bool is_folder(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

}  // namespace

void check_shape(const std::string& path, std::string_view hf_name, const StoredTensor& tensor,
                 std::span<const int64_t> expected_shape, size_t out_size) {
  if (!std::equal(tensor.shape.begin(), tensor.shape.end(), expected_shape.begin(),
                  expected_shape.end())) {
    throw Error("tensor " + std::string(hf_name) + " in " + path + " has shape " +
                shape_text(tensor.shape) + ", the model's configuration asks for " +
                shape_text(expected_shape));
  }
  if (static_cast<uint64_t>(tensor.num_elements()) != out_size) {
    throw Error("tensor " + std::string(hf_name) + ": " + std::to_string(out_size) +
                " values of room for shape " + shape_text(tensor.shape));
  }
}

std::unique_ptr<ModelSource> open_model(const std::string& base_model) {
  const std::string path = locate_model(base_model);
  if (is_folder(path)) return std::make_unique<FolderSource>(path);
  return open_gguf_source(path);
}

ModelConfig read_model_config(const std::string& base_model) {
  const std::string path = locate_model(base_model);
  try {
    if (!is_folder(path)) return model_config_from_gguf(*GgufFile::open(path));
    const std::string config = path + "/config.json";
    return parse_model_config(read_file(config), config);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    // A broken header is a wrong base_model (rule 32), not a failed run.
    throw UsageError(error.what());
  }
}

}  // namespace tune
