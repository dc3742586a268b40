// Gradients of what scores are made of besides Q and K: bias, ALiBi slopes, sink, tensors of the
// score program. Summed in double over the whole
// backward, rounded once.
#pragma once

#include <cstdint>
#include <vector>

#include "reference/row.h"
#include "regard/problem.h"

namespace regard::reference {

class ScoreGradients {
 public:
  ScoreGradients(const Problem& problem, const BackwardTensors& tensors);

  // dx = gradient of the score x of `key`; d_sink = that of the sink in this row.
  void add_score(Head& head, const RowPosition& at, const SeenKey& seen, double dx);
  void add_sink(const RowPosition& at, double d_sink);

  // Writes those that were asked for, whole.
  void write() const;

 private:
  // Extents of the bias gradient: 1 where the bias broadcasts.
  struct BiasShape {
    int64_t batch = 0, heads = 0, sq = 0, sk = 0;
  };
  void add_tensors(Head& head, const RowPosition& at, const SeenKey& seen, double dx);
  int64_t slope_index(const RowPosition& at) const;

  const Problem& problem_;
  const BackwardTensors& tensors_;
  BiasShape shape_;
  std::vector<double> bias_;                          // [batch][heads][sq][sk] of shape_
  std::vector<double> slopes_;                        // [B or 1][Hq]
  std::vector<double> sink_;                          // [Hq]
  std::vector<std::vector<double>> program_tensors_;  // in their own shapes, contiguous
};

}  // namespace regard::reference
