// One thread block at a time of a GPU, on the CPU: every thread is a fiber, collectives of a warp
// and barriers are points where fibers wait for each other. What hardware would do silently is a
// fault here: an access outside the launch's memory, a misaligned one, a shared element that two
// threads touch without a barrier between them, and a collective that not all lanes reach.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace regard::testing {

// Global memory that the launch may touch.
struct MemoryRange {
  const void* begin = nullptr;
  size_t num_bytes = 0;
  bool is_writable = false;
};

struct Launch {
  int grid_x = 1, grid_y = 1, grid_z = 1;
  int num_threads = 32;
  int smem_bytes = 0;
  std::vector<MemoryRange> memory = {};
};

// Runs `kernel(shared memory)` as every thread of the grid; the first fault in a sentence, empty
// when there was none. Threads of the host do not share it.
std::string emulate(const Launch& launch, const std::function<void(unsigned short*)>& kernel);

// What the primitives of platform_host.h ask of the running block.
namespace emulated {

struct Position {
  int thread, block_x, block_y, block_z, num_blocks_x;
};
const Position& position();

void barrier();
// Of the 64 threads of two neighbouring warps.
void pair_barrier();

// Waits until all 32 lanes of the warp have called this with the same `name`; the last one runs
// `combine` over the slots of all lanes, in lane order.
void collect(const char* name, void* slot, void (*combine)(void* const* slots));

// Whether the access is allowed; a fault is recorded where it is not.
bool may_load_global(const void* address, size_t num_bytes);
bool may_store_global(const void* address, size_t num_bytes);
bool may_load_shared(const void* address, size_t num_bytes);
bool may_store_shared(const void* address, size_t num_bytes);

// `from` null: zeros. The bytes arrive when the thread waits for them, not before.
void async_copy(void* to, const void* from, size_t num_bytes);
void async_commit();
void async_wait(int num_pending);

}  // namespace emulated
}  // namespace regard::testing
