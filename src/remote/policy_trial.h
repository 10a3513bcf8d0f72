// `llorch policy test FILE`: a script against its cases, without orchestratord. The cases lie in
// tests/NAME/*.json beside NAME.rhai, else in tests/*.json. Threads: one.
#pragma once

#include <boost/json/object.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/file_system.h"

namespace llorch {

struct PolicyTrial {
  std::string file;  // of the case
  std::string name;
  std::string expected;
  std::string got;
  bool passed = false;
};

// Errors: not_found (no script, no case), invalid_request (a script that does not load, a file of
// cases that cannot be read), too_large, those of the disk.
Result<std::vector<PolicyTrial>> try_policy(FileSystem& files, const std::filesystem::path& script);

bool all_passed(const std::vector<PolicyTrial>& trials);
// "ok batch waits", "FAILED batch waits: expected wait, got worker w-1", "Passed: 3 Failed: 1".
std::string trials_text(const std::vector<PolicyTrial>& trials);
// {"passed":3,"failed":1,"cases":[{"file","name","passed","expected","got"}]}
boost::json::object trials_json(const std::vector<PolicyTrial>& trials);

}  // namespace llorch
