#include "gpu/driver/cuda_driver.h"

#include "gpu/driver/library.h"
#include "regard/error.h"

namespace regard::gpu {
namespace {

struct Found {
  CudaDriver driver = {};
  std::string reason;  // empty: `driver` is complete and initialised
};

// Fills every pointer of `driver`; the name of the first that the library lacks, or null.
const char* bind(const SharedLibrary& library, CudaDriver& driver) {
  const char* missing = nullptr;
  const auto get = [&]<typename Result, typename... Arguments>(Result (*&pointer)(Arguments...),
                                                               const char* name) {
    pointer = library.symbol<Result(Arguments...)>(name);
    missing = pointer == nullptr && missing == nullptr ? name : missing;
  };
  get(driver.init, "cuInit");
  get(driver.device_get_count, "cuDeviceGetCount");
  get(driver.device_get, "cuDeviceGet");
  get(driver.device_get_name, "cuDeviceGetName");
  get(driver.device_get_attribute, "cuDeviceGetAttribute");
  get(driver.device_total_memory, "cuDeviceTotalMem_v2");
  get(driver.primary_context_retain, "cuDevicePrimaryCtxRetain");
  get(driver.context_get_current, "cuCtxGetCurrent");
  get(driver.context_set_current, "cuCtxSetCurrent");
  get(driver.context_get_device, "cuCtxGetDevice");
  get(driver.pointer_get_attribute, "cuPointerGetAttribute");
  get(driver.module_load_data, "cuModuleLoadData");
  get(driver.module_get_function, "cuModuleGetFunction");
  get(driver.function_set_attribute, "cuFuncSetAttribute");
  get(driver.launch_kernel, "cuLaunchKernelEx");
  get(driver.memory_allocate, "cuMemAlloc_v2");
  get(driver.memory_free, "cuMemFree_v2");
  get(driver.memory_allocate_async, "cuMemAllocAsync");
  get(driver.memory_free_async, "cuMemFreeAsync");
  get(driver.copy_to_device, "cuMemcpyHtoD_v2");
  get(driver.copy_to_host, "cuMemcpyDtoH_v2");
  get(driver.stream_synchronize, "cuStreamSynchronize");
  get(driver.get_error_string, "cuGetErrorString");
  return missing;
}

std::string words_of(const CudaDriver& driver, CudaResult result) {
  const char* text = nullptr;
  const bool has_words = driver.get_error_string(result, &text) == 0 && text != nullptr;
  return "error " + std::to_string(result) + (has_words ? std::string(": ") + text : "");
}

Found find_driver() {
  Found found;
  const SharedLibrary library({"libcuda.so.1"});
  if (!library.is_loaded()) {
    found.reason = "libcuda.so.1 is not on this machine; install the NVIDIA driver";
    return found;
  }
  if (const char* missing = bind(library, found.driver)) {
    found.reason = std::string("libcuda.so.1 has no ") + missing + "; update the NVIDIA driver";
    return found;
  }
  if (const CudaResult result = found.driver.init(0); result != 0) {
    found.reason = "cuInit: " + words_of(found.driver, result);
    return found;
  }
  int count = 0;
  if (found.driver.device_get_count(&count) != 0 || count < 1) {
    found.reason = "the NVIDIA driver shows no GPU; check CUDA_VISIBLE_DEVICES";
  }
  return found;
}

}  // namespace

const CudaDriver* cuda_driver(std::string& reason) {
  static const Found found = find_driver();
  reason = found.reason;
  return found.reason.empty() ? &found.driver : nullptr;
}

const CudaDriver& required_cuda_driver() {
  std::string reason;
  const CudaDriver* driver = cuda_driver(reason);
  if (driver == nullptr) {
    throw Error(ErrorCode::unsupported, reason);
  }
  return *driver;
}

int compute_capability_of(const CudaDriver& driver, CudaDevice device) {
  int major = 0, minor = 0;
  const bool is_known = driver.device_get_attribute(&major, kComputeCapabilityMajor, device) == 0 &&
                        driver.device_get_attribute(&minor, kComputeCapabilityMinor, device) == 0;
  return is_known ? 10 * major + minor : 0;
}

int num_multiprocessors_of(const CudaDriver& driver, CudaDevice device) {
  int count = 0;
  check(driver, driver.device_get_attribute(&count, kMultiprocessorCount, device),
        "cuDeviceGetAttribute");
  return count;
}

void check(const CudaDriver& driver, CudaResult result, const char* what) {
  if (result != 0) {
    throw Error(ErrorCode::internal, std::string(what) + ": " + words_of(driver, result));
  }
}

}  // namespace regard::gpu
