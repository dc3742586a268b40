#include <ATen/Parallel.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <random>
#include <string_view>
#include <utility>

#include "tests/tune/train/toy_run.h"
#include "tune/error.h"
#include "tune/files/atomic_write.h"
#include "tune/train/checkpoint_store.h"
#include "tune/train/crc32.h"
#include "tune/train/training_state.h"

namespace tune::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int64_t> steps_in(const TempFolder& folder) {
  std::vector<int64_t> steps;
  for (const Checkpoint& checkpoint : CheckpointStore(folder.path()).list())
    steps.push_back(checkpoint.step);
  return steps;
}

void write_some(CheckpointStore& store, int64_t step, const std::string& run = "run") {
  store.write(step, run, [&](const std::string& folder) {
    write_file_atomically(folder + "/weights.bin", std::string(1000, 'w'));
  });
}

TEST(Crc32, KnownTexts_MatchZlib) {
  const auto crc_of = [](std::string_view text) {
    return crc32(0, std::as_bytes(std::span(text.data(), text.size())));
  };
  EXPECT_EQ(crc_of("123456789"), 0xCBF43926u);  // the check value of the algorithm's definition
  EXPECT_EQ(crc_of(""), 0u);
  EXPECT_EQ(crc_of("The quick brown fox jumps over the lazy dog"), 0x414FA339u);
  EXPECT_EQ(crc32(crc_of("12345"), std::as_bytes(std::span("6789", 4))), 0xCBF43926u);
}

TEST(CheckpointStore, WrittenCheckpoint_IsCompleteAndListed) {
  const TempFolder folder;
  CheckpointStore store(folder.path());
  write_some(store, 12);
  EXPECT_THAT(steps_in(folder), ElementsAre(12));
  EXPECT_EQ(why_damaged(folder / "checkpoint-12"), "");
}

TEST(CheckpointStore, TooManyCheckpoints_OldestOfThisRunGo) {
  const TempFolder folder;
  CheckpointStore store(folder.path());
  write_some(store, 90, "another run");
  for (int64_t step = 1; step <= 5; ++step) {
    write_some(store, step);
    store.remove_oldest("run", 2);
  }
  EXPECT_THAT(steps_in(folder), ElementsAre(90, 4, 5));
}

TEST(CheckpointStore, FillThrows_EarlierCheckpointStays) {
  const TempFolder folder;
  CheckpointStore store(folder.path());
  write_some(store, 3);
  EXPECT_THROW(store.write(3, "run", [](const std::string&) { throw Error("disk full"); }), Error);
  EXPECT_EQ(why_damaged(folder / "checkpoint-3"), "");
}

TEST(CheckpointStore, ForeignFolders_AreNoCheckpoints) {
  const TempFolder folder;
  for (const char* name : {"checkpoint-", "checkpoint-x", "checkpoint-3b", "mycheckpoint-3"})
    std::filesystem::create_directories(folder / name);
  EXPECT_TRUE(steps_in(folder).empty());
  std::filesystem::create_directories(folder / "checkpoint-7");
  EXPECT_THAT(why_damaged(folder / "checkpoint-7"), HasSubstr("checkpoint.json is missing"));
}

TEST(CheckpointStore, LyingManifest_IsDamage) {
  const TempFolder folder;
  CheckpointStore store(folder.path());
  write_some(store, 1);
  for (const char* text : {"", "{", "[]", "{\"format\": 99}", "{\"format\": 1, \"files\": [1]}"}) {
    write_file_atomically(folder / "checkpoint-1/checkpoint.json", text);
    EXPECT_NE(why_damaged(folder / "checkpoint-1"), "") << text;
  }
}

TEST(SaveTotalLimit, TrainingRun_KeepsTheNewest) {
  const TempFolder folder;
  Config config = toy_config(folder.path());
  config.save_strategy = "steps";
  config.save_steps = 1;
  config.save_total_limit = 3;
  ToyModel model;
  Recorder recorder;
  train_toy(config, model, toy_data(20), recorder);
  EXPECT_EQ(recorder.saved_steps.size(), 10u);
  EXPECT_THAT(steps_in(folder), ElementsAre(8, 9, 10));
}

TEST(SaveStrategy, Epoch_SavesAtTheEndOfEach) {
  const TempFolder folder;
  Config config = toy_config(folder.path());
  config.save_strategy = "";
  ToyModel model;
  Recorder recorder;
  train_toy(config, model, toy_data(20), recorder);
  EXPECT_THAT(recorder.saved_steps, ElementsAre(5, 10));
}

// Lowers the largest file a process may write while it lives; SIGXFSZ is ignored so that write()
// reports EFBIG, as a full disk reports ENOSPC.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    old_handler_ = ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit before_{};
  void (*old_handler_)(int) = SIG_DFL;
};

struct LimitFiles : Recorder {
  void stepped(const StepRecord& record) override {
    Recorder::stepped(record);
    if (record.step == 2) limit = std::make_unique<FileSizeLimit>(2000);
    if (record.step == 4) limit.reset();
  }
  std::unique_ptr<FileSizeLimit> limit;
};

TEST(DiskFull, DuringACheckpoint_IsNotedAndTrainingGoesOn) {
  const TempFolder folder;
  Config config = toy_config(folder.path());
  config.save_strategy = "steps";
  config.save_steps = 1;
  ToyModel model;
  LimitFiles recorder;
  EXPECT_EQ(train_toy(config, model, toy_data(20), recorder).steps, 10);
  EXPECT_THAT(recorder.saved_steps, ElementsAre(1, 4, 5, 6, 7, 8, 9, 10));
  EXPECT_THAT(recorder.notes, HasSubstr("checkpoint of step 2 skipped, training goes on"));
  EXPECT_THAT(recorder.notes, HasSubstr("checkpoint of step 3 skipped"));
  for (const Checkpoint& checkpoint : CheckpointStore(folder.path()).list())
    EXPECT_EQ(why_damaged(checkpoint.folder), "");
}

struct LimitLastStep : Recorder {
  explicit LimitLastStep(int64_t last) : last_step(last) {}
  void checkpointed(const std::string& folder, int64_t step) override {
    Recorder::checkpointed(folder, step);
    if (step == last_step) limit = std::make_unique<FileSizeLimit>(2000);
  }
  int64_t last_step;
  std::unique_ptr<FileSizeLimit> limit;
};

TEST(DiskFull, AtTheFinalSave_IsAnErrorThatKeepsTheCheckpoint) {
  const TempFolder folder;
  Config config = toy_config(folder.path());
  config.save_strategy = "epoch";
  ToyModel model;
  LimitLastStep recorder(10);
  EXPECT_THROW(train_toy(config, model, toy_data(20), recorder), Error);
  recorder.limit.reset();
  EXPECT_EQ(why_damaged(folder / "checkpoint-10"), "");
  EXPECT_FALSE(std::filesystem::exists(folder / "adapter_model.safetensors"));
}

// The argument that makes this program the child below: it trains in the folder named next.
constexpr const char* kSaveUntilKilled = "--save-until-killed";

// Writes one byte for every checkpoint that is complete.
struct SaysWhenSaved : TrainEvents {
  void checkpointed(const std::string&, int64_t) override {
    if (::write(STDOUT_FILENO, "s", 1) != 1) ::_exit(4);
  }
};

// What the child does: it saves after every step, and hardly anything else.
int save_until_killed(const std::string& folder) {
  Config config = toy_config(folder);
  config.save_strategy = "steps";
  config.save_steps = 1;
  config.save_total_limit = 2;
  config.max_steps = 1'000'000;
  config.lr_scheduler = "constant";
  config.auto_resume_from_checkpoints = true;
  try {
    ToyModel model;
    SaysWhenSaved events;
    train(config, model, ToyTokenizer(), toy_data(40), events);
  } catch (const std::exception&) {
    return 3;
  }
  return 0;
}

// This program once more, as a process of its own. Not by fork() alone: a child of fork() has only
// the calling thread, and waits for ever for a pool of threads that its parent has started.
class SavingChild {
 public:
  explicit SavingChild(const std::string& folder) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    std::string program = "/proc/self/exe", option = kSaveUntilKilled, path = folder;
    char* const arguments[] = {program.data(), option.data(), path.data(), nullptr};
    const int error = ::posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments, environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    saved_ = ends[0];
    if (error != 0) throw std::runtime_error("no child process");
  }
  ~SavingChild() {
    ::close(saved_);
    if (pid_ > 0) kill_now();
  }
  SavingChild(const SavingChild&) = delete;
  SavingChild& operator=(const SavingChild&) = delete;

  bool wait_for_a_save() {
    char byte = 0;
    return ::read(saved_, &byte, 1) == 1;
  }
  // False when the child had already ended by itself.
  bool kill_now() {
    int status = 0;
    ::kill(pid_, SIGKILL);
    return ::waitpid(std::exchange(pid_, -1), &status, 0) > 0 && WIFSIGNALED(status);
  }

 private:
  pid_t pid_ = -1;
  int saved_ = -1;
};

bool holds_unfinished_folder(const std::string& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.is_directory() && entry.path().extension() == ".regard-tmp") return true;
  return false;
}

TEST(KillDuringCheckpoint, ManyRandomMoments_AlwaysLeaveACompleteOne) {
  // The threads a forked child would wait for: the test fails by hanging if it ever forks again.
  at::parallel_for(0, 1 << 20, 1, [](int64_t, int64_t) {});
  const TempFolder folder;
  std::mt19937 random(11);
  int64_t last_step = 0, num_caught_saving = 0;
  for (int round = 0; round < 60; ++round) {
    SavingChild child(folder.path());
    ASSERT_TRUE(child.wait_for_a_save()) << "round " << round;
    ::usleep(static_cast<useconds_t>(random() % 12'000));
    ASSERT_TRUE(child.kill_now()) << "round " << round;
    if (holds_unfinished_folder(folder.path())) ++num_caught_saving;

    CheckpointStore store(folder.path());
    store.recover();
    const std::vector<Checkpoint> checkpoints = store.list();
    ASSERT_FALSE(checkpoints.empty()) << "round " << round;
    ASSERT_EQ(why_damaged(checkpoints.back().folder), "") << "round " << round;
    const TrainingState state = load_training_state(checkpoints.back().folder);
    ASSERT_GT(state.step, last_step) << "a saved step was lost in round " << round;
    last_step = state.step;
  }
  // Saving is nearly all these runs do, so most moments are in the middle of it.
  EXPECT_GT(num_caught_saving, 10);
}

}  // namespace
}  // namespace tune::testing

int main(int count, char** arguments) {
  using namespace tune::testing;
  if (count == 3 && std::string_view(arguments[1]) == kSaveUntilKilled)
    return save_until_killed(arguments[2]);
  ::testing::InitGoogleMock(&count, arguments);
  return RUN_ALL_TESTS();
}
