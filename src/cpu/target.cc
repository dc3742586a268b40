#include "cpu/target.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <mutex>

#include "cpu/cpu_attention.h"
#include "cpu/highway_targets.h"
#include "regard/error.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/target.cc"
#include "hwy/foreach_target.h"  // must come before highway.h

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace regard::cpu::HWY_NAMESPACE {

// The name comes out of the dispatch itself, so it cannot differ from what the kernels run on.
const char* target_name() { return hwy::TargetName(HWY_TARGET); }

}  // namespace regard::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace regard::cpu {

HWY_EXPORT(target_name);

namespace {

// What the CPU can run, asked before any target is forced.
const std::vector<int64_t>& runnable_targets() {
  static const std::vector<int64_t> targets = [] {
    hwy::SetSupportedTargetsForTest(0);
    return hwy::SupportedAndGeneratedTargets();  // lowest bit first: best first
  }();
  return targets;
}

std::string upper_case(std::string_view name) {
  std::string upper(name);
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return upper;
}

// Highway keeps the choice in one global; `supported` 0 restores what the CPU has.
void choose(int64_t supported) {
  hwy::SetSupportedTargetsForTest(supported);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace

std::vector<std::string> available_targets() {
  std::vector<std::string> names;
  for (const int64_t target : runnable_targets()) {
    names.emplace_back(hwy::TargetName(target));
  }
  return names;
}

std::string_view active_target() { return HWY_DYNAMIC_DISPATCH(target_name)(); }

void force_target(std::string_view name) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  const std::vector<int64_t>& targets = runnable_targets();
  if (name.empty()) {
    choose(0);
    return;
  }
  const std::string wanted = upper_case(name);
  std::string list;
  for (const int64_t target : targets) {
    if (wanted == hwy::TargetName(target)) {
      choose(target);
      return;
    }
    list += (list.empty() ? "" : ", ") + std::string(hwy::TargetName(target));
  }
  throw Error(ErrorCode::invalid_argument, "SIMD target '" + std::string(name) +
                                               "': this CPU and build have " + list +
                                               "; unset REGARD_FORCE_TARGET for the best one");
}

}  // namespace regard::cpu
#endif
