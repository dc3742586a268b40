#include "modules/xformers_blocks.h"

#include <limits>
#include <string>

#include "core/dtype.h"
#include "modules/xformers_checks.h"

namespace regard::xformers {
namespace {

using checks::text;

// 0, a, a + b, ...
std::vector<int32_t> offsets_of(const std::string& name, Lengths lengths) {
  std::vector<int32_t> offsets{0};
  int64_t end = 0;
  for (const int32_t length : lengths) {
    check_at_least(name, length, 0);
    end += length;
    if (end > std::numeric_limits<int32_t>::max()) {
      refuse(name + " adds up to " + text(end) + ": at most " +
             text(std::numeric_limits<int32_t>::max()));
    }
    offsets.push_back(static_cast<int32_t>(end));
  }
  return offsets;
}

}  // namespace

int64_t Blocks::num_queries_of(int32_t block) const {
  const auto i = static_cast<size_t>(block);
  return q_offsets[i + 1] - q_offsets[i];
}

int64_t Blocks::num_keys_of(int32_t block) const {
  const auto i = static_cast<size_t>(block);
  return k_lengths.empty() ? k_starts[i + 1] - k_starts[i] : k_lengths[i];
}

Blocks packed(Lengths q_seqlen, Lengths kv_seqlen) {
  const Lengths keys = kv_seqlen.empty() ? q_seqlen : kv_seqlen;
  check_same("blocks of q_seqlen", static_cast<int64_t>(q_seqlen.size()), "of kv_seqlen",
             static_cast<int64_t>(keys.size()));
  Blocks blocks;
  blocks.q_offsets = offsets_of("q_seqlen", q_seqlen);
  blocks.k_starts = offsets_of("kv_seqlen", keys);
  blocks.num_keys = blocks.k_starts.back();
  return blocks;
}

Blocks padded(Lengths q_seqlen, int32_t kv_padding, Lengths kv_seqlen) {
  check_same("blocks of q_seqlen", static_cast<int64_t>(q_seqlen.size()), "of kv_seqlen",
             static_cast<int64_t>(kv_seqlen.size()));
  check_at_least("kv_padding", kv_padding, 0);
  Blocks blocks;
  blocks.q_offsets = offsets_of("q_seqlen", q_seqlen);
  const std::vector<int32_t> paddings(kv_seqlen.size(), kv_padding);
  blocks.k_starts = offsets_of("kv_padding", paddings);
  blocks.num_keys = blocks.k_starts.back();
  blocks.k_starts.pop_back();
  for (const int32_t length : kv_seqlen) {
    check_at_least("kv_seqlen", length, 0);
    if (length > kv_padding) {
      refuse("kv_seqlen " + text(length) + " is more than kv_padding " + text(kv_padding));
    }
    blocks.k_lengths.push_back(length);
  }
  return blocks;
}

Blocks gappy(Lengths q_seqlen, Lengths kv_seqstarts, Lengths kv_seqlen) {
  check_same("blocks of q_seqlen", static_cast<int64_t>(q_seqlen.size()), "of kv_seqlen",
             static_cast<int64_t>(kv_seqlen.size()));
  check_same("kv_seqstarts' entries", static_cast<int64_t>(kv_seqstarts.size()), "blocks + 1",
             static_cast<int64_t>(kv_seqlen.size()) + 1);
  Blocks blocks{.q_offsets = offsets_of("q_seqlen", q_seqlen),
                .k_starts = {kv_seqstarts.begin(), kv_seqstarts.end() - 1},
                .k_lengths = {kv_seqlen.begin(), kv_seqlen.end()},
                .num_keys = kv_seqstarts.back()};
  for (size_t i = 0; i < kv_seqlen.size(); ++i) {
    check_at_least("kv_seqstarts", kv_seqstarts[i], 0);
    check_at_least("kv_seqlen", kv_seqlen[i], 0);
    if (int64_t{kv_seqstarts[i]} + kv_seqlen[i] > blocks.num_keys) {
      refuse("block " + text(static_cast<int64_t>(i)) + " ends at key " +
             text(int64_t{kv_seqstarts[i]} + kv_seqlen[i]) + " of " + text(blocks.num_keys));
    }
  }
  return blocks;
}

Blocks with_enough_keys(Blocks blocks) {
  for (int32_t i = 0; i < blocks.count(); ++i) {
    if (blocks.num_keys_of(i) < blocks.num_queries_of(i)) {
      refuse("block " + text(i) + " has " + text(blocks.num_keys_of(i)) + " keys and " +
             text(blocks.num_queries_of(i)) +
             " queries: from the bottom right it needs as many keys as queries or more");
    }
  }
  return blocks;
}

Blocks with_reachable_keys(Blocks blocks, int64_t window_size) {
  check_at_least("window_size", window_size, 1);
  for (int32_t i = 0; i < blocks.count(); ++i) {
    const int64_t num_queries = blocks.num_queries_of(i);
    if (num_queries > 0 && num_queries - window_size >= blocks.num_keys_of(i)) {
      refuse("block " + text(i) + " has " + text(blocks.num_keys_of(i)) + " keys and " +
             text(num_queries) + " queries: a window of " + text(window_size) +
             " leaves its last query without a key");
    }
  }
  return blocks;
}

std::vector<View> split_at(const std::vector<int32_t>& offsets, std::vector<int64_t> sizes,
                           const View& packed_tensor) {
  check_same("the mask's rows", offsets.back(), "the tensor's", packed_tensor.seq);
  check_same("the tensor's batch", packed_tensor.batch, "that of a block-diagonal mask", 1);
  if (sizes.empty()) {
    sizes.assign(offsets.size() - 1, 1);
  }
  std::vector<View> parts;
  size_t block = 0;
  for (const int64_t size : sizes) {
    View part = packed_tensor;
    part.batch = size;
    part.seq = size > 0 ? offsets[block + 1] - offsets[block] : 0;
    part.stride_batch = part.seq * part.stride_seq;
    part.data = static_cast<char*>(part.data) +
                offsets[block] * part.stride_seq * core::bytes_of(part.dtype);
    parts.push_back(part);
    block += static_cast<size_t>(size);
  }
  return parts;
}

}  // namespace regard::xformers
