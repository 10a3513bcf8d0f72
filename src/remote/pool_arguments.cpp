#include "remote/pool_arguments.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <optional>
#include <utility>

#include "console/spelling.h"
#include "protocol/json_parse.h"
#include "remote/reply_fields.h"

namespace llorch {
namespace {

namespace json = boost::json;

constexpr const char* help_hint = "llorch pool --help";

std::unexpected<Error> refuse(std::string why, std::string next = help_hint) {
  return fail(Code::invalid_request, "llorch pool: " + std::move(why), std::move(next));
}

const std::vector<std::string>& groups() {
  static const std::vector<std::string> all = {"models", "worker", "backends", "status",
                                               "doctor", "kv",     "install",  "upgrade"};
  return all;
}

// Takes every `FLAG VALUE` and `FLAG=VALUE` before a `--` out of the words; the values in order.
Result<std::vector<std::string>> take_flag(std::vector<std::string>& words,
                                           const std::string& flag) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i < words.size() && words[i] != "--";) {
    if (words[i].starts_with(flag + "=")) {
      values.push_back(words[i].substr(flag.size() + 1));
      words.erase(words.begin() + static_cast<std::ptrdiff_t>(i));
    } else if (words[i] == flag) {
      if (i + 1 == words.size()) return refuse(flag + ": has no value");
      values.push_back(words[i + 1]);
      const auto at = words.begin() + static_cast<std::ptrdiff_t>(i);
      words.erase(at, at + 2);
    } else {
      ++i;
    }
  }
  return values;
}

// The one value of a flag that may be given once; empty when it is absent.
Result<std::string> take_once(std::vector<std::string>& words, const std::string& flag) {
  const auto values = take_flag(words, flag);
  if (!values) return fail(values.error());
  if (values->empty()) return std::string{};
  if (values->front().empty()) return refuse(flag + ": is empty");
  const bool same = std::ranges::all_of(
      *values, [&](const std::string& value) { return value == values->front(); });
  if (!same) return refuse(flag + ": given twice, and not the same");
  return values->front();
}

bool wants_help(const std::vector<std::string>& words) {
  const auto stop = std::ranges::find(words, "--");
  return std::any_of(words.begin(), stop,
                     [](const std::string& word) { return word == "--help" || word == "-h"; });
}

// Flags of `worker spawn` that have no value; all others take the next word.
bool stands_alone(std::string_view flag) {
  return flag == "--no-wait" || flag == "--help" || flag == "-h" || flag.contains('=');
}

// What of `worker spawn` matters here: whether a backend is named, and the device.
Result<void> read_spawn(PoolCommand& command) {
  auto listen = take_once(command.words, "--listen");
  if (!listen) return fail(listen.error());
  bool named = false;
  for (std::size_t i = 2; i < command.words.size(); ++i) {
    const auto& word = command.words[i];
    if (word.starts_with("--gpu=")) command.gpu = word.substr(6);
    if (word == "--gpu" && i + 1 < command.words.size()) command.gpu = command.words[i + 1];
    if (!word.starts_with("-")) {
      named = true;
    } else if (!stands_alone(word)) {
      ++i;
    }
  }
  if (!named && !command.gpu.empty()) command.backend_missing_at = 2;
  command.spawns_for_itself = listen->empty();
  if (!listen->empty()) {
    // First, so that a `--` further back cannot make it a word of its own.
    command.words.insert(command.words.begin() + 2, {"--host", *listen});
    if (command.backend_missing_at != 0) command.backend_missing_at = 2;
  }
  return {};
}

Result<PoolRequest> read_install(const std::vector<std::string>& words, std::string host) {
  if (words.size() > 1) return refuse("'" + words[1] + "' is too much");
  if (host.empty()) {
    return refuse(words[0] + ": needs --host", "llorch pool " + words[0] + " --host HOST");
  }
  return InstallCommand{.host = std::move(host), .upgrade = words[0] == "upgrade"};
}

Result<PoolRequest> read_copy(std::vector<std::string> words, const std::string& host) {
  const char* const usage = "llorch pool models copy ID --from A --to B";
  const auto from = take_once(words, "--from");
  const auto to = take_once(words, "--to");
  if (!from) return fail(from.error());
  if (!to) return fail(to.error());
  if (!host.empty()) return refuse("models copy: takes --from and --to, not --host", usage);
  if (words.size() != 3 || words[2].starts_with("-"))
    return refuse("models copy: needs an id", usage);
  if (*from == *to) return refuse("models copy: needs two different hosts", usage);
  return CopyCommand{.model = words[2], .from = *from, .to = *to};
}

std::optional<std::uint64_t> whole_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (status != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

// Fields of one backend that decide.
struct Candidate {
  std::string name;
  bool available = false;
  std::uint64_t priority = 0;
  std::string reason;
  std::vector<std::uint64_t> devices;
};

Candidate candidate_of(const json::object& backend) {
  Candidate candidate{.name = text_field(backend, "name"), .reason = text_field(backend, "reason")};
  if (const auto* value = backend.if_contains("available"); value && value->is_bool()) {
    candidate.available = value->get_bool();
  }
  if (const auto* value = backend.if_contains("priority"); value && value->is_number()) {
    candidate.priority = value->to_number<std::uint64_t>();
  }
  const auto* const devices = backend.if_contains("devices");
  if (devices == nullptr || !devices->is_array()) return candidate;
  for (const auto& device : devices->get_array()) {
    const auto* const object = device.if_object();
    const auto* const index = object ? object->if_contains("index") : nullptr;
    if (index && index->is_int64() && index->get_int64() >= 0) {
      candidate.devices.push_back(static_cast<std::uint64_t>(index->get_int64()));
    }
  }
  return candidate;
}

Result<std::vector<Candidate>> candidates_of(std::string_view backends_json,
                                             std::string_view host) {
  const auto parsed = parse_json_object(backends_json);
  const auto* const list = parsed ? parsed->if_contains("backends") : nullptr;
  if (list == nullptr || !list->is_array()) {
    return fail(Code::internal, std::string(host) + ": its llorch-pool lists no backends",
                "name the backend: llorch pool worker spawn cuda …");
  }
  std::vector<Candidate> candidates;
  for (const auto& backend : list->get_array()) {
    if (const auto* object = backend.if_object()) candidates.push_back(candidate_of(*object));
  }
  std::ranges::stable_sort(candidates, {}, &Candidate::priority);
  return candidates;
}

}  // namespace

Result<PoolRequest> parse_pool_words(std::vector<std::string> words) {
  auto host = take_once(words, "--host");
  if (!host) return fail(host.error());
  const bool bare = words.empty() || words.front() == "--help" || words.front() == "-h";
  if (bare && (!words.empty() || host->empty())) return PoolHelp{};
  if (words.empty()) return refuse("what to do on " + *host + " is missing");
  if (std::ranges::find(groups(), words[0]) == groups().end()) {
    const auto near = nearest_word(words[0], groups());
    return refuse("'" + words[0] + "' is no command",
                  near.empty() ? help_hint : "did you mean 'llorch pool " + near + "'?");
  }
  const bool copies = words[0] == "models" && words.size() > 1 && words[1] == "copy";
  const bool installs = words[0] == "install" || words[0] == "upgrade";
  if ((copies || installs) && wants_help(words)) return PoolHelp{};
  if (installs) return read_install(words, std::move(*host));
  if (copies) return read_copy(std::move(words), *host);
  PoolCommand command{.host = std::move(*host), .words = std::move(words)};
  const bool spawns =
      command.words[0] == "worker" && command.words.size() > 1 && command.words[1] == "spawn";
  if (!spawns || wants_help(command.words)) return command;
  if (const auto read = read_spawn(command); !read) return fail(read.error());
  return command;
}

Result<std::string> choose_gpu_backend(std::string_view backends_json, std::string_view gpu,
                                       std::string_view host) {
  const std::string where(host);
  const auto index = whole_number(gpu);
  if (!index) return refuse("--gpu " + std::string(gpu) + ": want a whole number from 0");
  const auto candidates = candidates_of(backends_json, host);
  if (!candidates) return fail(candidates.error());
  std::string reasons;
  std::string devices;
  for (const auto& each : *candidates) {
    if (each.name == "cpu" || each.name.empty()) continue;
    if (!each.available) {
      reasons += (reasons.empty() ? "" : "; ") + each.name + ": " + each.reason;
      continue;
    }
    const bool has = std::ranges::find(each.devices, *index) != each.devices.end();
    if (has || (each.devices.empty() && *index == 0)) return each.name;
    devices +=
        (devices.empty() ? "" : ", ") + each.name + " has " + std::to_string(each.devices.size());
  }
  if (!devices.empty()) {
    return fail(Code::invalid_request,
                where + ": there is no GPU " + std::string(gpu) + " (" + devices + ")",
                "GPUs are counted from 0; see: llorch pool backends list");
  }
  return fail(
      Code::not_found,
      where + ": --gpu without a backend, and no GPU backend is available (" + reasons + ")",
      "llorch pool worker spawn cpu --model ID, or see: llorch pool doctor");
}

Result<std::string> choose_backend(std::string_view backends_json, std::string_view host) {
  const auto candidates = candidates_of(backends_json, host);
  if (!candidates) return fail(candidates.error());
  std::string reasons;
  for (const auto& each : *candidates) {
    if (each.available && !each.name.empty()) return each.name;
    reasons += (reasons.empty() ? "" : "; ") + each.name + ": " + each.reason;
  }
  return fail(Code::not_found, std::string(host) + ": no backend is available (" + reasons + ")",
              "llorch pool doctor");
}

const std::vector<std::string>& pool_words() {
  static const std::vector<std::string> words = [] {
    std::vector<std::string> all = groups();
    all.insert(all.end(),
               {"catalog", "download", "register",  "unregister", "info",     "verify",
                "delete",  "import",   "optimize",  "copy",       "spawn",    "list",
                "logs",    "test",     "stop",      "stop-all",   "cleanup",  "purge",
                "--host",  "--json",   "--model",   "--gpu",      "--listen", "--advertise",
                "--port",  "--slots",  "--no-wait", "--from",     "--to",     "--help"});
    return all;
  }();
  return words;
}

std::string_view pool_help() {
  return "Drives llorch-pool: on this machine, or with --host on another one over ssh.\n"
         "Usage: llorch pool COMMAND … [--host H]\n"
         "\n"
         "  models …              catalog, download, register, info, verify, delete, import, …\n"
         "  models copy ID --from A --to B   through this machine; one of both may be left out\n"
         "  worker …              spawn, list, logs, test, stop, stop-all, cleanup\n"
         "  backends list         what it can compute on\n"
         "  status, doctor, kv    as llorch-pool has them\n"
         "  install, upgrade      put this machine's programs into ~/.local/bin there\n"
         "\n"
         "  --host H              a [pools.NAME] of llorch.toml (see: llorch host --help), an "
         "alias\n"
         "                        of ~/.ssh/config, a host or USER@HOST; before or after COMMAND\n"
         "  --listen A            of worker spawn: the address to listen on there\n"
         "  --gpu N               of worker spawn without a backend: the GPU backend of that host\n"
         "\n"
         "ssh is never asked for a password: keys or an agent are needed. Ctrl-C reaches the "
         "command\n"
         "there. The exit code and --json are those of llorch-pool.\n"
         "\n"
         "Examples:\n"
         "  llorch pool status --host gpu-1\n"
         "  llorch pool models download qwen --host me@gpu-1\n"
         "  llorch pool worker spawn --gpu 0 --model qwen --host gpu-1\n"
         "  llorch pool worker logs worker-cuda-a1b2c3 -f --host gpu-1\n"
         "  llorch pool models catalog --json --host gpu-1 | jq '.models[].id'\n"
         "  llorch pool worker list\n";
}

}  // namespace llorch
