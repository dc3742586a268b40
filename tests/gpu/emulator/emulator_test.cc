// The emulator notices what hardware would do silently.
#include "tests/gpu/emulator/emulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "tests/gpu/emulator/platform_host.h"

namespace regard::testing {
namespace {

using ::testing::HasSubstr;

std::string run(int num_threads, const std::function<void(unsigned short*)>& kernel,
                std::vector<MemoryRange> memory = {}) {
  return emulate({.num_threads = num_threads, .smem_bytes = 1024, .memory = std::move(memory)},
                 kernel);
}

TEST(Emulator, ElementWrittenByAnotherThread_NeedsABarrier) {
  for (const bool has_barrier : {false, true}) {
    std::array<unsigned, 32> got = {};
    const std::string fault = run(32, [&](unsigned short* shared) {
      const int lane = gpu::thread_in_block();
      for (int i = 0; i < 8; ++i) {
        gpu::store_shared(shared + lane * 8 + i, static_cast<unsigned short>(lane));
      }
      if (has_barrier) {
        gpu::block_barrier();
      }
      unsigned words[4];
      gpu::load_fragments(words, shared + (31 - lane) * 8);
      got[static_cast<size_t>(lane)] = words[0];
    });
    if (has_barrier) {
      EXPECT_EQ(fault, "");
      EXPECT_EQ(got[0], 31u | 31u << 16);
    } else {
      EXPECT_THAT(fault, HasSubstr("race"));
    }
  }
}

TEST(Emulator, OverwritingWhatOthersRead_NeedsABarrier) {
  const std::string fault = run(64, [](unsigned short* shared) {
    for (int i = 0; i < 8; ++i) {
      gpu::store_shared(shared + gpu::thread_in_block() * 8 + i, static_cast<unsigned short>(1));
    }
    gpu::block_barrier();
    unsigned words[4];
    gpu::load_fragments(words, shared + gpu::thread_in_block() % 32 * 8);
    gpu::store_shared(shared + gpu::thread_in_block() % 32 * 8, static_cast<unsigned short>(2));
  });
  EXPECT_THAT(fault, HasSubstr("race"));
}

TEST(Emulator, BarrierOfTwoWarps_OrdersTheirAccessesAlone) {
  for (const int distance : {32, 64}) {  // to the other warp of the pair, to the next pair
    const std::string fault = run(128, [&](unsigned short* shared) {
      const int thread = gpu::thread_in_block();
      gpu::store_shared(shared + thread, static_cast<unsigned short>(thread));
      gpu::warp_pair_barrier();
      gpu::load_shared(shared + (thread ^ distance));
      gpu::warp_pair_barrier();
      gpu::store_shared(shared + thread, static_cast<unsigned short>(0));
    });
    if (distance == 32) {
      EXPECT_EQ(fault, "");
    } else {
      EXPECT_THAT(fault, HasSubstr("race"));
    }
  }
}

TEST(Emulator, BarrierOfTwoWarps_DoesNotOrderTheNextOverwriting) {
  const std::string fault = run(64, [](unsigned short* shared) {
    const int thread = gpu::thread_in_block();
    gpu::store_shared(shared + thread, static_cast<unsigned short>(thread));
    gpu::warp_pair_barrier();
    gpu::load_shared(shared + (thread ^ 32));
    gpu::store_shared(shared + thread, static_cast<unsigned short>(0));
  });
  EXPECT_THAT(fault, HasSubstr("race"));
}

TEST(Emulator, AsyncCopy_ArrivesWhenAwaited) {
  alignas(16) const std::array<unsigned short, 256> source = {5};
  const std::vector<MemoryRange> memory = {{source.data(), sizeof(source), false}};
  for (const bool is_awaited : {false, true}) {
    unsigned first = 0;
    const std::string fault = run(
        32,
        [&](unsigned short* shared) {
          const int lane = gpu::thread_in_block();
          gpu::async_copy_piece(shared + lane * 8, source.data() + lane * 8, true);
          gpu::async_commit();
          if (is_awaited) {
            gpu::async_wait<0>();
          }
          gpu::block_barrier();
          unsigned words[4];
          gpu::load_fragments(words, shared + lane * 8);
          first = lane == 0 ? words[0] & 0xFFFFu : first;
        },
        memory);
    if (is_awaited) {
      EXPECT_EQ(fault, "");
      EXPECT_EQ(first, 5u);
    } else {
      EXPECT_THAT(fault, HasSubstr("asynchronous copies"));
      EXPECT_EQ(first, 0x7FFFu);
    }
  }
}

TEST(Emulator, AccessOutsideMemory_IsAFault) {
  alignas(16) std::array<unsigned short, 16> global = {};
  const std::vector<MemoryRange> read_only = {{global.data(), sizeof(global), false}};
  EXPECT_THAT(run(
                  32, [&](auto*) { gpu::load_global(global.data() + 16); }, read_only),
              HasSubstr("load outside"));
  EXPECT_THAT(run(
                  32, [&](auto*) { gpu::store_global(global.data(), global[0]); }, read_only),
              HasSubstr("store outside"));
  EXPECT_THAT(run(
                  32, [&](auto*) { gpu::load_global_piece(global.data() + 1); }, read_only),
              HasSubstr("misaligned"));
  EXPECT_THAT(run(32,
                  [](unsigned short* shared) {
                    gpu::store_shared(shared + 512, static_cast<unsigned short>(0));
                  }),
              HasSubstr("of shared memory"));
}

TEST(Emulator, LanesThatDoNotAgree_AreAFault) {
  EXPECT_THAT(run(32,
                  [](auto*) {
                    if (gpu::thread_in_block() % 2 == 0) {
                      gpu::shuffle_xor(1.0f, 1);
                    }
                  }),
              HasSubstr("deadlock"));
  EXPECT_THAT(run(32,
                  [](unsigned short* shared) {
                    unsigned words[4];
                    gpu::thread_in_block() == 0 ? (void)gpu::shuffle_xor(1.0f, 1)
                                                : gpu::load_fragments(words, shared);
                  }),
              HasSubstr("diverge"));
}

TEST(Emulator, MatrixProduct_MultipliesFragmentsAsLoaded) {
  // a[16 x 16] = i + 16 j and b[16 x 8] with a single one at (3, 5): column 5 of c is column 3 of
  // a.
  std::array<std::array<float, 8>, 16> c = {};
  const std::string fault = run(32, [&](unsigned short* shared) {
    const int lane = gpu::thread_in_block();
    for (int i = lane; i < 256; i += 32) {  // row-major [16, 16]
      gpu::store_shared(shared + i, core::f16_from_f32(static_cast<float>(i / 16 + i % 16 * 16)));
      const bool is_one = i / 16 == 5 && i % 16 == 3;  // b by columns: [8 (16), 16]
      gpu::store_shared(shared + 256 + i, core::f16_from_f32(is_one ? 1.0f : 0.0f));
    }
    gpu::block_barrier();
    unsigned a[4], b[4];
    gpu::load_fragments(a, shared + lane % 16 * 16 + lane / 16 * 8);
    gpu::load_fragments(b, shared + 256 + (lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8);
    float sums[4] = {};
    gpu::matrix_product<false, true>(sums, a, b[0], b[1]);
    for (int i = 0; i < 4; ++i) {
      c[static_cast<size_t>(lane / 4 + i / 2 * 8)][static_cast<size_t>(lane % 4 * 2 + i % 2)] =
          sums[i];
    }
  });
  EXPECT_EQ(fault, "");
  for (size_t row = 0; row < 16; ++row) {
    for (size_t col = 0; col < 8; ++col) {
      EXPECT_EQ(c[row][col], col == 5 ? static_cast<float>(row + 48) : 0.0f) << row << " " << col;
    }
  }
}

}  // namespace
}  // namespace regard::testing
