// Compiling kernels at run time and keeping them on disk; needs NVRTC, but no GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gpu/driver/cuda_driver.h"
#include "gpu/jit/compile.h"
#include "gpu/jit/kernel_cache.h"
#include "gpu/jit/kernel_texts.h"
#include "gpu/jit/nvrtc.h"
#include "gpu/settings.h"
#include "regard/error.h"
#include "tests/support/temp_folder.h"

namespace regard::gpu {
namespace {

namespace fs = std::filesystem;
using test_support::TempFolder;
using ::testing::HasSubstr;

// The smallest kernel of the family: a third of a second.
CompileRequest small_request() {
  return {
      .stem = "attn_fwd_mma",
      .params = "AttnFwdParams",
      .config = {.head_dim = 16, .value_dim = 16, .block_q = 16, .block_k = 16, .num_warps = 1}};
}

const CompiledKernel kKernel{.cubin = std::string("\x7F") + "ELF machine code", .log = "a log"};

void expect_found(const KernelCache& cache, const std::string& key) {
  const auto found = cache.find(key);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->cubin, kKernel.cubin);
  EXPECT_EQ(found->log, kKernel.log);
}

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Forks `count` children that run `work` and end; how many ended well.
template <typename Work>
int run_processes(int count, const Work& work) {
  std::vector<pid_t> children;
  for (int i = 0; i < count; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      try {
        _exit(work() ? 0 : 1);
      } catch (...) {
        _exit(2);
      }
    }
    children.push_back(child);
  }
  int num_well = 0;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    num_well += WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 0;
  }
  return num_well;
}

TEST(KernelCache, Stored_IsFoundByItsKeyOnly) {
  const TempFolder folder;
  const KernelCache cache(folder.path());
  ASSERT_TRUE(cache.is_usable());
  EXPECT_FALSE(cache.find("key").has_value());
  cache.store("key", kKernel);
  expect_found(cache, "key");
  EXPECT_FALSE(cache.find("another key").has_value());
  // Two keys of one hash: the entry's own key decides.
  fs::copy_file(cache.file_of("key"), cache.file_of("another key"));
  EXPECT_FALSE(cache.find("another key").has_value());
}

TEST(KernelCache, Folder_IsPrivate) {
  const TempFolder folder;
  const KernelCache cache(folder.path());
  struct stat status = {};
  ASSERT_EQ(stat((fs::path(folder.path()) / "kernels").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700u);
}

TEST(KernelCache, FolderOpenToOthers_IsNotUsed) {
  const TempFolder folder;
  const fs::path kernels = fs::path(folder.path()) / "kernels";
  fs::create_directory(kernels);
  ASSERT_EQ(chmod(kernels.c_str(), 0777), 0);
  EXPECT_FALSE(KernelCache(folder.path()).is_usable());
}

TEST(KernelCache, DamagedEntry_IsAMissAndIsReplaced) {
  const TempFolder folder;
  const KernelCache cache(folder.path());
  cache.store("key", kKernel);
  const fs::path file = cache.file_of("key");
  const std::string whole = read(file);
  std::string flipped = whole;
  flipped.back() = static_cast<char>(flipped.back() ^ 1);
  std::string huge = whole;
  huge.replace(huge.find(' ', 20), 4, " 99999999999999999999 ");
  for (const std::string& damaged :
       {std::string(), std::string("garbage"), std::string(5000, '\n'),
        whole.substr(0, whole.size() / 2), whole + "x", flipped, huge}) {
    folder.write("kernels/" + file.filename().string(), damaged);
    EXPECT_FALSE(cache.find("key").has_value());
    cache.store("key", kKernel);
    expect_found(cache, "key");
  }
}

TEST(KernelCache, EntryThatOthersMayWrite_IsNeverLoaded) {
  const TempFolder folder;
  const KernelCache cache(folder.path());
  cache.store("key", kKernel);
  const fs::path file = cache.file_of("key");
  ASSERT_EQ(chmod(file.c_str(), 0622), 0);
  EXPECT_FALSE(cache.find("key").has_value());
  ASSERT_EQ(chmod(file.c_str(), 0600), 0);
  expect_found(cache, "key");
  fs::rename(file, file.string() + ".there");  // a link could lead to another user's file
  fs::create_symlink(file.string() + ".there", file);
  EXPECT_FALSE(cache.find("key").has_value());
}

TEST(KernelCache, EntryOfAnotherUser_IsNeverLoaded) {
  if (geteuid() != 0) {
    GTEST_SKIP() << "only root can give a file away";
  }
  const TempFolder folder;
  const KernelCache cache(folder.path());
  cache.store("key", kKernel);
  ASSERT_EQ(chown(cache.file_of("key").c_str(), 12345, 12345), 0);
  EXPECT_FALSE(cache.find("key").has_value());
}

TEST(KernelCache, FolderThatCannotBeHad_IsNoCache) {
  const TempFolder folder;
  const fs::path file = folder.write("file", "");
  for (const fs::path& path : {fs::path(), file, fs::path("/proc/x")}) {
    const KernelCache cache(path);
    EXPECT_FALSE(cache.is_usable()) << path;
    cache.store("key", kKernel);
    EXPECT_FALSE(cache.find("key").has_value());
  }
}

TEST(KernelCache, ManyProcesses_SeeWholeEntriesOnly) {
  const TempFolder folder;
  const CompiledKernel large{.cubin = std::string(300'000, 'c'), .log = "log"};
  const int num_well = run_processes(32, [&] {
    const KernelCache cache(folder.path());
    for (int i = 0; i < 20; ++i) {
      cache.store("key", large);
      const auto found = cache.find("key");
      if (!found.has_value() || found->cubin != large.cubin) {
        return false;
      }
    }
    return true;
  });
  EXPECT_EQ(num_well, 32);
  int num_files = 0;
  for ([[maybe_unused]] const auto& file :
       fs::directory_iterator(fs::path(folder.path()) / "kernels")) {
    ++num_files;
  }
  EXPECT_EQ(num_files, 1) << "files written aside were left behind";
}

TEST(Settings, CacheFolder_IsTheNearestThatIsSet) {
  EXPECT_EQ(read_settings([](const char* name) -> const char* {
              return std::string(name) == "HOME" ? "/home/u" : nullptr;
            }).cache_folder,
            "/home/u/.cache/regard");
  EXPECT_EQ(read_settings([](const char* name) -> const char* {
              return std::string(name) == "REGARD_CACHE_DIR" ? "/x" : "/home/u";
            }).cache_folder,
            "/x");
  EXPECT_EQ(read_settings([](const char*) -> const char* { return nullptr; }).cache_folder, "");
}

TEST(Nvrtc, NamedFileThatIsNoLibrary_IsAReason) {
  Nvrtc found = {};
  std::string reason;
  EXPECT_FALSE(find_nvrtc({.nvrtc_file = "/no/such/file.so"}, found, reason));
  EXPECT_THAT(reason, HasSubstr("REGARD_NVRTC=/no/such/file.so"));
}

TEST(Nvrtc, PythonEnvironment_IsSearched) {
  const TempFolder folder;
  const std::string file =
      folder.write("lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12", "");
  const std::vector<std::string> candidates = nvrtc_candidates({.virtual_env = folder.path()});
  EXPECT_THAT(candidates, ::testing::Contains(file));
}

TEST(CudaDriver, Absence_IsAReason) {
  std::string reason;
  const CudaDriver* driver = cuda_driver(reason);
  EXPECT_EQ(driver == nullptr, !reason.empty());
}

TEST(Generated, Source_IsShortAndSaysTheConfig) {
  const std::string source = generated_source(small_request());
  EXPECT_LE(std::count(source.begin(), source.end(), '\n'), 10);
  EXPECT_THAT(source, HasSubstr(".head_dim = 16"));
  EXPECT_THAT(source, HasSubstr("#include \"attn_fwd_mma.cuh\""));
}

class Compile : public ::testing::Test {
 protected:
  void SetUp() override {
    nvrtc_ = nvrtc(reason_);
    if (nvrtc_ == nullptr) {
      GTEST_SKIP() << reason_;
    }
  }
  const Nvrtc* nvrtc_ = nullptr;
  std::string reason_;
};

TEST_F(Compile, Key_FollowsConfigAndArch) {
  const CompileRequest request = small_request();
  CompileRequest other_config = request, other_arch = request;
  other_config.config.has_alibi = true;
  other_arch.compute_capability = 90;
  const std::string key = cache_key(*nvrtc_, request);
  EXPECT_NE(key, cache_key(*nvrtc_, other_config));
  EXPECT_NE(key, cache_key(*nvrtc_, other_arch));
  for (const KernelText& text : kernel_texts()) {
    EXPECT_THAT(key, HasSubstr(text.text)) << text.name;
  }
}

TEST_F(Compile, SecondTime_ComesFromTheCache) {
  const TempFolder folder;
  const KernelCache cache(folder.path());
  const CompiledKernel first = compile_cached(*nvrtc_, cache, small_request());
  EXPECT_EQ(first.cubin.substr(1, 3), "ELF");
  EXPECT_THAT(first.log, HasSubstr("registers"));
  Nvrtc broken = *nvrtc_;
  broken.compile_program = [](void*, int, const char* const*) { return 1; };
  EXPECT_EQ(compile_cached(broken, cache, small_request()).cubin, first.cubin);
  EXPECT_THROW(compile(broken, small_request()), Error);
}

TEST_F(Compile, ConfigThatNoKernelServes_SaysWhy) {
  CompileRequest request = small_request();
  request.config.head_dim = 24;
  try {
    compile(*nvrtc_, request);
    FAIL() << "compiled";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("d24"));
    EXPECT_THAT(error.what(), HasSubstr("static assertion failed"));
  }
}

TEST_F(Compile, KilledInTheMiddle_LeavesAnEmptyCacheThatWorks) {
  const TempFolder folder;
  const pid_t child = fork();
  if (child == 0) {
    compile_cached(*nvrtc_, KernelCache(folder.path()), small_request());
    _exit(0);
  }
  usleep(100'000);
  kill(child, SIGKILL);
  int status = 0;
  waitpid(child, &status, 0);
  const KernelCache cache(folder.path());
  const std::string key = cache_key(*nvrtc_, small_request());
  EXPECT_EQ(cache.find(key).has_value(), WIFEXITED(status));
  compile_cached(*nvrtc_, cache, small_request());
  EXPECT_TRUE(cache.find(key).has_value());
}

TEST_F(Compile, ManyProcessesOnAnEmptyCache_AllHaveTheKernel) {
  const TempFolder folder;
  const int num_well = run_processes(32, [&] {
    const KernelCache cache(folder.path());
    return compile_cached(*nvrtc_, cache, small_request()).cubin.size() > 1000;
  });
  EXPECT_EQ(num_well, 32);
}

}  // namespace
}  // namespace regard::gpu
