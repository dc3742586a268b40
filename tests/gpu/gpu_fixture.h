// A GPU for a test: its driver, its memory, and the reason why there is none. Operands and results
// of a case travel through RelocatedProblem(device_memory(), ...).
#pragma once

#include <gtest/gtest.h>

#include "gpu/driver/cuda_driver.h"
#include "tests/gpu/relocated_problem.h"

namespace regard::testing {

// Skips, with the reason, where there is no GPU, driver or run-time compiler. The primary context
// of the first GPU is current.
class GpuTest : public ::testing::Test {
 protected:
  void SetUp() override;

  const gpu::CudaDriver& driver() const { return *driver_; }
  int compute_capability() const { return compute_capability_; }

  MemoryKind device_memory() const;

  // Waits for the work of the default stream; throws Error where a kernel failed.
  void await_device() const;

 private:
  const gpu::CudaDriver* driver_ = nullptr;
  int compute_capability_ = 0;
};

}  // namespace regard::testing
