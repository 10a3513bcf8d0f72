#include "remote/policy_trial.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <fmt/format.h>
#include <utility>

#include "base/limits.h"
#include "console/terminal.h"
#include "policy/policy_case.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;

// *.json of a folder, sorted; none where there is no such folder.
Result<std::vector<fs::path>> json_files(FileSystem& files, const fs::path& folder) {
  const auto names = files.list(folder);
  if (!names && names.error().code == Code::not_found) return std::vector<fs::path>{};
  if (!names) return fail(names.error());
  std::vector<fs::path> found;
  for (const auto& name : *names) {
    if (fs::path(name).extension() == ".json") found.push_back(folder / name);
  }
  return found;
}

Result<std::vector<fs::path>> case_files(FileSystem& files, const fs::path& script) {
  const auto folder = script.parent_path() / "tests";
  auto own = json_files(files, folder / script.stem());
  if (!own || !own->empty()) return own;
  auto shared = json_files(files, folder);
  if (!shared || !shared->empty()) return shared;
  return fail(Code::not_found,
              script.string() + ": has no cases in " + (folder / script.stem()).string(),
              "write one: " + (folder / script.stem() / "first.json").string());
}

std::unexpected<Error> of_file(const fs::path& file, Error error) {
  error.message = file.string() + ": " + error.message;
  return fail(std::move(error));
}

std::size_t passed_of(const std::vector<PolicyTrial>& trials) {
  return static_cast<std::size_t>(std::ranges::count_if(trials, &PolicyTrial::passed));
}

}  // namespace

Result<std::vector<PolicyTrial>> try_policy(FileSystem& files, const fs::path& script) {
  const auto source = files.read(script, limits::policy_source_bytes_max);
  if (!source) return fail(source.error());
  const auto found = case_files(files, script);
  if (!found) return fail(found.error());
  std::vector<PolicyTrial> trials;
  for (const auto& file : *found) {
    const auto text = files.read(file, limits::decision_bytes_max);
    if (!text) return fail(text.error());
    const auto cases = decode_policy_cases(*text);
    if (!cases) return of_file(file, cases.error());
    for (const auto& wanted : *cases) {
      const auto result = run_policy_case(wanted, *source);
      if (!result) return of_file(script, result.error());
      trials.push_back({.file = file.string(),
                        .name = wanted.name,
                        .expected = wanted.expected,
                        .got = result->got,
                        .passed = result->passed});
    }
  }
  return trials;
}

bool all_passed(const std::vector<PolicyTrial>& trials) {
  return passed_of(trials) == trials.size();
}

std::string trials_text(const std::vector<PolicyTrial>& trials) {
  std::string text;
  for (const auto& trial : trials) {
    text += one_line(trial.passed ? "ok " + trial.name
                                  : fmt::format("FAILED {}: expected {}, got {} ({})", trial.name,
                                                trial.expected, trial.got, trial.file));
    text += '\n';
  }
  const auto passed = passed_of(trials);
  return text + fmt::format("Passed: {} Failed: {}\n", passed, trials.size() - passed);
}

boost::json::object trials_json(const std::vector<PolicyTrial>& trials) {
  boost::json::array cases;
  for (const auto& trial : trials) {
    cases.push_back({{"file", trial.file},
                     {"name", trial.name},
                     {"passed", trial.passed},
                     {"expected", trial.expected},
                     {"got", trial.got}});
  }
  const auto passed = passed_of(trials);
  return {{"passed", passed}, {"failed", trials.size() - passed}, {"cases", std::move(cases)}};
}

}  // namespace llorch
