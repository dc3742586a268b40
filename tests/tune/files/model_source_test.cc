// Models in tests/data/models were written by Transformers, as a folder and as a GGUF file with the
// same weights (make_models.py there).
#include "tune/files/model_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "gguf_builder.h"
#include "temp_folder.h"
#include "tune/files/atomic_write.h"
#include "tune/files/gguf_source.h"
#include "tune/files/safetensors.h"

namespace tune {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using tune_test::data_path;
using tune_test::error_of;
using tune_test::GgufBuilder;
using tune_test::TempFolder;
using tune_test::usage_error_of;

// Sets environment variables and puts them back.
class Environment {
 public:
  Environment() {
    for (const char* name : kNames) {
      const char* value = getenv(name);
      saved_.push_back(value == nullptr ? std::nullopt : std::optional<std::string>(value));
      unsetenv(name);
    }
  }
  ~Environment() {
    for (size_t i = 0; i < saved_.size(); ++i) {
      saved_[i] ? setenv(kNames[i], saved_[i]->c_str(), 1) : unsetenv(kNames[i]);
    }
  }
  void set(const char* name, const std::string& value) { setenv(name, value.c_str(), 1); }

 private:
  static constexpr const char* kNames[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME",
                                           "XDG_CACHE_HOME", "HOME"};
  std::vector<std::optional<std::string>> saved_;
};

std::vector<float> read_all(const ModelSource& model, const std::string& name) {
  const auto shape = model.shape(name);
  std::vector<float> values(static_cast<size_t>(*checked_elements(shape)));
  model.read(name, shape, values);
  return values;
}

class TinyModel : public testing::TestWithParam<const char*> {};

TEST_P(TinyModel, GgufAndFolder_HoldTheSameWeights) {
  const std::string folder = data_path("models/") + GetParam();
  const auto hf = open_model(folder);
  const auto gguf = open_model(folder + ".gguf");
  EXPECT_EQ(hf->gguf(), nullptr);
  ASSERT_NE(gguf->gguf(), nullptr);
  size_t compared = 0;
  for (const std::string& name : open_safetensors_folder(folder)->names()) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(hf->has(name));
    ASSERT_TRUE(gguf->has(name));
    ASSERT_EQ(gguf->shape(name), hf->shape(name));
    ASSERT_EQ(read_all(*gguf, name), read_all(*hf, name));
    ++compared;
  }
  EXPECT_EQ(gguf->gguf()->names().size(),
            compared + (gguf->gguf()->find("rope_freqs.weight") != nullptr ? 1 : 0));
}

TEST_P(TinyModel, GgufAndFolder_HaveTheSameConfig) {
  const std::string folder = data_path("models/") + GetParam();
  ModelConfig hf = read_model_config(folder);
  ModelConfig gguf = read_model_config(folder + ".gguf");
  // What GGUF does not say: the type of the weights as saved.
  gguf.torch_dtype = hf.torch_dtype;
  EXPECT_EQ(model_config_to_json(gguf), model_config_to_json(hf));
}

INSTANTIATE_TEST_SUITE_P(Models, TinyModel,
                         testing::Values("tiny-llama", "tiny-llama-tied", "tiny-mistral",
                                         "tiny-qwen2", "tiny-qwen3"),
                         [](const testing::TestParamInfo<const char*>& tested) {
                           std::string name = tested.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(OpenModel, TiedEmbeddings_HaveNoHead) {
  for (const char* path : {"models/tiny-llama-tied", "models/tiny-llama-tied.gguf"}) {
    const auto model = open_model(data_path(path));
    EXPECT_TRUE(model->config().tie_word_embeddings);
    EXPECT_FALSE(model->has("lm_head.weight"));
    EXPECT_TRUE(model->has("model.embed_tokens.weight"));
    EXPECT_FALSE(model->has("model.layers.2.mlp.up_proj.weight"));
    EXPECT_FALSE(model->has("nonsense"));
  }
}

TEST(OpenModel, AbsentTensorOrWrongShape_SaysWhich) {
  for (const char* path : {"models/tiny-mistral", "models/tiny-mistral.gguf"}) {
    const auto model = open_model(data_path(path));
    std::vector<float> values(32);
    const std::vector<int64_t> shape = {32};
    EXPECT_THAT(error_of([&] { model->read("model.layers.9.x.weight", shape, values); }),
                HasSubstr("model.layers.9.x.weight"));
    EXPECT_THAT(error_of([&] { model->read("model.embed_tokens.weight", shape, values); }),
                HasSubstr("has shape [40, 32], the model's configuration asks for [32]"));
    values.resize(31);
    EXPECT_THAT(error_of([&] { model->read("model.norm.weight", shape, values); }),
                HasSubstr("31 values of room"));
  }
}

TEST(ReadModelConfig, FolderWithoutWeights_Works) {
  const TempFolder folder;
  folder.write("config.json", read_file(data_path("models/tiny-qwen2/config.json")));
  EXPECT_EQ(read_model_config(folder.path()).architecture, Architecture::qwen2);
  EXPECT_THAT(error_of([&] { open_model(folder.path()); }), HasSubstr("neither model.safetensors"));
}

TEST(ReadModelConfig, BrokenGgufOrConfig_IsTheUsersError) {
  const TempFolder folder;
  const std::string cut = read_file(data_path("models/tiny-llama.gguf")).substr(0, 5000);
  EXPECT_THAT(usage_error_of([&] { read_model_config(folder.write("cut.gguf", cut)); }),
              HasSubstr("truncated"));
  EXPECT_THAT(usage_error_of([&] { read_model_config(folder.write("e.gguf", "")); }),
              HasSubstr("0 bytes"));
  folder.write("config.json", "{");
  EXPECT_THAT(usage_error_of([&] { read_model_config(folder.path()); }), HasSubstr("not JSON"));
}

TEST(LocateModel, WrongPaths_SayWhatToWrite) {
  const Environment clean;
  const TempFolder folder;
  const auto message = [](const std::string& model) {
    return usage_error_of([&] { locate_model(model); });
  };
  EXPECT_THAT(message(""), HasSubstr("base_model is empty"));
  EXPECT_THAT(message(folder / "none.gguf"), HasSubstr("no such file or folder"));
  EXPECT_THAT(message(folder.path()), HasSubstr("no config.json"));
  EXPECT_THAT(message(folder.path()), HasSubstr("llama, mistral, qwen2, qwen3"));
  folder.write("model-q4.gguf", "GGUF");
  EXPECT_THAT(message(folder.path()), HasSubstr("write its path: " + (folder / "model-q4.gguf")));
  const TempFolder adapter;
  adapter.write("adapter_config.json", "{}");
  EXPECT_THAT(message(adapter.path()), HasSubstr("holds an adapter"));
  EXPECT_THAT(message(folder.write("weights.bin", "PK\x03\x04")), HasSubstr("not GGUF"));
}

class HubCache : public testing::Test {
 protected:
  void add(const std::string& hub, const std::string& repo, const std::string& revision) {
    folder_.write(hub + "/" + repo + "/blobs/0123",
                  read_file(data_path("models/tiny-llama/config.json")));
    const std::string snapshot = folder_ / (hub + "/" + repo + "/snapshots/" + revision);
    fs::create_directories(snapshot);
    fs::create_symlink("../../blobs/0123", snapshot + "/config.json");
  }
  Environment environment_;
  TempFolder folder_;
};

TEST_F(HubCache, RefsMain_NamesTheSnapshot) {
  add("hub", "models--org--name", "aaa");
  add("hub2", "models--org--name", "bbb");
  fs::create_directories(folder_ / "hub/models--org--name/snapshots/other");
  folder_.write("hub/models--org--name/refs/main", "aaa\n");
  environment_.set("HF_HOME", folder_.path());
  EXPECT_EQ(locate_model("org/name"), folder_ / "hub/models--org--name/snapshots/aaa");
  EXPECT_EQ(read_model_config("org/name").num_hidden_layers, 2);
  environment_.set("HF_HUB_CACHE", folder_ / "hub2");  // comes before HF_HOME
  EXPECT_EQ(locate_model("org/name"), folder_ / "hub2/models--org--name/snapshots/bbb");
}

TEST_F(HubCache, DefaultPlaces_AreTried) {
  add(".cache/huggingface/hub", "models--name", "ccc");
  environment_.set("HOME", folder_.path());
  EXPECT_THAT(locate_model("name"), HasSubstr("snapshots/ccc"));
  environment_.set("XDG_CACHE_HOME", folder_ / "xdg");
  EXPECT_THAT(usage_error_of([] { locate_model("name"); }), HasSubstr("xdg/huggingface/hub"));
}

TEST_F(HubCache, AbsentOrIncomplete_SaysHowToDownload) {
  environment_.set("HF_HOME", folder_.path());
  const std::string absent = usage_error_of([] { locate_model("org/none"); });
  EXPECT_THAT(absent, HasSubstr("`hf download org/none`"));
  EXPECT_THAT(absent, HasSubstr(folder_ / "hub"));
  EXPECT_THAT(absent, HasSubstr("llama, mistral, qwen2, qwen3"));
  folder_.write("hub/models--org--half/refs/main", "zzz");
  EXPECT_THAT(usage_error_of([] { locate_model("org/half"); }), HasSubstr("not complete"));
  folder_.write("hub/models--org--half/refs/main", "../../../..");
  EXPECT_THAT(usage_error_of([] { locate_model("org/half"); }), HasSubstr("not complete"));
}

TEST(GgufTensorName, Names_AreMapped) {
  EXPECT_EQ(gguf_tensor_name("model.layers.12.self_attn.q_proj.bias"), "blk.12.attn_q.bias");
  EXPECT_EQ(gguf_tensor_name("model.layers.0.post_attention_layernorm.weight"),
            "blk.0.ffn_norm.weight");
  EXPECT_EQ(gguf_tensor_name("lm_head.weight"), "output.weight");
  for (const char* name : {"", "model.layers.", "model.layers.1", "model.layers.1.weight",
                           "model.layers.1.self_attn.rotary_emb.inv_freq"}) {
    EXPECT_EQ(gguf_tensor_name(name), "") << name;
  }
}

// A GGUF header that names a model of 2 heads, with changes that a test makes.
GgufBuilder small_gguf(const std::string& architecture = "llama") {
  GgufBuilder builder;
  builder.text("general.architecture", architecture)
      .u32(architecture + ".context_length", 64)
      .u32(architecture + ".embedding_length", 8)
      .u32(architecture + ".feed_forward_length", 16)
      .u32(architecture + ".block_count", 1)
      .u32(architecture + ".vocab_size", 10);
  return builder;
}

std::string refusal(const GgufBuilder& builder) {
  const TempFolder folder;
  const std::string path = folder.write("m.gguf", builder.build());
  return usage_error_of([&] { read_model_config(path); });
}

TEST(GgufConfig, Nonsense_NamesTheGgufKey) {
  const auto heads = [](GgufBuilder builder) {
    return builder.u32("llama.attention.head_count", 2);
  };
  EXPECT_THAT(refusal(GgufBuilder()), HasSubstr("general.architecture is missing"));
  EXPECT_THAT(refusal(small_gguf("gemma3")), HasSubstr("llama, mistral, qwen2, qwen3"));
  EXPECT_THAT(refusal(small_gguf()), HasSubstr("llama.attention.head_count is missing"));
  EXPECT_THAT(refusal(small_gguf().u32("llama.attention.head_count", 3)),
              HasSubstr("llama.attention.head_count is 3"));
  EXPECT_THAT(refusal(small_gguf().u32("llama.attention.head_count", 0)),
              HasSubstr("llama.attention.head_count is 0"));
  EXPECT_THAT(refusal(heads(small_gguf()).u32("llama.attention.key_length", 5)),
              HasSubstr("llama.attention.key_length is 5"));
  EXPECT_THAT(refusal(heads(small_gguf()).u32("llama.rope.dimension_count", 2)),
              HasSubstr("llama.rope.dimension_count is 2"));
  EXPECT_THAT(refusal(heads(small_gguf()).u32("llama.expert_count", 8)),
              HasSubstr("mixtures of experts"));
  EXPECT_THAT(refusal(heads(small_gguf()).text("llama.rope.scaling.type", "yarn")),
              HasSubstr("\"yarn\""));
  EXPECT_THAT(refusal(heads(small_gguf()).f32("llama.rope.freq_base", -1.0F)),
              HasSubstr("llama.rope.freq_base is -1"));
  EXPECT_THAT(refusal(heads(small_gguf()).text("llama.attention.head_count_kv", "x")),
              HasSubstr("expected an integer"));
  const std::vector<float> divisors = {1.0F, 3.0F};
  EXPECT_THAT(
      refusal(heads(small_gguf()).tensor("rope_freqs.weight", {2}, 0, tune_test::floats(divisors))),
      testing::AnyOf(HasSubstr("rope_freqs.weight"), HasSubstr("Llama 3")));
}

TEST(GgufConfig, LinearScaling_IsRead) {
  const TempFolder folder;
  const auto config =
      read_model_config(folder.write("m.gguf", small_gguf()
                                                   .u32("llama.attention.head_count", 2)
                                                   .text("llama.rope.scaling.type", "linear")
                                                   .f32("llama.rope.scaling.factor", 4.0F)
                                                   .build()));
  EXPECT_EQ(config.rope.scaling, RopeConfig::Scaling::linear);
  EXPECT_EQ(config.rope.factor, 4.0);
  EXPECT_EQ(config.vocab_size, 10);
}

}  // namespace
}  // namespace tune
