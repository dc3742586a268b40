// Turns: additions to one buffer happen in a fixed order, whichever thread makes them.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace regard::cpu {

// Whose turn it is. Starts at the first key block that adds.
class Turn {
 public:
  void start_at(int64_t first) { next_.store(first, std::memory_order_relaxed); }

  // Returns when it is the turn of `block`: every predecessor has called pass_to().
  void wait_for(int64_t block) const {
    // The predecessor is at most one tile (~0.1 ms) ahead; after a few thousand looks its thread is
    // likely off the core, so give ours away.
    constexpr int kLooks = 2000;
    for (int look = 0; next_.load(std::memory_order_acquire) != block; ++look) {
      if (look > kLooks) {
        std::this_thread::yield();
      }
    }
  }

  // The turn of `next`, the first block after the caller's that adds to the buffer.
  void pass_to(int64_t next) { next_.store(next, std::memory_order_release); }

 private:
  std::atomic<int64_t> next_{0};
};

}  // namespace regard::cpu
