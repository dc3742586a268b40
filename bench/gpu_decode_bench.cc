// Times attn_decode_mma (with attn_combine) on the first GPU: a line for each shape and number of
// splits. Keys and values lie in as many copies as exceed the L2 cache several times and are read
// in turn, as a model's layers do. The device's own time, from events around work that was enqueued
// while the GPU was busy; and the wall time of a call, which the host's part may decide.
// Usage: gpu_decode_bench [few] [VARIANT...]   few: seven shapes only; variants to try beside the
// planner's choice: s16 (16 splits), k128w8r2f0 (128 keys a step, 8 warps, a
// ring of 2 tiles, no fetches beside the copies)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "bench/cuda_events.h"
#include "gpu/driver/cuda_driver.h"
#include "gpu/launch/attn_decode_mma.h"
#include "gpu/plan/print_config.h"
#include "regard/cuda.h"

namespace regard::gpu {
namespace {

struct Shape {
  int64_t batch, q_heads, kv_heads, keys, dim, page_size;
};

// 0: the planner's.
struct Variant {
  int splits = 0, block_k = 0, num_warps = 0, num_stages = 0, fetch_bytes = -1;
};

constexpr int kCalls = 40, kRounds = 5;
constexpr size_t kL2Bytes = size_t{256} << 20;

void* at(CudaPointer pointer) { return reinterpret_cast<void*>(static_cast<uintptr_t>(pointer)); }

class Bench {
 public:
  explicit Bench(const CudaDriver& driver) : driver_(driver) {
    CudaDevice device = 0;
    CudaContext context = nullptr;
    check(driver, driver.device_get(&device, 0), "device");
    check(driver, driver.primary_context_retain(&context, device), "context");
    check(driver, driver.context_set_current(context), "context");
    compute_capability_ = compute_capability_of(driver, device);
    num_multiprocessors_ = num_multiprocessors_of(driver, device);
    check(driver, driver.memory_allocate(&pool_, kPoolBytes), "memory");
    check(driver, driver.memory_allocate(&scratch_, kScratchBytes), "memory");
    fill_pool();
    for (void*& event : events_) {
      check(driver, events_of_driver_.create(&event, 0), "event");
    }
    // Memory from a pool of the caller's, as frameworks hand it out.
    set_cuda_allocator(
        {[](size_t, void*, void* user) { return user; }, [](void*, void*, void*) {}, at(scratch_)});
  }

  void run(const Shape& shape, const std::vector<Variant>& variants) {
    time(shape, {});
    for (const Variant& variant : variants) {
      time(shape, variant);
    }
  }

 private:
  static constexpr size_t kPoolBytes = size_t{6} << 30, kScratchBytes = size_t{256} << 20;

  // Small finite numbers of either 16-bit format: 0x2E66 is 0.1 in f16, 5e-11 in bf16.
  void fill_pool() {
    std::vector<uint16_t> values(size_t{32} << 20);
    uint32_t state = 1;
    for (uint16_t& value : values) {
      state = state * 1664525u + 1013904223u;
      value = static_cast<uint16_t>(0x3800u | (state >> 31) << 15 | (state >> 22 & 0x7Fu));
    }
    for (size_t offset = 0; offset < kPoolBytes; offset += 2 * values.size()) {
      check(driver_, driver_.copy_to_device(pool_ + offset, values.data(), 2 * values.size()),
            "copy");
    }
  }

  View view(CudaPointer data, int64_t batch, int64_t seq, int64_t heads, int64_t dim) const {
    return {at(data), DType::bf16, batch, seq, heads, dim, seq * heads * dim, heads * dim, dim};
  }

  AttnDecodePlan plan(const Shape& shape, int64_t copy, const Variant& variant) {
    const auto kv_elements =
        static_cast<size_t>(shape.batch * shape.keys * shape.kv_heads * shape.dim);
    const CudaPointer k = pool_ + static_cast<size_t>(copy) * 4 * kv_elements;
    Problem problem;
    problem.q = view(scratch_ + kScratchBytes / 2, shape.batch, 1, shape.q_heads, shape.dim);
    const bool is_paged = shape.page_size > 0;
    const int64_t pages = is_paged ? shape.batch * shape.keys / shape.page_size : shape.batch;
    const int64_t rows = is_paged ? shape.page_size : shape.keys;
    problem.k = view(k, pages, rows, shape.kv_heads, shape.dim);
    problem.v = view(k + 2 * kv_elements, pages, rows, shape.kv_heads, shape.dim);
    if (is_paged) {
      set_pages(shape, problem);
    }
    ForwardOutputs outputs;
    outputs.o = view(scratch_ + kScratchBytes / 4 * 3, shape.batch, 1, shape.q_heads, shape.dim);
    AttnDecodePlan plan =
        plan_attn_decode_mma(problem, outputs, compute_capability_, num_multiprocessors_);
    apply(shape, variant, plan);
    return plan;
  }

  void apply(const Shape& shape, const Variant& variant, AttnDecodePlan& plan) const {
    int splits = variant.splits;
    if (variant.block_k > 0) {
      plan.config.block_k = variant.block_k;
      plan.config.num_warps = variant.num_warps;
      plan.config.num_stages = variant.num_stages;
      plan.config.fetch_bytes =
          variant.fetch_bytes < 0 ? plan.config.fetch_bytes : variant.fetch_bytes;
      const int64_t resident = std::max(1, 228 * 1024 / (decode_smem_bytes(plan.config) + 1024));
      splits = num_splits_of(shape.batch * shape.kv_heads, shape.keys,
                             num_multiprocessors_ * resident, variant.block_k);
    }
    if (splits > 0) {
      plan.grid.x = plan.grid.x / plan.params.num_splits * splits;
      plan.params.num_splits = splits;
      plan.combine = combine_config(plan.config);
      plan.combine_grid = {splits > 1 ? plan.params.num_rows : 0, 1, 1};
    }
  }

  // Pages in a scattered order: 7 and the power of two that they are share no factor.
  void set_pages(const Shape& shape, Problem& problem) {
    const int64_t pages = shape.batch * shape.keys / shape.page_size;
    std::vector<int32_t> table(static_cast<size_t>(pages));
    for (int64_t i = 0; i < pages; ++i) {
      table[static_cast<size_t>(i)] = static_cast<int32_t>(i * 7 % pages);
    }
    const std::vector<int32_t> lengths(static_cast<size_t>(shape.batch),
                                       static_cast<int32_t>(shape.keys));
    const CudaPointer place = scratch_ + kScratchBytes / 8 * 7;
    if (paged_shape_ != shape.batch * 1000003 + shape.keys * 31 + shape.page_size) {
      paged_shape_ = shape.batch * 1000003 + shape.keys * 31 + shape.page_size;
      check(driver_, driver_.copy_to_device(place, table.data(), 4 * table.size()), "copy");
      check(driver_, driver_.copy_to_device(place + (8 << 20), lengths.data(), 4 * lengths.size()),
            "copy");
    }
    problem.pages = {.table = static_cast<const int32_t*>(at(place)),
                     .stride = shape.keys / shape.page_size,
                     .lengths = static_cast<const int32_t*>(at(place + (8 << 20)))};
  }

  void launch_all(const std::vector<AttnDecodePlan>& plans, int num_calls) {
    for (int call = 0; call < num_calls; ++call) {
      launch_attn_decode_mma(driver_, plans[static_cast<size_t>(call) % plans.size()],
                             compute_capability_, nullptr);
    }
  }

  void time(const Shape& shape, const Variant& variant) {
    const size_t bytes =
        static_cast<size_t>(4 * shape.batch * shape.keys * shape.kv_heads * shape.dim);
    const size_t copies = std::clamp<size_t>(kL2Bytes / bytes, 1, kCalls);
    if (copies * bytes > kPoolBytes) {
      return;
    }
    std::vector<AttnDecodePlan> plans;
    for (size_t copy = 0; copy < copies; ++copy) {
      plans.push_back(plan(shape, static_cast<int64_t>(copy), variant));
    }
    if (decode_smem_bytes(plans[0].config) > smem_limit_bytes(compute_capability_)) {
      return;
    }
    launch_all(plans, 5);
    std::vector<double> device, wall;
    for (int round = 0; round < kRounds; ++round) {
      check(driver_, driver_.stream_synchronize(nullptr), "attn_decode_mma");
      const auto begin = std::chrono::steady_clock::now();
      launch_all(plans, kCalls);
      check(driver_, driver_.stream_synchronize(nullptr), "attn_decode_mma");
      const std::chrono::duration<double, std::micro> passed =
          std::chrono::steady_clock::now() - begin;
      wall.push_back(passed.count() / kCalls);
      keep_busy();
      events_of_driver_.record(events_[0], nullptr);
      launch_all(plans, kCalls);
      events_of_driver_.record(events_[1], nullptr);
      events_of_driver_.synchronize(events_[1]);
      float milliseconds = 0.0f;
      events_of_driver_.elapsed(&milliseconds, events_[0], events_[1]);
      device.push_back(milliseconds * 1000.0 / kCalls);
    }
    print(shape, plans[0], bytes, median(device), median(wall));
  }

  static double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  }

  // Enough work that the host is ahead for what it enqueues next.
  void keep_busy() {
    static const std::vector<AttnDecodePlan> long_work = {
        plan({1, 8, 8, int64_t{1} << 18, 128, 0}, 0, {})};
    launch_all(long_work, 6);
  }

  static void print(const Shape& shape, const AttnDecodePlan& plan, size_t bytes, double device,
                    double wall) {
    std::printf(
        "B %2ld  Hq %2ld Hkv %2ld  Sk %6ld  D %3ld  page %4ld  splits %3d  %8.2f us  %6.0f GB/s  "
        "wall %8.2f us  %s\n",
        shape.batch, shape.q_heads, shape.kv_heads, shape.keys, shape.dim, shape.page_size,
        plan.params.num_splits, device, static_cast<double>(bytes) / device * 1e-3, wall,
        describe("", plan.config).c_str());
    std::fflush(stdout);
  }

  const CudaDriver& driver_;
  bench::Events events_of_driver_;
  void* events_[2] = {};
  CudaPointer pool_ = 0, scratch_ = 0;
  int compute_capability_ = 0, num_multiprocessors_ = 0;
  int64_t paged_shape_ = 0;
};

std::vector<Shape> few_shapes() {
  return {{1, 32, 8, 1024, 128, 0},   {1, 32, 8, 16384, 128, 0},  {1, 32, 32, 65536, 128, 0},
          {16, 32, 8, 16384, 128, 0}, {16, 32, 8, 4096, 128, 16}, {1, 32, 8, 65536, 64, 0},
          {1, 16, 4, 16384, 256, 0}};
}

std::vector<Shape> shapes() {
  std::vector<Shape> shapes;
  for (const int64_t kv_heads : {32, 8}) {
    for (const int64_t batch : {1, 16}) {
      for (const int64_t keys : {1024, 4096, 16384, 65536}) {
        if (batch * keys * kv_heads <= 16 * 16384 * 32) {
          shapes.push_back({batch, 32, kv_heads, keys, 128, 0});
        }
      }
    }
  }
  for (const int64_t keys : {1024, 4096, 16384, 65536}) {
    shapes.push_back({1, 32, 8, keys, 64, 0});
  }
  shapes.push_back({1, 16, 4, 16384, 256, 0});
  shapes.push_back({16, 16, 4, 16384, 256, 0});
  for (const int64_t page_size : {16, 256}) {
    shapes.push_back({1, 32, 8, 16384, 128, page_size});
    shapes.push_back({16, 32, 8, 4096, 128, page_size});
  }
  return shapes;
}

}  // namespace
}  // namespace regard::gpu

int main(int argc, char** argv) {
  std::string reason;
  const regard::gpu::CudaDriver* driver = regard::gpu::cuda_driver(reason);
  if (driver == nullptr) {
    std::fprintf(stderr, "gpu_decode_bench: %s\n", reason.c_str());
    return 1;
  }
  const bool takes_few = argc > 1 && std::string(argv[1]) == "few";
  std::vector<regard::gpu::Variant> variants;
  for (int i = takes_few ? 2 : 1; i < argc; ++i) {
    regard::gpu::Variant variant;
    if (std::sscanf(argv[i], "s%d", &variant.splits) != 1 &&
        std::sscanf(argv[i], "k%dw%dr%df%d", &variant.block_k, &variant.num_warps,
                    &variant.num_stages, &variant.fetch_bytes) < 3) {
      std::fprintf(stderr, "gpu_decode_bench: %s: no variant\n", argv[i]);
      return 1;
    }
    variants.push_back(variant);
  }
  regard::gpu::Bench bench(*driver);
  const auto shapes = takes_few ? regard::gpu::few_shapes() : regard::gpu::shapes();
  for (const regard::gpu::Shape& shape : shapes) {
    bench.run(shape, variants);
  }
  return 0;
}
