// The records of a run as JSON: one mapping of fields serves metrics.jsonl, its reader and
// report.html.
#pragma once

#include <nlohmann/json.hpp>

#include "tune/train/trainer.h"

namespace tune {

nlohmann::json to_json(const StepRecord& record);
nlohmann::json to_json(const EvalRecord& record);
nlohmann::json to_json(const SampleRecord& record);

// Fields that are absent keep their defaults; throws nlohmann::json::exception for a field of the
// wrong type.
StepRecord step_from_json(const nlohmann::json& json);
EvalRecord evaluation_from_json(const nlohmann::json& json);
SampleRecord sample_from_json(const nlohmann::json& json);

}  // namespace tune
