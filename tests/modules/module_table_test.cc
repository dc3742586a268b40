// Every module over the masks it knows, all dtypes and awkward shapes: its call, in the words that
// modules share, against the Problem written out by hand.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "regard/attention.h"
#include "tests/support/attention_judge.h"

namespace regard::testing {
namespace {

// sage computes other numbers by design: tests of its own judge it.
struct ModuleRow {
  Module module;
  Causal alignment;  // of is_causal
};

const std::vector<ModuleRow> kModuleRows = {
    {Module::sdpa, Causal::upper_left},
    {Module::flash_attention_2, Causal::lower_right},
    {Module::flash_attention_3, Causal::lower_right},
    {Module::flex_attention, Causal::upper_left},
    {Module::xformers, Causal::upper_left},
    {Module::s2, Causal::lower_right},
    {Module::eager, Causal::upper_left},
};

struct Feature {
  const char* name;
  void (*set)(AttentionCase&, Causal alignment);
  std::set<Module> modules;
};

const std::set<Module> kAll = {
    Module::sdpa,           Module::flash_attention_2, Module::flash_attention_3,
    Module::flex_attention, Module::xformers,          Module::eager};
const std::set<Module> kCapped = {Module::sdpa, Module::flash_attention_2,
                                  Module::flash_attention_3, Module::flex_attention, Module::eager};

std::set<Module> with_s2(std::set<Module> modules) {
  modules.insert(Module::s2);
  return modules;
}

const std::vector<Feature> kFeatures = {
    {"full", [](AttentionCase&, Causal) {}, kAll},
    {"causal", [](AttentionCase& c, Causal alignment) { c.causal = alignment; }, with_s2(kAll)},
    {"window",
     [](AttentionCase& c, Causal alignment) {
       c.causal = alignment;
       c.window.left = 9;
     },
     kAll},
    {"documents",
     [](AttentionCase& c, Causal alignment) {
       c.causal = alignment;
       c.batch = 1;
       const auto sq = static_cast<int32_t>(c.sq), sk = static_cast<int32_t>(c.sk);
       c.documents = {{sq / 3, sk / 4}, {0, sk / 8}, {sq - sq / 3, sk - sk / 4 - sk / 8}};
     },
     kAll},
    {"mask", [](AttentionCase& c, Causal) { c.has_mask = true; }, {Module::sdpa, Module::eager}},
    {"bias",
     [](AttentionCase& c, Causal) {
       c.has_bias = true;
       c.broadcast = Broadcast::over_batch_and_head;
     },
     {Module::sdpa, Module::xformers, Module::eager}},
    {"alibi",
     [](AttentionCase& c, Causal alignment) {
       c.causal = alignment;
       c.has_alibi = true;
     },
     {Module::sdpa, Module::flash_attention_2, Module::eager}},
    {"softcap",
     [](AttentionCase& c, Causal alignment) {
       c.causal = alignment;
       c.softcap = 2.0f;
     },
     kCapped},
    {"sink", [](AttentionCase& c, Causal) { c.has_sink = true; }, kCapped},
    {"dropout",
     [](AttentionCase& c, Causal alignment) {
       c.causal = alignment;
       c.dropout = 0.3f;
     },
     {Module::sdpa, Module::flash_attention_2, Module::xformers, Module::s2, Module::eager}},
};

struct Extent {
  int64_t sq, sk;
};
const std::vector<Extent> kExtents = {{0, 5},   {5, 0},   {1, 1},   {1, 60}, {36, 36},
                                      {17, 41}, {41, 17}, {68, 68}, {50, 97}};

struct TableCase {
  Module module;
  AttentionCase config;
};

bool is_cut_by_s2(const AttentionCase& config) {
  return config.sq == config.sk && config.sq % 4 == 0;
}

std::vector<TableCase> table_cases() {
  std::vector<TableCase> cases;
  for (const ModuleRow& row : kModuleRows) {
    for (const Feature& feature : kFeatures) {
      for (const Extent& extent : kExtents) {
        for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
          AttentionCase config{.dtype = dtype, .gradient_dtype = dtype, .batch = 2};
          config.q_heads = 4;
          config.kv_heads = cases.size() % 3 == 0 ? 4 : cases.size() % 3 == 1 ? 2 : 1;
          config.sq = extent.sq;
          config.sk = extent.sk;
          config.d = cases.size() % 2 == 0 ? 16 : 33;
          config.dv = cases.size() % 5 == 0 ? 24 : config.d;
          config.layout = std::vector{Layout::bshd, Layout::bhsd, Layout::sliced}[cases.size() % 3];
          config.seed = static_cast<uint32_t>(50 + cases.size());
          feature.set(config, row.alignment);
          if (row.module == Module::s2) {
            config.chunks = {extent.sq / 4, extent.sq / 4 / 2, 2};
          }
          config.name = std::string(module_info(row.module).name) + "_" + feature.name + "_" +
                        core::name_of(dtype) + "_" + std::to_string(extent.sq) + "_" +
                        std::to_string(extent.sk);
          if (feature.modules.contains(row.module) &&
              (row.module != Module::s2 || (is_cut_by_s2(config) && extent.sq > 0))) {
            cases.push_back({row.module, config});
          }
        }
      }
    }
  }
  return cases;
}

// The Problem's parts, said in the words of modules.
AttentionOptions options_of(const Problem& problem) {
  AttentionOptions options{.is_causal = problem.causal != Causal::none};
  options.window = problem.window;
  options.documents = problem.documents;
  options.mask = problem.mask;
  options.bias = problem.bias;
  options.alibi = problem.alibi;
  options.sink = problem.sink;
  options.softcap = problem.softcap;
  options.dropout = problem.dropout;
  return options;
}

void PrintTo(const TableCase& table_case, std::ostream* out) { *out << table_case.config.name; }

class ModuleTable : public ::testing::TestWithParam<TableCase> {};

TEST_P(ModuleTable, ForwardAndBackward_AreThoseOfTheProblem) {
  const auto& [module, config] = GetParam();
  SCOPED_TRACE("seed " + std::to_string(config.seed));
  const AttentionJudge judge(config);
  const Problem& by_hand = judge.problem();
  const Problem problem = lower(module, by_hand.q, by_hand.k, by_hand.v, options_of(by_hand));
  AttentionResults results(judge.config(), judge.operands());
  attention_forward(problem, results.outputs(), backend_of(module));
  attention_backward(problem, results.tensors(judge.operands()), backend_of(module));
  judge.expect_right(results);
}

std::string name_of(const ::testing::TestParamInfo<TableCase>& info) {
  return info.param.config.name;
}

INSTANTIATE_TEST_SUITE_P(All, ModuleTable, ::testing::ValuesIn(table_cases()), name_of);

TEST(ModuleTableList, EveryModuleButSage_IsThere) {
  std::set<Module> modules_seen;
  for (const TableCase& table_case : table_cases()) {
    modules_seen.insert(table_case.module);
  }
  EXPECT_EQ(modules_seen.size() + 1, modules().size());
  EXPECT_GE(table_cases().size(), 1000u);
}

}  // namespace
}  // namespace regard::testing
