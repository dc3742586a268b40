#include "tune/files/atomic_write.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "temp_folder.h"
#include "tune/files/safetensors.h"

namespace tune {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using tune_test::error_of;
using tune_test::TempFolder;

// Runs `body` in a child process, where limits and users may change; gives its last message.
std::string in_child(const std::function<std::string()>& body) {
  int ends[2];
  if (pipe(ends) != 0) return "no pipe";
  const pid_t child = fork();
  if (child == 0) {
    std::string message;
    try {
      message = body();
    } catch (const std::exception& error) {
      message = error.what();
    }
    const ssize_t written = write(ends[1], message.data(), message.size());
    _exit(written == static_cast<ssize_t>(message.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string text(4096, '\0');
  const ssize_t count = read(ends[0], text.data(), text.size());
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  text.resize(count > 0 ? static_cast<size_t>(count) : 0);
  return text;
}

// A limit on file sizes stands for the full disk: write() stops short and then fails, as there.
void limit_file_size(rlim_t bytes) {
  signal(SIGXFSZ, SIG_IGN);
  const rlimit limit = {bytes, bytes};
  setrlimit(RLIMIT_FSIZE, &limit);
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

TEST(WriteFileAtomically, NewAndOldFile_HasTheContent) {
  const TempFolder folder;
  const std::string path = folder / "f";
  write_file_atomically(path, "one");
  EXPECT_EQ(read_file(path), "one");
  const std::string large(3 << 20, 'x');
  write_file_atomically(path, large);
  EXPECT_EQ(read_file(path), large);
  write_file_atomically(path, "");
  EXPECT_EQ(read_file(path), "");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"f"});
}

TEST(WriteFileAtomically, FullDisk_KeepsTheOldFile) {
  const TempFolder folder;
  const std::string path = folder.write("f", "old");
  const std::string message = in_child([&] {
    limit_file_size(1000);
    write_file_atomically(path, std::string(5000, 'n'));
    return std::string("no error");
  });
  EXPECT_THAT(message, HasSubstr("cannot write " + path));
  EXPECT_THAT(message, HasSubstr("larger than"));
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"f"});
}

TEST(WriteSafetensors, FullDisk_KeepsTheOldFile) {
  const TempFolder folder;
  const std::string path = folder.write("model.safetensors", "old");
  const std::string message = in_child([&] {
    limit_file_size(1000);
    const std::vector<float> values(1000);
    const std::vector<TensorToWrite> tensors = {
        {"a", StoredType::f32, {1000}, std::as_bytes(std::span(values))}};
    write_safetensors(path, tensors);
    return std::string("no error");
  });
  EXPECT_THAT(message, HasSubstr("cannot write " + path));
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"model.safetensors"});
}

// /dev/full answers ENOSPC to every write; it takes the place of the file aside, whose descriptor
// is the lowest free one.
TEST(WriteFileAtomically, NoSpace_SaysTheDiskIsFull) {
  const TempFolder folder;
  const int full = open("/dev/full", O_WRONLY);
  const int next = dup(full);
  close(next);
  EXPECT_THAT(error_of([&] {
                FileAside file(folder / "f");
                ASSERT_EQ(dup2(full, next), next);
                file.write("text");
              }),
              HasSubstr("the disk is full"));
  close(full);
  EXPECT_TRUE(names_in(folder.path()).empty());
}

TEST(WriteFileAtomically, TwoWritersOfOneFile_DoNotMeet) {
  const TempFolder folder;
  const std::string path = folder / "f";
  FileAside first(path), second(path);
  first.write("one");
  second.write("second, and longer");
  first.write(" whole");
  second.commit();
  EXPECT_EQ(read_file(path), "second, and longer");
  first.commit();
  EXPECT_EQ(read_file(path), "one whole");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"f"});
}

TEST(WriteFileAtomically, TwoProcesses_LeaveAWholeFileAtEveryMoment) {
  const TempFolder folder;
  const std::string path = folder / "f";
  write_file_atomically(path, std::string(100'000, 'z'));
  const pid_t writer = fork();
  if (writer == 0) {
    try {
      for (int i = 0; i < 100; ++i) write_file_atomically(path, std::string(100'000, 'a'));
      _exit(0);
    } catch (const std::exception&) {
      _exit(1);
    }
  }
  for (int i = 0; i < 100; ++i) {
    write_file_atomically(path, std::string(100'000, 'b'));
    const std::string content = read_file(path);
    EXPECT_EQ(content, std::string(100'000, content.at(0)));
  }
  int status = -1;
  waitpid(writer, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"f"});
}

// "f.1234-7.regard-tmp" of a file that is under way: its process and its count.
std::pair<std::string, int> name_aside(const TempFolder& folder) {
  const FileAside file(folder / "f");
  const std::string name = names_in(folder.path()).at(0);
  const size_t dash = name.find('-');
  return {name.substr(0, dash + 1), std::stoi(name.substr(dash + 1))};
}

TEST(WriteFileAtomically, LeftoversUnderTheSameName_AreHarmless) {
  const TempFolder folder;
  const auto [name, count] = name_aside(folder);
  for (int i = 1; i <= 3; ++i)
    folder.write(name + std::to_string(count + i) + ".regard-tmp", "old");
  write_file_atomically(folder / "f", "new");
  EXPECT_EQ(read_file(folder / "f"), "new");
  EXPECT_EQ(names_in(folder.path()).size(), 4u);
}

TEST(RemoveUnfinishedFiles, OnlyThoseNobodyWritesAnyMore) {
  const TempFolder folder;
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  waitpid(gone, nullptr, 0);
  folder.write("f." + std::to_string(gone) + "-3.regard-tmp", "of a killed process");
  folder.write("f.regard-tmp", "of nobody");
  folder.write("mine.tmp", "the user's");
  folder.write("f.regard-tmp.d/f", "below");
  FileAside file(folder / "g");
  remove_unfinished_files(folder.path());
  file.write("whole");
  file.commit();
  EXPECT_EQ(names_in(folder.path()), (std::vector<std::string>{"f.regard-tmp.d", "g", "mine.tmp"}));
  remove_unfinished_files(folder / "not-there");
}

TEST(WriteFileAtomically, UnwritableFolder_SaysSo) {
  const TempFolder folder;
  chmod(folder.path().c_str(), 0555);
  const std::string message = in_child([&] {
    if (geteuid() == 0 && seteuid(65534) != 0) return std::string("cannot leave root");
    write_file_atomically(folder / "f", "text");
    return std::string("no error");
  });
  chmod(folder.path().c_str(), 0755);
  EXPECT_THAT(message, HasSubstr("permission denied"));
}

TEST(WriteFileAtomically, MissingFolderOrFolderInPlace_SaysSo) {
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { write_file_atomically(folder / "no/f", "x"); }),
              HasSubstr("does not exist"));
  EXPECT_THAT(error_of([&] { write_file_atomically(folder.path(), "x"); }),
              HasSubstr("a folder of this name"));
}

TEST(ReadFile, MissingOrFolder_SaysWhy) {
  const TempFolder folder;
  EXPECT_THAT(error_of([&] { read_file(folder / "f"); }), HasSubstr("No such file"));
  EXPECT_THAT(error_of([&] { read_file(folder.path()); }), HasSubstr("directory"));
}

void fill_with(const std::string& folder, const std::string& content) {
  fs::create_directories(folder + "/sub");
  for (const char* name : {"/a", "/b", "/sub/c"}) write_file_atomically(folder + name, content);
}

// The one content of a folder that fill_with wrote; "torn" when it is not whole.
std::string content_of(const std::string& folder) {
  if (!fs::exists(folder + "/a")) return "missing";
  const std::string a = read_file(folder + "/a");
  for (const char* name : {"/b", "/sub/c"}) {
    if (!fs::exists(folder + name) || read_file(folder + name) != a) return "torn";
  }
  return a;
}

TEST(WriteFolderAtomically, NewThenReplaced_HoldsOnlyTheLast) {
  const TempFolder folder;
  const std::string path = folder / "deep/er/out";
  write_folder_atomically(path, [](const std::string& fresh) { fill_with(fresh, "1"); });
  EXPECT_EQ(content_of(path), "1");
  write_file_atomically(path + "/extra", "x");
  write_folder_atomically(path + "/", [](const std::string& fresh) { fill_with(fresh, "2"); });
  EXPECT_EQ(content_of(path), "2");
  EXPECT_FALSE(fs::exists(path + "/extra"));
  EXPECT_EQ(names_in(folder / "deep/er"), std::vector<std::string>{"out"});
}

TEST(WriteFolderAtomically, FillThrows_LeavesEverythingAsItWas) {
  const TempFolder folder;
  const std::string path = folder / "out";
  write_folder_atomically(path, [](const std::string& fresh) { fill_with(fresh, "1"); });
  EXPECT_THROW(write_folder_atomically(path,
                                       [](const std::string& fresh) {
                                         fill_with(fresh, "2");
                                         throw std::runtime_error("stop");
                                       }),
               std::runtime_error);
  EXPECT_EQ(content_of(path), "1");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"out"});
}

TEST(WriteFolderAtomically, FileInPlace_IsRefused) {
  const TempFolder folder;
  const std::string path = folder.write("out", "mine");
  EXPECT_THAT(error_of([&] { write_folder_atomically(path, [](const std::string&) {}); }),
              HasSubstr("a file of this name"));
  EXPECT_EQ(read_file(path), "mine");
}

TEST(WriteFolderAtomically, NeighboursOfTheUser_AreUntouched) {
  const TempFolder folder;
  folder.write("out.old/mine", "1");
  folder.write("out.tmp/mine", "2");
  for (int i = 0; i < 2; ++i) {
    write_folder_atomically(folder / "out",
                            [](const std::string& fresh) { fill_with(fresh, "x"); });
  }
  EXPECT_EQ(read_file(folder / "out.old/mine"), "1");
  EXPECT_EQ(read_file(folder / "out.tmp/mine"), "2");
}

TEST(ReplaceFolder, WithoutExchange_GivesTheSame) {
  const TempFolder folder;
  fill_with(folder / "out", "1");
  fill_with(folder / "new", "2");
  replace_folder(folder / "new", folder / "out", false);
  EXPECT_EQ(content_of(folder / "out"), "2");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"out"});
}

TEST(RecoverFolder, EveryInterruptedState_GivesAWholeFolder) {
  const TempFolder folder;
  const std::string path = folder / "out";
  fill_with(path + ".regard-old", "1");  // killed between the two renames
  fill_with(path + ".regard-tmp", "2");
  recover_folder(path);
  EXPECT_EQ(content_of(path), "1");
  fill_with(path + ".regard-old", "0");  // killed before the old one was removed
  recover_folder(path);
  EXPECT_EQ(content_of(path), "1");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"out"});
  recover_folder(folder / "never-there");
  EXPECT_EQ(names_in(folder.path()), std::vector<std::string>{"out"});
}

// A child replaces the folder again and again until it is killed.
pid_t start_writer(const std::string& path, bool try_exchange) {
  const pid_t child = fork();
  if (child != 0) return child;
  for (int i = 1;; ++i) {
    fs::remove_all(path + ".regard-tmp");
    fill_with(path + ".regard-tmp", std::to_string(i));
    replace_folder(path + ".regard-tmp", path, try_exchange);
  }
}

TEST(ReplaceFolder, KilledAtAnyMoment_LeavesAWholeFolder) {
  const TempFolder folder;
  for (int round = 0; round < 30; ++round) {
    const bool try_exchange = round % 2 == 0;
    const std::string path = folder / ("out" + std::to_string(round));
    fill_with(path, "0");
    const pid_t writer = start_writer(path, try_exchange);
    usleep(static_cast<useconds_t>(2000 + 731 * round));
    kill(writer, SIGKILL);
    waitpid(writer, nullptr, 0);
    // With the exchange not even a recovery is needed.
    if (try_exchange) {
      EXPECT_THAT(content_of(path), testing::MatchesRegex("[0-9]+"));
    }
    recover_folder(path);
    EXPECT_THAT(content_of(path), testing::MatchesRegex("[0-9]+")) << "round " << round;
    EXPECT_FALSE(fs::exists(path + ".regard-tmp"));
  }
}

}  // namespace
}  // namespace tune
