// One word for a problem, for messages and test ids:
// bf16_b1_h8_kv2_sq257_sk1000_d64_causal_softcap.
#pragma once

#include <string>

#include "regard/problem.h"

namespace regard::api {

std::string describe(const Problem& problem);

}  // namespace regard::api
