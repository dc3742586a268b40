#include "tests/program/gallery.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace regard::test {
namespace {

bool is_causal(int64_t, int64_t, int64_t q, int64_t kv) { return q >= kv; }

Example causal() {
  Example example("causal");
  example.mask = mask_program([](Value, Value, Value q, Value kv) { return q >= kv; });
  example.meaning.sees = is_causal;
  return example;
}

Example window() {
  Example example("window");
  example.shape.q_len = 61;
  example.mask = mask_program("q >= kv && q - kv < 17");
  example.meaning.sees = [](int64_t, int64_t, int64_t q, int64_t kv) {
    return kv <= q && kv > q - 17;
  };
  return example;
}

Example alibi() {
  Example example("alibi");
  Captured& captured = *example.captured;
  captured.reals = {{0.5f, 0.25f, 0.125f, 0.0625f}};
  captured.score = {{captured.reals[0].data(), false, 1, {4}, {1}}};
  example.score = score_program("score + slopes[h] * (kv - q)", {{"slopes"}});
  example.mask = mask_program("q >= kv");
  example.meaning.sees = is_causal;
  example.meaning.bias = [slopes = captured.reals[0]](int64_t, int64_t h, int64_t q, int64_t kv) {
    return -static_cast<double>(slopes[static_cast<size_t>(h)]) * static_cast<double>(q - kv);
  };
  example.element = [](int64_t h, int64_t q, int64_t kv) {
    return std::pair{h, static_cast<double>(kv - q)};
  };
  return example;
}

Example softcap() {
  Example example("softcap");
  example.score = score_program(
      [](Value score, Value, Value, Value, Value) { return 2.0 * tanh(score / 2.0); });
  example.meaning.softcap = 2.0f;
  return example;
}

Example document() {
  Example example("document");
  Captured& captured = *example.captured;
  captured.integers.emplace_back();
  for (int32_t token = 0; token < 70; ++token) {
    captured.integers[0].push_back(token < 11 ? 0 : token < 40 ? 5 : 2);
  }
  captured.mask = {{captured.integers[0].data(), true, 1, {70}, {1}}};
  example.mask = mask_program("q >= kv && doc[q] == doc[kv]", {{"doc", ElementType::integer, 1}});
  example.meaning.sees = [](int64_t, int64_t, int64_t q, int64_t kv) {
    const auto part = [](int64_t token) { return token < 11 ? 0 : token < 40 ? 1 : 2; };
    return q >= kv && part(q) == part(kv);
  };
  return example;
}

// Packed rows: positions count inside documents, so the program knows nothing of packing.
Example packed_window() {
  Example example("packed_window");
  example.shape.batch = 1;
  example.shape.offsets = {0, 1, 1, 30, 70};
  example.mask = mask_program("q >= kv && q - kv < 9 && doc[q] == doc[kv] || kv < 2 && q >= kv");
  example.meaning.sees = [offsets = example.shape.offsets](int64_t, int64_t, int64_t q,
                                                           int64_t kv) {
    size_t i = 0;
    while (offsets[i + 1] <= q) ++i;
    return kv >= offsets[i] && kv < offsets[i + 1] && kv <= q &&
           (q - kv < 9 || kv - offsets[i] < 2);
  };
  return example;
}

// Several blocks of rows and keys that documents share, and a window of its own for each head.
Example long_packed_window() {
  Example example("long_packed_window");
  example.shape.batch = 1;
  example.shape.q_len = example.shape.k_len = 330;
  example.shape.offsets = {0, 100, 101, 330};
  example.mask = mask_program("q >= kv && q - kv < 60 + 20 * h");
  example.meaning.sees = [offsets = example.shape.offsets](int64_t, int64_t h, int64_t q,
                                                           int64_t kv) {
    size_t i = 0;
    while (offsets[i + 1] <= q) ++i;
    return kv >= offsets[i] && kv <= q && q - kv < 60 + 20 * h;
  };
  return example;
}

Example prefix_lm() {
  Example example("prefix_lm");
  Captured& captured = *example.captured;
  captured.integers = {{13, 40}};
  captured.mask = {{captured.integers[0].data(), true, 1, {2}, {1}}};
  const SymbolicTensor prefix("prefix", ElementType::integer);
  example.mask =
      mask_program([&](Value b, Value, Value q, Value kv) { return kv <= q || kv < prefix(b); });
  example.meaning.sees = [](int64_t b, int64_t, int64_t q, int64_t kv) {
    return kv <= q || kv < (b == 0 ? 13 : 40);
  };
  return example;
}

Example dilated() {
  Example example("dilated");
  example.mask = mask_program("q >= kv && (q - kv) % 3 == 0 && q - kv < 30");
  example.meaning.sees = [](int64_t, int64_t, int64_t q, int64_t kv) {
    for (int64_t step = 0; step < 10; ++step) {
      if (kv == q - 3 * step) return true;
    }
    return false;
  };
  return example;
}

// NATTEN: every query sees exactly 7 neighbours; near the ends the neighbourhood moves inside.
Example neighbourhood_1d() {
  Example example("neighbourhood_1d");
  example.mask = mask_program([](Value, Value, Value q, Value kv) {
    const Value first = clamp(q - 3, 0, kv_len() - 7);
    return kv >= first && kv < first + 7;
  });
  example.meaning.sees = [](int64_t, int64_t, int64_t q, int64_t kv) {
    const int64_t centre = q < 3 ? 3 : q > 66 ? 66 : q;
    return std::abs(kv - centre) <= 3;
  };
  return example;
}

// The same over an image of 7 x 10, 5 x 3 neighbours.
Example neighbourhood_2d() {
  Example example("neighbourhood_2d");
  example.mask = mask_program([](Value, Value, Value q, Value kv) {
    const Value row = clamp(q / 10, 2, 4), column = clamp(q % 10, 1, 8);
    return abs(kv / 10 - row) <= 2 && abs(kv % 10 - column) <= 1;
  });
  example.meaning.sees = [](int64_t, int64_t, int64_t q, int64_t kv) {
    const int64_t y = q / 10, x = q - y * 10;
    const int64_t y_lo = y < 2 ? 0 : y > 4 ? 2 : y - 2, x_lo = x < 1 ? 0 : x > 8 ? 7 : x - 1;
    const int64_t key_y = kv / 10, key_x = kv - key_y * 10;
    return key_y >= y_lo && key_y < y_lo + 5 && key_x >= x_lo && key_x < x_lo + 3;
  };
  return example;
}

// Rows of different lengths, padded: what lies past a row's end sees and is seen by nothing.
Example jagged() {
  Example example("jagged");
  Captured& captured = *example.captured;
  captured.integers = {{70, 23}};
  captured.mask = {{captured.integers[0].data(), true, 1, {2}, {1}}};
  example.mask =
      mask_program("q < lengths[b] && kv < lengths[b]", {{"lengths", ElementType::integer, 1}});
  example.meaning.sees = [](int64_t b, int64_t, int64_t q, int64_t kv) {
    return b == 0 || (q < 23 && kv < 23);
  };
  return example;
}

// A learned table of relative positions, clipped at 20 on either side.
Example relative_bias() {
  Example example("relative_bias");
  Captured& captured = *example.captured;
  captured.reals.emplace_back(4 * 41);
  std::mt19937 random(3);
  for (float& value : captured.reals[0]) {
    value = std::normal_distribution<float>()(random);
  }
  captured.score = {{captured.reals[0].data(), false, 2, {4, 41}, {41, 1}}};
  example.score = score_program("score + table[h, clamp(q - kv, -20, 20) + 20]", {{"table"}});
  const auto index = [](int64_t h, int64_t q, int64_t kv) {
    const int64_t distance = q - kv > 20 ? 20 : q - kv < -20 ? -20 : q - kv;
    return h * 41 + distance + 20;
  };
  example.meaning.bias = [index, table = captured.reals[0]](int64_t, int64_t h, int64_t q,
                                                            int64_t kv) {
    return static_cast<double>(table[static_cast<size_t>(index(h, q, kv))]);
  };
  example.element = [index](int64_t h, int64_t q, int64_t kv) {
    return std::pair{index(h, q, kv), 1.0};
  };
  return example;
}

// T5: exact distances up to 7, then buckets that grow as the logarithm.
Example bucketed_bias() {
  Example example("bucketed_bias");
  Captured& captured = *example.captured;
  captured.reals.emplace_back(4 * 16);
  std::mt19937 random(4);
  for (float& value : captured.reals[0]) {
    value = std::normal_distribution<float>()(random);
  }
  captured.score = {{captured.reals[0].data(), false, 2, {4, 16}, {16, 1}}};
  const SymbolicTensor table("table");
  example.score = score_program([&](Value score, Value, Value h, Value q, Value kv) {
    const Value distance = max(q - kv, 0);
    const Value far = floor(8.001 + log(max(distance, 8) / 8.0) * (8.0 / std::log(16.0)));
    return score + table(h, where(distance < 8, distance, min(far, 15)));
  });
  example.mask = mask_program("q >= kv");
  example.meaning.sees = is_causal;
  const auto index = [](int64_t h, int64_t q, int64_t kv) {
    const int64_t n = q - kv;
    const auto far =
        static_cast<int64_t>(8.001 + std::log(static_cast<double>(n) / 8.0) / std::log(16.0) * 8.0);
    return h * 16 + (n < 8 ? n : std::min<int64_t>(far, 15));
  };
  example.meaning.bias = [index, values = captured.reals[0]](int64_t, int64_t h, int64_t q,
                                                             int64_t kv) {
    return static_cast<double>(values[static_cast<size_t>(index(h, q, kv))]);
  };
  example.element = [index](int64_t h, int64_t q, int64_t kv) {
    return std::pair{q >= kv ? index(h, q, kv) : -1, 1.0};
  };
  return example;
}

// Attention sinks: a window, and the first four keys always.
Example sink_tokens() {
  Example example("sink_tokens");
  example.mask =
      or_masks({mask_program("q >= kv && q - kv < 16"), mask_program("kv <= q && kv < 4")});
  example.meaning.sees = [](int64_t, int64_t, int64_t q, int64_t kv) {
    return kv <= q && (kv < 4 || kv > q - 16);
  };
  return example;
}

// Several at once: tanh softcap, window and documents, on the columns of one head only.
Example combined() {
  Example example("combined");
  Captured& captured = *example.captured;
  captured.integers.emplace_back();
  for (int32_t token = 0; token < 70; ++token) captured.integers[0].push_back(token / 19);
  captured.mask = {{captured.integers[0].data(), true, 1, {70}, {1}}};
  example.score = score_program("1.5 * tanh(score / 1.5)");
  const Program documents =
      mask_program("owner[q] == owner[kv]", {{"owner", ElementType::integer, 1}});
  example.mask =
      and_masks({documents, mask_program("q >= kv"), mask_program("q - kv < 12 || h == 1")});
  example.meaning.softcap = 1.5f;
  example.meaning.sees = [](int64_t, int64_t h, int64_t q, int64_t kv) {
    return q / 19 == kv / 19 && kv <= q && (h == 1 || q < kv + 12);
  };
  return example;
}

}  // namespace

std::vector<Example> gallery() {
  return {causal(),        window(),
          alibi(),         softcap(),
          document(),      prefix_lm(),
          packed_window(), dilated(),
          jagged(),        neighbourhood_1d(),
          combined(),      neighbourhood_2d(),
          relative_bias(), long_packed_window(),
          sink_tokens(),   bucketed_bias()};
}

}  // namespace regard::test
