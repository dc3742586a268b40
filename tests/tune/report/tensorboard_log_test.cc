#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "tests/tune/report/report_fixture.h"
#include "tune/report/run_log.h"

namespace tune {
namespace {

// An independent reader of the two formats: bitwise CRC-32C and a walk over the wire format.
uint32_t crc32c_bitwise(const std::string& data) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const char c : data) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82F63B78u : crc >> 1;
  }
  return ~crc;
}

uint32_t masked(const std::string& data) {
  const uint32_t crc = crc32c_bitwise(data);
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;
}

template <typename T>
T load(const std::string& bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

std::vector<std::string> read_frames(const std::string& file) {
  std::vector<std::string> events;
  for (size_t at = 0; at < file.size();) {
    const auto length = load<uint64_t>(file, at);
    EXPECT_EQ(load<uint32_t>(file, at + 8), masked(file.substr(at, 8)));
    const std::string event = file.substr(at + 12, length);
    EXPECT_EQ(load<uint32_t>(file, at + 12 + length), masked(event));
    events.push_back(event);
    at += 16 + length;
  }
  return events;
}

uint64_t read_varint(const std::string& bytes, size_t& at) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes[at++]);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
}

// Fields of one message: number -> raw content (varints as decimal text).
std::map<uint64_t, std::string> read_message(const std::string& bytes) {
  std::map<uint64_t, std::string> fields;
  for (size_t at = 0; at < bytes.size();) {
    const uint64_t tag = read_varint(bytes, at);
    size_t size = 0;
    switch (tag & 7) {
      case 0:
        fields[tag >> 3] = std::to_string(read_varint(bytes, at));
        continue;
      case 1:
        size = 8;
        break;
      case 2:
        size = read_varint(bytes, at);
        break;
      case 5:
        size = 4;
        break;
      default:
        ADD_FAILURE() << "wire type " << (tag & 7);
        return fields;
    }
    fields[tag >> 3] = bytes.substr(at, size);
    at += size;
  }
  return fields;
}

TEST(Crc32c, KnownVector_Agrees) {
  // RFC 3720, B.4: 32 bytes of zeros.
  EXPECT_EQ(crc32c_bitwise(std::string(32, '\0')), 0x8A9136AAu);
}

class TensorboardLogTest : public ReportTest {};

TEST_F(TensorboardLogTest, Scalars_ReadBackUnderTransformersNames) {
  const std::unique_ptr<TrainEvents> log = make_tensorboard_log(config_);
  log->started(RunShape{});
  log->stepped(make_step(300));
  EvalRecord evaluation;
  evaluation.step = 300;
  evaluation.loss = 1.75;
  log->evaluated(evaluation);

  std::string content;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(config_.output_dir + "/runs")) {
    if (!entry.is_regular_file()) continue;
    EXPECT_NE(entry.path().filename().string().find("tfevents"), std::string::npos);
    std::ifstream in(entry.path(), std::ios::binary);
    content.assign(std::istreambuf_iterator<char>(in), {});
  }
  const std::vector<std::string> events = read_frames(content);
  ASSERT_GT(events.size(), 2u);
  EXPECT_EQ(read_message(events[0])[3], "brain.Event:2");

  std::map<std::string, float> scalars;
  for (size_t i = 1; i < events.size(); ++i) {
    auto event = read_message(events[i]);
    EXPECT_EQ(event[2], "300");
    auto value = read_message(read_message(event[5])[1]);
    scalars[value[1]] = load<float>(value[2], 0);
  }
  EXPECT_FLOAT_EQ(scalars.at("train/loss"), 0.01f);
  EXPECT_FLOAT_EQ(scalars.at("train/learning_rate"), 1.25e-4f);
  EXPECT_FLOAT_EQ(scalars.at("eval/loss"), 1.75f);
}

}  // namespace
}  // namespace tune
