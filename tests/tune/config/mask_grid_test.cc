// The grid behind rule 21.
#include "tune/config/mask_grid.h"

#include <gtest/gtest.h>

namespace tune {
namespace {

bool sees_later(const std::string& text, int64_t length) {
  const regard::Program mask = regard::mask_program(
      text, {{"slopes", regard::ElementType::unknown}, {"bucket", regard::ElementType::integer}});
  return mask_sees_later_keys(mask, length);
}

TEST(MaskGrid, CausalAndWindowedMasks_SeeNoLaterKey) {
  for (const int64_t length : {2, 3, 64, 100000}) {
    EXPECT_FALSE(sees_later("q >= kv", length));
    EXPECT_FALSE(sees_later("q >= kv && q - kv < 128", length));
    EXPECT_FALSE(sees_later("kv <= q && slopes[h] > 0", length));
    EXPECT_FALSE(sees_later("doc[q] == doc[kv] && q >= kv", length));
  }
}

TEST(MaskGrid, LaterKeys_AreFoundNearAndFar) {
  EXPECT_TRUE(sees_later("1", 2));
  EXPECT_TRUE(sees_later("kv <= q + 1", 64));
  EXPECT_TRUE(sees_later("q >= kv || kv - q > 4000", 8192));
  EXPECT_TRUE(sees_later("q >= kv || kv < 4", 8192));
  EXPECT_TRUE(sees_later("q >= kv || h == 7", 64));
  EXPECT_TRUE(sees_later("q >= kv || slopes[b] > kv", 64));
  EXPECT_TRUE(sees_later("q >= kv || bucket[bucket[q]] == 1", 64));
  EXPECT_TRUE(sees_later("q >= kv || log(q - kv) != 0", 64));  // NaN is not 0
  EXPECT_FALSE(sees_later("kv <= q + 1", 1));
}

}  // namespace
}  // namespace tune
