// What `llorch up`, `down`, `ps` and `run` were asked for, checked once. Pure values. Threads: any.
#pragma once

#include <string>

#include "remote/infer_options.h"

namespace llorch {

struct LocalCommand {
  enum class Kind { up, down, ps, run };
  Kind kind = Kind::ps;
  std::string orchestrator_url = "http://127.0.0.1:8080";
  std::string model;   // up: empty: none is loaded
  InferOptions infer;  // of run
  bool json = false;   // ps
};

}  // namespace llorch
