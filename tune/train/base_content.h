// What a base model is made of, so that an adapter is never continued on another one.
#pragma once

#include <string>

namespace tune {

// "2 files, 269060552 bytes, checksum 1a2b3c4d" over config.json, the index and the weights of a
// folder, or over a .gguf file; the names of files do not matter, so a model may move. "not found"
// when nothing lies at `base_model`. Throws tune::Error for a file that cannot be read.
//
// Files of up to 5 MiB are read whole. Of a larger one: its size, the first MiB (the header, with
// names and shapes of all tensors), and 1024 blocks of 4 KiB at equal distances up to the end. That
// catches another model, revision, precision or fine-tuning, where nearly all weights differ:
// when a share s of the blocks changed, (1 - s)^1024 of the cases pass (s = 1 %: 3e-5), and a
// changed stretch of 1/1024 of the file never does. A few values patched in place are not caught.
// The cost is reading 5 MiB a file, 5 ms from the page cache that loading the weights has just
// filled.
std::string base_model_content(const std::string& base_model);

}  // namespace tune
