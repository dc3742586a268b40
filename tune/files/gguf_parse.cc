// Reading a GGUF header: every count, length, type and range is checked against the file's size
// before it is used.
#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include "tune/error.h"
#include "tune/files/gguf.h"
#include "tune/files/utf8.h"

namespace tune {
namespace {

constexpr uint32_t kMagic = 0x46554747;    // "GGUF", little-endian
constexpr uint64_t kMaxKeyBytes = 65535;   // by the format
constexpr uint64_t kMaxAlignment = 65536;  // far above the 32 that files use
constexpr int kMaxArrayDepth = 4;
constexpr uint32_t kMaxDims = 4;  // by the format

// ggml's numbers of the types we read; others have a name here only for the message.
std::optional<StoredType> stored_type_of(uint32_t ggml_type) {
  static const std::map<uint32_t, StoredType> kTypes = {
      {0, StoredType::f32},   {1, StoredType::f16},   {2, StoredType::q4_0},
      {3, StoredType::q4_1},  {6, StoredType::q5_0},  {7, StoredType::q5_1},
      {8, StoredType::q8_0},  {12, StoredType::q4_k}, {13, StoredType::q5_k},
      {14, StoredType::q6_k}, {24, StoredType::i8},   {25, StoredType::i16},
      {26, StoredType::i32},  {27, StoredType::i64},  {28, StoredType::f64},
      {30, StoredType::bf16}};
  const auto it = kTypes.find(ggml_type);
  return it == kTypes.end() ? std::nullopt : std::optional(it->second);
}

std::string ggml_type_text(uint32_t ggml_type) {
  static const std::map<uint32_t, std::string> kOthers = {
      {9, "Q8_1"},     {10, "Q2_K"},   {11, "Q3_K"},    {15, "Q8_K"},
      {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
      {20, "IQ4_NL"},  {21, "IQ3_S"},  {22, "IQ2_S"},   {23, "IQ4_XS"},
      {29, "IQ1_M"},   {34, "TQ1_0"},  {35, "TQ2_0"},   {39, "MXFP4"}};
  const auto it = kOthers.find(ggml_type);
  return it == kOthers.end() ? "ggml type " + std::to_string(ggml_type) : it->second;
}

// Bytes of a scalar; 0 for string, array and unknown types.
uint64_t scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::uint8:
    case GgufType::int8:
    case GgufType::boolean:
      return 1;
    case GgufType::uint16:
    case GgufType::int16:
      return 2;
    case GgufType::uint32:
    case GgufType::int32:
    case GgufType::float32:
      return 4;
    case GgufType::uint64:
    case GgufType::int64:
    case GgufType::float64:
      return 8;
    default:
      return 0;
  }
}

// Walks through the file and never past its end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  [[noreturn]] void fail(const std::string& cause) const {
    throw Error("broken GGUF file " + path_ + ": " + cause);
  }

  // `what` names the thing being read, for the message of a truncated file.
  std::span<const std::byte> take(uint64_t count, const std::string& what) {
    if (count > remaining()) {
      fail(what + " needs " + std::to_string(count) + " bytes at offset " +
           std::to_string(position_) + ", the file ends at " + std::to_string(bytes_.size()) +
           "; it is truncated or damaged, download it again");
    }
    const auto taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  template <typename T>
  T read(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::string_view read_string(const std::string& what) {
    const auto length = read<uint64_t>("the length of " + what);
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  uint64_t position() const { return position_; }
  uint64_t remaining() const { return bytes_.size() - position_; }

 private:
  std::span<const std::byte> bytes_;
  const std::string& path_;
  uint64_t position_ = 0;
};

}  // namespace

class GgufParser {
 public:
  explicit GgufParser(GgufFile& file) : file_(file), cursor_(file.map_.bytes(), file.map_.path()) {}

  void parse() {
    const auto [num_tensors, num_entries] = read_preamble();
    for (uint64_t i = 0; i < num_entries; ++i) read_entry();
    read_alignment();
    for (uint64_t i = 0; i < num_tensors; ++i) read_tensor();
    place_tensors();
  }

 private:
  struct Range {
    uint64_t begin, end;
    const std::string* name;
  };

  std::pair<uint64_t, uint64_t> read_preamble() {
    if (cursor_.remaining() < 4 || cursor_.read<uint32_t>("the magic number") != kMagic) {
      cursor_.fail("it does not begin with the letters GGUF");
    }
    file_.version_ = cursor_.read<uint32_t>("the version");
    // Version 3 of a big-endian file reads as 0x03000000.
    if (file_.version_ != 0 && (file_.version_ & 0xFFFFU) == 0) {
      cursor_.fail("it is a big-endian file; convert it to little-endian");
    }
    if (file_.version_ != 2 && file_.version_ != 3) {
      cursor_.fail("version " + std::to_string(file_.version_) +
                   "; versions 2 and 3 are read, convert the model again");
    }
    const auto num_tensors = cursor_.read<uint64_t>("the number of tensors");
    const auto num_entries = cursor_.read<uint64_t>("the number of metadata entries");
    // The least an entry takes: key length, type and a byte; a tensor: name length, dimensions'
    // count, type, offset.
    check_count(num_entries, 8 + 4 + 1, "metadata entries");
    check_count(num_tensors, 8 + 4 + 4 + 8, "tensors");
    return {num_tensors, num_entries};
  }

  void check_count(uint64_t count, uint64_t least_bytes, const std::string& what) const {
    if (count > cursor_.remaining() / least_bytes) {
      cursor_.fail("it claims " + std::to_string(count) + " " + what + ", more than its " +
                   std::to_string(file_.map_.bytes().size()) + " bytes can hold");
    }
  }

  void read_entry() {
    const std::string key(cursor_.read_string("a metadata key"));
    if (key.empty() || key.size() > kMaxKeyBytes || !is_utf8(key)) {
      cursor_.fail("metadata key " + std::to_string(file_.keys_.size()) +
                   " is empty, longer than 65535 bytes or not UTF-8");
    }
    const GgufType type = read_type(key);
    GgufValue value;
    value.type = type;
    const uint64_t begin = cursor_.position();
    if (type == GgufType::array) {
      value.is_array = true;
      std::tie(value.type, value.count) = skip_array(key, 0);
      value.bytes = file_.map_.bytes().subspan(begin + 12, cursor_.position() - begin - 12);
    } else {
      skip_elements(key, type, 1);
      value.bytes = file_.map_.bytes().subspan(begin, cursor_.position() - begin);
    }
    if (!file_.values_.emplace(key, value).second) cursor_.fail("key " + key + " appears twice");
    file_.keys_.push_back(key);
  }

  GgufType read_type(const std::string& key) {
    const auto type = cursor_.read<uint32_t>("the type of " + key);
    if (type > static_cast<uint32_t>(GgufType::float64)) {
      cursor_.fail("key " + key + " has the unknown type " + std::to_string(type));
    }
    return static_cast<GgufType>(type);
  }

  std::pair<GgufType, uint64_t> skip_array(const std::string& key, int depth) {
    if (depth == kMaxArrayDepth) {
      cursor_.fail("key " + key + " nests arrays deeper than " + std::to_string(kMaxArrayDepth));
    }
    const GgufType type = read_type(key);
    const auto count = cursor_.read<uint64_t>("the length of " + key);
    if (type == GgufType::array) {
      check_count(count, 12, "arrays in " + key);
      for (uint64_t i = 0; i < count; ++i) skip_array(key, depth + 1);
    } else {
      skip_elements(key, type, count);
    }
    return {type, count};
  }

  void skip_elements(const std::string& key, GgufType type, uint64_t count) {
    if (type == GgufType::string) {
      check_count(count, 8, "strings in " + key);
      for (uint64_t i = 0; i < count; ++i) cursor_.read_string(key);
      return;
    }
    const uint64_t size = scalar_bytes(type);
    check_count(count, size, "elements in " + key);
    const auto bytes = cursor_.take(count * size, key);
    if (type == GgufType::boolean &&
        std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b > std::byte{1}; })) {
      cursor_.fail("key " + key + " has a boolean that is neither 0 nor 1");
    }
  }

  void read_alignment() {
    const auto alignment = file_.integer("general.alignment");
    if (!alignment) return;
    if (*alignment < 8 || static_cast<uint64_t>(*alignment) > kMaxAlignment ||
        !std::has_single_bit(static_cast<uint64_t>(*alignment))) {
      cursor_.fail("general.alignment is " + std::to_string(*alignment) +
                   "; a power of two from 8 to 65536 is allowed");
    }
    file_.alignment_ = static_cast<uint64_t>(*alignment);
  }

  void read_tensor() {
    StoredTensor tensor;
    tensor.name = cursor_.read_string("a tensor name");
    if (tensor.name.empty() || !is_utf8(tensor.name)) {
      cursor_.fail("the name of tensor " + std::to_string(file_.names_.size()) +
                   " is empty or not UTF-8");
    }
    const std::string what = "tensor " + tensor.name;
    const auto num_dims = cursor_.read<uint32_t>(what);
    if (num_dims > kMaxDims) {
      cursor_.fail(what + " has " + std::to_string(num_dims) +
                   " dimensions, at most 4 are allowed");
    }
    for (uint32_t i = 0; i < num_dims; ++i) {
      tensor.shape.push_back(static_cast<int64_t>(cursor_.read<uint64_t>(what)));
    }
    std::reverse(tensor.shape.begin(), tensor.shape.end());
    const auto ggml_type = cursor_.read<uint32_t>(what);
    const auto type = stored_type_of(ggml_type);
    if (!type) {
      throw Error(file_.path() + ": " + what + " is stored as " + ggml_type_text(ggml_type) +
                  "; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K are read, "
                  "take a file of one of these types");
    }
    tensor.type = *type;
    offsets_.emplace_back(tensor.name, cursor_.read<uint64_t>(what));
    file_.names_.push_back(tensor.name);
    std::string name = tensor.name;
    if (!file_.tensors_.emplace(std::move(name), std::move(tensor)).second) {
      cursor_.fail(what + " appears twice");
    }
  }

  // Offsets count from the first aligned byte after the header.
  void place_tensors() {
    const uint64_t mask = file_.alignment_ - 1;
    const uint64_t data_begin = (cursor_.position() + mask) & ~mask;
    std::vector<Range> ranges;
    for (const auto& [name, offset] : offsets_) {
      ranges.push_back(place(file_.tensors_.find(name)->second, data_begin, offset));
    }
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    for (size_t i = 1; i < ranges.size(); ++i) {
      if (ranges[i].begin < ranges[i - 1].end) {
        cursor_.fail("tensors " + *ranges[i - 1].name + " and " + *ranges[i].name + " overlap");
      }
    }
  }

  Range place(StoredTensor& tensor, uint64_t data_begin, uint64_t offset) const {
    const auto fail = [&](const std::string& cause) {
      cursor_.fail("tensor " + tensor.name + " " + cause);
    };
    const auto elements = checked_elements(tensor.shape);
    if (!elements) fail("has the impossible shape " + shape_text(tensor.shape));
    const int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
    const auto bytes = stored_bytes(tensor.type, *elements);
    if (!bytes || row % block_values(tensor.type) != 0) {
      fail("of shape " + shape_text(tensor.shape) + " has rows that are not whole blocks of " +
           std::to_string(block_values(tensor.type)) + " values (" +
           std::string(stored_type_name(tensor.type)) + ")");
    }
    if (offset % file_.alignment_ != 0) {
      fail("begins at offset " + std::to_string(offset) + ", not a multiple of the alignment " +
           std::to_string(file_.alignment_));
    }
    const uint64_t size = file_.map_.bytes().size();
    const auto length = static_cast<uint64_t>(*bytes);
    if (data_begin > size || offset > size - data_begin || length > size - data_begin - offset) {
      fail("lies at bytes " + std::to_string(data_begin) + " + " + std::to_string(offset) + " + " +
           std::to_string(length) + ", beyond the file's " + std::to_string(size) +
           "; the file is truncated or damaged, download it again");
    }
    tensor.bytes = file_.map_.bytes().subspan(data_begin + offset, length);
    return {data_begin + offset, data_begin + offset + length, &tensor.name};
  }

  GgufFile& file_;
  Cursor cursor_;
  std::vector<std::pair<std::string, uint64_t>> offsets_;
};

std::unique_ptr<GgufFile> GgufFile::open(const std::string& path) {
  std::unique_ptr<GgufFile> file(new GgufFile(MappedFile(path)));
  GgufParser(*file).parse();
  return file;
}

}  // namespace tune
