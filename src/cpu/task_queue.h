// Tasks taken by threads one after the other from an atomic counter: whoever is free takes the
// next, so that sorting them longest first balances causal blocks and documents of unequal length.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace regard::cpu {

// The order that a parallel region already gives, said in atomics: thread sanitizer does not see
// libgomp's barriers. Not inlined, so that it is checked although run_tasks is not.
class RegionOrder {
 public:
  [[gnu::noinline]] void open() { opened_.store(true, std::memory_order_release); }
  [[gnu::noinline]] void enter() const { (void)opened_.load(std::memory_order_acquire); }
  [[gnu::noinline]] void leave() { left_.fetch_add(1, std::memory_order_acq_rel); }
  [[gnu::noinline]] void close() const { (void)left_.load(std::memory_order_acquire); }

 private:
  std::atomic<bool> opened_{false};
  std::atomic<int> left_{0};
};

// Calls task(index, thread) once for every index in [0, num_tasks), starting them in this order, on
// at most `num_threads` threads; `thread` is below `num_threads`. `task` must not throw.
template <class Task>
__attribute__((no_sanitize("thread"))) void run_tasks(int64_t num_tasks, int num_threads,
                                                      const Task& task) {
  const int team = static_cast<int>(std::min<int64_t>(num_threads, num_tasks));
  if (team <= 1) {
    for (int64_t index = 0; index < num_tasks; ++index) {
      task(index, 0);
    }
    return;
  }
  std::atomic<int64_t> next{0};
  RegionOrder order;
  order.open();
#pragma omp parallel num_threads(team)
  {
    order.enter();
    const int thread = omp_get_thread_num();
    for (;;) {
      const int64_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= num_tasks) {
        break;
      }
      task(index, thread);
    }
    order.leave();
  }
  order.close();
}

}  // namespace regard::cpu
