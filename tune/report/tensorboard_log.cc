// TensorBoard event files. Framing: TFRecord (length, masked CRC-32C, data, masked CRC-32C);
// content: the Event message of tensorflow/core/util/event.proto, of which only wall_time, step,
// file_version and summary.value are used.
#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "tune/report/run_log.h"

namespace tune {
namespace {

constexpr std::array<uint32_t, 256> make_crc32c_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
    table[i] = crc;
  }
  return table;
}

uint32_t masked_crc32c(std::string_view data) {
  static constexpr std::array<uint32_t, 256> kTable = make_crc32c_table();
  uint32_t crc = 0xFFFFFFFFu;
  for (const char c : data) crc = kTable[(crc ^ static_cast<uint8_t>(c)) & 0xFF] ^ (crc >> 8);
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xA282EAD8u;  // TFRecord's mask
}

template <typename T>
std::string little_endian(T value) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

// Protocol buffer wire format: a tag is field << 3 | wire type (0 varint, 1 eight bytes, 2 length
// and bytes, 5 four bytes).
std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7F) | 0x80);
  return bytes + static_cast<char>(value);
}

std::string bytes_field(int field, std::string_view content) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(content.size()) +
         std::string(content);
}

std::string event_head(int64_t step) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const double wall_time = std::chrono::duration<double>(now).count();
  return varint(1 << 3 | 1) + little_endian(wall_time) + varint(2 << 3 | 0) +
         varint(static_cast<uint64_t>(step));
}

std::string scalar_event(std::string_view tag, int64_t step, double value) {
  const std::string scalar =
      bytes_field(1, tag) + varint(2 << 3 | 5) + little_endian(static_cast<float>(value));
  return event_head(step) + bytes_field(5, bytes_field(1, scalar));
}

std::string frame(const std::string& event) {
  const std::string length = little_endian(static_cast<uint64_t>(event.size()));
  return length + little_endian(masked_crc32c(length)) + event +
         little_endian(masked_crc32c(event));
}

// runs/Nov22_17-30-05, as Transformers names its runs.
std::string run_name() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::array<char, 64> text{};
  std::strftime(text.data(), text.size(), "%b%d_%H-%M-%S", &local);
  return text.data();
}

class TensorboardLog : public TrainEvents {
 public:
  explicit TensorboardLog(const Config& config)
      : folder_(config.output_dir + "/runs/" + run_name()) {}

  void started(const RunShape&) override {
    std::error_code error;
    std::filesystem::create_directories(folder_, error);
    const std::string name = "events.out.tfevents." + std::to_string(std::time(nullptr)) +
                             ".regard." + std::to_string(::getpid());
    out_.open(folder_ + "/" + name, std::ios::binary);
    write(event_head(0) + bytes_field(3, "brain.Event:2"));
  }

  void stepped(const StepRecord& r) override {
    write(scalar_event("train/loss", r.step, r.loss));
    write(scalar_event("train/grad_norm", r.step, r.grad_norm));
    write(scalar_event("train/learning_rate", r.step, r.learning_rate));
    write(scalar_event("train/epoch", r.step, r.epoch));
    write(scalar_event("train/tokens_per_second", r.step, r.tokens_per_second));
    write(scalar_event("train/memory_gib", r.step,
                       static_cast<double>(r.peak_memory_bytes) / (1 << 30)));
  }

  void evaluated(const EvalRecord& r) override {
    write(scalar_event("eval/loss", r.step, r.loss));
    write(scalar_event("eval/perplexity", r.step, r.perplexity));
  }

 private:
  // A stream that failed (disk full) swallows further writes: curves are never worth a stopped run.
  void write(const std::string& event) { out_ << frame(event) << std::flush; }

  std::string folder_;
  std::ofstream out_;
};

}  // namespace

std::unique_ptr<TrainEvents> make_tensorboard_log(const Config& config) {
  return std::make_unique<TensorboardLog>(config);
}

}  // namespace tune
