#include "program/schedule.h"

#include <algorithm>

namespace regard::program {
namespace {

constexpr int32_t kNever = -1;

// The last step (by place) that reads each node; roots are read after all steps.
std::vector<int32_t> last_uses(const Graph& graph, const Schedule& schedule) {
  std::vector<int32_t> last(static_cast<size_t>(graph.size()), kNever);
  for (size_t at = 0; at < schedule.steps.size(); ++at) {
    const Node& node = graph.node(schedule.steps[at].node);
    for (int i = 0; i < node.num_operands; ++i) {
      last[static_cast<size_t>(node.operands[static_cast<size_t>(i)])] = static_cast<int32_t>(at);
    }
  }
  for (const int32_t root : schedule.roots) {
    last[static_cast<size_t>(root)] = static_cast<int32_t>(schedule.steps.size());
  }
  return last;
}

// Pair values take the lowest slot that no living value holds. The result may take the slot of an
// operand that dies here: elements are read before they are written.
void assign_pair_slots(const Graph& graph, Schedule& schedule) {
  const std::vector<int32_t> last = last_uses(graph, schedule);
  std::vector<int32_t> free_at;  // per slot: the step at which it becomes free
  for (size_t at = 0; at < schedule.steps.size(); ++at) {
    Step& step = schedule.steps[at];
    if (step.extent != Extent::pair) {
      continue;
    }
    const auto now = static_cast<int32_t>(at);
    auto slot =
        std::find_if(free_at.begin(), free_at.end(), [now](int32_t free) { return free <= now; });
    if (slot == free_at.end()) {
      slot = free_at.insert(free_at.end(), 0);
    }
    *slot = std::max(now + 1, last[static_cast<size_t>(step.node)]);
    step.slot = static_cast<int32_t>(slot - free_at.begin());
  }
  schedule.num_pair_slots = static_cast<int32_t>(free_at.size());
}

}  // namespace

Extent extent_of(const Node& node) {
  if ((node.depends & kOnScore) != 0) {
    return Extent::pair;
  }
  if ((node.depends & kOnKey) == 0) {
    return Extent::row;
  }
  return (node.depends & (kOnQuery | kOnHead)) == 0 ? Extent::key : Extent::pair;
}

Schedule make_schedule(const Graph& graph, std::span<const int32_t> roots) {
  Schedule schedule;
  for (const int32_t root : roots) {
    if (root >= 0) {
      schedule.roots.push_back(root);
    }
  }
  schedule.place.assign(static_cast<size_t>(graph.size()), kNever);
  const std::vector<int32_t> needed = graph.reachable(schedule.roots);
  for (const Extent extent : {Extent::row, Extent::key, Extent::pair}) {
    for (const int32_t node : needed) {
      if (extent_of(graph.node(node)) != extent) {
        continue;
      }
      int32_t slot = -1;
      if (extent == Extent::row) {
        slot = schedule.num_row_slots++;
      } else if (extent == Extent::key) {
        slot = schedule.num_key_slots++;
      }
      schedule.place[static_cast<size_t>(node)] = static_cast<int32_t>(schedule.steps.size());
      schedule.steps.push_back({node, extent, slot});
    }
  }
  assign_pair_slots(graph, schedule);
  return schedule;
}

}  // namespace regard::program
