// Filling a decoder's weights from a file, or at random.
#pragma once

#include "tune/files/model_source.h"
#include "tune/model/decoder.h"
#include "tune/model/language_model.h"

namespace tune {

// Reads every weight as the options keep it: frozen in the compute dtype, as NF4, or as f32 master.
// One tensor at a time is held in f32. A vocabulary larger than the source's grows embedding and
// output layer; new rows are the mean of the old ones.
void load_weights(Decoder& decoder, const ModelSource& source, const ModelOptions& options,
                  const LoadProgress& progress);

// Matrices normal(0, initializer_range), norms 1, biases 0.
void fill_weights(Decoder& decoder, const ModelOptions& options);

}  // namespace tune
