// Where a machine's calibration of one model is kept: a small JSON file, only trusted for the same
// model file, program, library and processor.
// Threads: blocks its caller.
#pragma once

#include <optional>
#include <string>

#include "engine/calibration.h"

namespace llorch {

class CalibrationFile {
 public:
  CalibrationFile(const EngineOptions& options, const ModelCard& card);

  // nullopt: there is none, or it is of something else, or cannot be read.
  std::optional<CalibrationChoice> read() const;
  // Replaces it as a whole. What cannot be written is said in the log.
  void write(const Calibration& done) const;

 private:
  std::string path_;
  std::string made_for_;  // what all it holds for
};

}  // namespace llorch
