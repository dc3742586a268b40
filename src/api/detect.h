// Questions to the operating system and the drivers, one a function. None throws; "not found" is
// the default value.
#pragma once

#include <cstdint>
#include <string>

#include "regard/machine.h"

namespace regard::api {

CpuFeatures detect_cpu_features();
std::string detect_cpu_name();
int detect_num_cores();                // cores this process may run on
int64_t detect_system_memory_bytes();  // the smaller of the machine's and the control group's

// Fill kind, device_name, compute_capability / amd_arch, toolkit version and memory_bytes of the
// first GPU, and say whether there is one.
bool detect_nvidia(Machine& machine);
bool detect_amd(Machine& machine);

}  // namespace regard::api
