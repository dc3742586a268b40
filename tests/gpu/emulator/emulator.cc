#include "tests/gpu/emulator/emulator.h"

#include <ucontext.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <new>

namespace regard::testing {
namespace {

constexpr size_t kStackBytes = 256 * 1024;
constexpr int kLanes = 32;
constexpr int kPairThreads = 2 * kLanes;
constexpr size_t kUnit = 2;  // bytes whose accesses are followed together: one 16-bit element
constexpr unsigned short kPoison = 0x7FFF;  // a NaN in both 16-bit formats
constexpr int kSeveral = -2;

struct Copy {
  void* to;
  const void* from;
  size_t num_bytes;
};

struct Fiber {
  ucontext_t context = {};
  std::unique_ptr<char[]> stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
  bool is_done = false;
  std::deque<std::vector<Copy>> groups = {};
  std::vector<Copy> open_group = {};
};

struct Warp {
  const char* name = nullptr;
  int num_arrived = 0;
  bool is_divergent = false;
  int64_t generation = 0;
  std::array<void*, kLanes> slots = {};
};

// Two neighbouring warps.
struct WarpPair {
  int num_arrived = 0;
  int64_t epoch = 0;
};

// An access: by which thread (kSeveral: by more than one), which pair of warps, between which
// barriers of the block and of the pair.
struct Access {
  int thread = -1, pair = -1;
  int64_t epoch = -1, pair_epoch = -1;
};

// Who touched an element last.
struct Touch {
  Access write, read;
};

class Block {
 public:
  Block(const Launch& launch, const std::function<void(unsigned short*)>& kernel)
      : launch_(launch),
        kernel_(kernel),
        fibers_(static_cast<size_t>(launch.num_threads)),
        warps_(static_cast<size_t>(launch.num_threads / kLanes)),
        pairs_(static_cast<size_t>((launch.num_threads + kPairThreads - 1) / kPairThreads)),
        touches_(static_cast<size_t>(launch.smem_bytes) / kUnit) {
    shared_ = static_cast<unsigned short*>(
        ::operator new (static_cast<size_t>(launch.smem_bytes) + 16, std::align_val_t{128}));
  }
  ~Block() { ::operator delete (shared_, std::align_val_t{128}); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void run(int x, int y, int z);
  const std::string& fault() const { return fault_; }
  void report(const std::string& what);
  const emulated::Position& position() const { return position_; }

  void barrier();
  void pair_barrier();
  void collect(const char* name, void* slot, void (*combine)(void* const*));
  bool check_global(const void* address, size_t num_bytes, bool is_store);
  bool check_shared(const void* address, size_t num_bytes, bool is_store);
  void start_copy(const Copy& copy);
  void commit();
  void wait(int num_pending);

 private:
  static void fiber_main();
  Fiber& fiber() { return fibers_[static_cast<size_t>(position_.thread)]; }
  void yield() { swapcontext(&fiber().context, &scheduler_); }
  void touch(Touch& element, bool is_store);
  Access own_access() const;
  bool is_unordered(const Access& before) const;

  const Launch& launch_;
  const std::function<void(unsigned short*)>& kernel_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  std::vector<WarpPair> pairs_;
  std::vector<Touch> touches_;
  unsigned short* shared_ = nullptr;
  ucontext_t scheduler_ = {};
  emulated::Position position_ = {};
  int num_at_barrier_ = 0;
  int64_t epoch_ = 0;
  int64_t num_steps_ = 0;  // arrivals and ends: what the scheduler calls progress
  std::string fault_;
};

thread_local Block* running = nullptr;

void Block::report(const std::string& what) {
  if (fault_.empty()) {
    fault_ = what + " (block " + std::to_string(position_.block_x) + ", " +
             std::to_string(position_.block_y) + ", " + std::to_string(position_.block_z) +
             ", thread " + std::to_string(position_.thread) + ")";
  }
}

void Block::fiber_main() {
  running->kernel_(running->shared_);
  running->fiber().is_done = true;
  ++running->num_steps_;
  running->yield();
}

void Block::run(int x, int y, int z) {
  position_ = {0, x, y, z, launch_.grid_x};
  epoch_ = num_at_barrier_ = 0;
  touches_.assign(touches_.size(), Touch{});
  for (size_t i = 0; i < touches_.size(); ++i) {
    shared_[i] = kPoison;
  }
  for (Warp& warp : warps_) {
    warp = Warp{};
  }
  for (WarpPair& pair : pairs_) {
    pair = WarpPair{};
  }
  for (Fiber& fiber : fibers_) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    fiber.is_done = false;
    makecontext(&fiber.context, &Block::fiber_main, 0);
  }
  for (bool is_running = true; is_running;) {
    is_running = false;
    const int64_t steps_before = num_steps_;
    for (size_t i = 0; i < fibers_.size(); ++i) {
      if (!fibers_[i].is_done) {
        is_running = true;
        position_.thread = static_cast<int>(i);
        swapcontext(&scheduler_, &fibers_[i].context);
      }
    }
    if (is_running && num_steps_ == steps_before) {
      report("deadlock: some threads wait for others that never come");
      return;
    }
  }
  for (Fiber& fiber : fibers_) {
    if (!fiber.groups.empty() && !fiber.groups.back().empty()) {
      report("a thread ended before its asynchronous copies arrived");
    }
    fiber.groups.clear();
    fiber.open_group.clear();
  }
}

void Block::barrier() {
  const int64_t epoch = epoch_;
  ++num_steps_;
  if (++num_at_barrier_ == launch_.num_threads) {
    num_at_barrier_ = 0;
    ++epoch_;
    return;
  }
  while (epoch_ == epoch) {
    yield();
  }
}

void Block::pair_barrier() {
  WarpPair& pair = pairs_[static_cast<size_t>(position_.thread / kPairThreads)];
  const int64_t epoch = pair.epoch;
  ++num_steps_;
  if (++pair.num_arrived == kPairThreads) {
    pair.num_arrived = 0;
    ++pair.epoch;
    return;
  }
  while (pair.epoch == epoch) {
    yield();
  }
}

void Block::collect(const char* name, void* slot, void (*combine)(void* const*)) {
  Warp& warp = warps_[static_cast<size_t>(position_.thread / kLanes)];
  if (warp.num_arrived > 0 && std::strcmp(warp.name, name) != 0) {
    report(std::string("lanes of a warp diverge: ") + name + " meets " + warp.name);
    warp.is_divergent = true;
  }
  warp.name = name;
  warp.slots[static_cast<size_t>(position_.thread % kLanes)] = slot;
  ++num_steps_;
  if (++warp.num_arrived == kLanes) {
    if (!warp.is_divergent) {  // else the slots are of different kinds
      combine(warp.slots.data());
    }
    warp.num_arrived = 0;
    ++warp.generation;
    return;
  }
  const int64_t generation = warp.generation;
  while (warp.generation == generation) {
    yield();
  }
}

bool Block::check_global(const void* address, size_t num_bytes, bool is_store) {
  const auto begin = reinterpret_cast<uintptr_t>(address);
  if (begin % num_bytes != 0) {
    report("misaligned access of " + std::to_string(num_bytes) + " bytes to global memory");
    return false;
  }
  for (const MemoryRange& range : launch_.memory) {
    const auto range_begin = reinterpret_cast<uintptr_t>(range.begin);
    if (begin >= range_begin && begin + num_bytes <= range_begin + range.num_bytes &&
        (range.is_writable || !is_store)) {
      return true;
    }
  }
  report(std::string(is_store ? "store" : "load") + " outside the launch's global memory");
  return false;
}

Access Block::own_access() const {
  const int pair = position_.thread / kPairThreads;
  return {position_.thread, pair, epoch_, pairs_[static_cast<size_t>(pair)].epoch};
}

// Whether neither a barrier of the block nor one of this thread's pair lies in between.
bool Block::is_unordered(const Access& before) const {
  const Access self = own_access();
  return before.epoch == self.epoch && before.thread != self.thread &&
         !(before.pair == self.pair && before.pair_epoch < self.pair_epoch);
}

// Two threads, one of them writing, and no barrier between: a race.
void Block::touch(Touch& element, bool is_store) {
  if (is_unordered(element.write)) {
    report("race in shared memory: another thread wrote the element since the last barrier");
  }
  if (is_store && is_unordered(element.read)) {
    report("race in shared memory: another thread read the element since the last barrier");
  }
  const Access self = own_access();
  if (is_store) {
    element.write = self;
    return;
  }
  const Access before = element.read;
  element.read = self;
  if (before.epoch == self.epoch && before.thread != self.thread) {
    element.read.thread = kSeveral;
    element.read.pair = before.pair == self.pair ? self.pair : kSeveral;
  }
}

bool Block::check_shared(const void* address, size_t num_bytes, bool is_store) {
  const auto offset = reinterpret_cast<uintptr_t>(address) - reinterpret_cast<uintptr_t>(shared_);
  if (offset + num_bytes > static_cast<size_t>(launch_.smem_bytes) || offset % num_bytes != 0) {
    report("access of " + std::to_string(num_bytes) + " bytes at byte " + std::to_string(offset) +
           " of " + std::to_string(launch_.smem_bytes) + " of shared memory");
    return false;
  }
  for (size_t unit = offset / kUnit; unit < (offset + num_bytes) / kUnit; ++unit) {
    touch(touches_[unit], is_store);
  }
  return true;
}

void Block::start_copy(const Copy& copy) {
  const bool may_load = copy.from == nullptr || check_global(copy.from, copy.num_bytes, false);
  if (check_shared(copy.to, copy.num_bytes, true) && may_load) {
    for (size_t unit = 0; unit < copy.num_bytes / kUnit; ++unit) {
      static_cast<unsigned short*>(copy.to)[unit] = kPoison;
    }
    fiber().open_group.push_back(copy);
  }
}

void Block::commit() {
  fiber().groups.push_back(std::move(fiber().open_group));
  fiber().open_group.clear();
}

void Block::wait(int num_pending) {
  while (static_cast<int>(fiber().groups.size()) > num_pending) {
    for (const Copy& copy : fiber().groups.front()) {
      check_shared(copy.to, copy.num_bytes, true);
      if (copy.from != nullptr) {
        std::memcpy(copy.to, copy.from, copy.num_bytes);
      } else {
        std::memset(copy.to, 0, copy.num_bytes);
      }
    }
    fiber().groups.pop_front();
  }
}

}  // namespace

namespace emulated {

const Position& position() { return running->position(); }
void barrier() { running->barrier(); }
void pair_barrier() { running->pair_barrier(); }
void collect(const char* name, void* slot, void (*combine)(void* const*)) {
  running->collect(name, slot, combine);
}
bool may_load_global(const void* address, size_t num_bytes) {
  return running->check_global(address, num_bytes, false);
}
bool may_store_global(const void* address, size_t num_bytes) {
  return running->check_global(address, num_bytes, true);
}
bool may_load_shared(const void* address, size_t num_bytes) {
  return running->check_shared(address, num_bytes, false);
}
bool may_store_shared(const void* address, size_t num_bytes) {
  return running->check_shared(address, num_bytes, true);
}
void async_copy(void* to, const void* from, size_t num_bytes) {
  running->start_copy({to, from, num_bytes});
}
void async_commit() { running->commit(); }
void async_wait(int num_pending) { running->wait(num_pending); }

}  // namespace emulated

std::string emulate(const Launch& launch, const std::function<void(unsigned short*)>& kernel) {
  Block block(launch, kernel);
  running = &block;
  for (int z = 0; z < launch.grid_z && block.fault().empty(); ++z) {
    for (int y = 0; y < launch.grid_y && block.fault().empty(); ++y) {
      for (int x = 0; x < launch.grid_x && block.fault().empty(); ++x) {
        block.run(x, y, z);
      }
    }
  }
  running = nullptr;
  return block.fault();
}

}  // namespace regard::testing
