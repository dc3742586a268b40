// The CUDA driver (libcuda.so.1), loaded at run time: nothing of CUDA is needed to build, and its
// absence is an answer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace regard::gpu {

// Names, values and signatures of the driver API, as its documentation gives them.
using CudaResult = int;  // 0 = success
using CudaDevice = int;
using CudaContext = void*;
using CudaModule = void*;
using CudaFunction = void*;
using CudaStream = void*;
using CudaPointer = uint64_t;

// CUlaunchAttribute, of which kernels use the one that lets a launch begin before the work ahead of
// it on the stream has ended.
inline constexpr int kProgrammaticStreamSerialization = 6;
struct CudaLaunchAttribute {
  int id;
  int padding;
  union {
    char bytes[64];
    int is_allowed;
  } value;
};

// CUlaunchConfig.
struct CudaLaunchConfig {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, smem_bytes;
  CudaStream stream;
  CudaLaunchAttribute* attributes;
  unsigned num_attributes;
};

struct CudaDriver {
  CudaResult (*init)(unsigned flags);
  CudaResult (*device_get_count)(int* count);
  CudaResult (*device_get)(CudaDevice* device, int ordinal);
  CudaResult (*device_get_name)(char* name, int length, CudaDevice device);
  CudaResult (*device_get_attribute)(int* value, int attribute, CudaDevice device);
  CudaResult (*device_total_memory)(size_t* bytes, CudaDevice device);
  CudaResult (*primary_context_retain)(CudaContext* context, CudaDevice device);
  CudaResult (*context_get_current)(CudaContext* context);
  CudaResult (*context_set_current)(CudaContext context);
  CudaResult (*context_get_device)(CudaDevice* device);
  CudaResult (*pointer_get_attribute)(void* value, int attribute, CudaPointer pointer);
  CudaResult (*module_load_data)(CudaModule* module, const void* image);
  CudaResult (*module_get_function)(CudaFunction* function, CudaModule module, const char* name);
  CudaResult (*function_set_attribute)(CudaFunction function, int attribute, int value);
  CudaResult (*launch_kernel)(const CudaLaunchConfig* config, CudaFunction function,
                              void** parameters, void** extra);
  CudaResult (*memory_allocate)(CudaPointer* pointer, size_t bytes);
  CudaResult (*memory_free)(CudaPointer pointer);
  CudaResult (*memory_allocate_async)(CudaPointer* pointer, size_t bytes, CudaStream stream);
  CudaResult (*memory_free_async)(CudaPointer pointer, CudaStream stream);
  CudaResult (*copy_to_device)(CudaPointer to, const void* from, size_t bytes);
  CudaResult (*copy_to_host)(void* to, CudaPointer from, size_t bytes);
  CudaResult (*stream_synchronize)(CudaStream stream);
  CudaResult (*get_error_string)(CudaResult result, const char** text);
};

// CUdevice_attribute, CUpointer_attribute, CUfunction_attribute.
inline constexpr int kMultiprocessorCount = 16;
inline constexpr int kComputeCapabilityMajor = 75;
inline constexpr int kComputeCapabilityMinor = 76;
inline constexpr int kPointerMemoryType = 2;
inline constexpr int kPointerIsManaged = 8;
inline constexpr int kPointerDeviceOrdinal = 9;
inline constexpr int kMaxDynamicSharedBytes = 8;
// Value of kPointerMemoryType.
inline constexpr unsigned kDeviceMemory = 2;

// The driver, initialised, with at least one device; else null, and `reason` says why in a
// sentence. Looks once a process; thread-safe; throws nothing but out of memory.
const CudaDriver* cuda_driver(std::string& reason);

// The same for those who cannot go on without: throws Error(unsupported) with the reason.
const CudaDriver& required_cuda_driver();

// 10 * major + minor; 0 where the driver does not say.
int compute_capability_of(const CudaDriver& driver, CudaDevice device);

int num_multiprocessors_of(const CudaDriver& driver, CudaDevice device);

// Throws Error(internal) with `what` and the driver's own words where `result` is no success.
void check(const CudaDriver& driver, CudaResult result, const char* what);

}  // namespace regard::gpu
