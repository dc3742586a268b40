// A GGUF file as a ModelSource.
#pragma once

#include <memory>
#include <string>

#include "tune/files/model_source.h"

namespace tune {

std::unique_ptr<ModelSource> open_gguf_source(const std::string& path);

// The GGUF name of a Hugging Face tensor name ("blk.0.attn_q.weight"), empty when there is none.
std::string gguf_tensor_name(std::string_view hf_name);

// Throws tune::Error when a stored tensor has not the shape that the model asks for.
void check_shape(const std::string& path, std::string_view hf_name, const StoredTensor& tensor,
                 std::span<const int64_t> expected_shape, size_t out_size);

}  // namespace tune
