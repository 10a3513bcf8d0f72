// llorch pool models copy: a model's files from one pool to another, through this machine.
#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <utility>

#include "console/json_output.h"
#include "console/progress.h"
#include "pool/catalog.h"
#include "protocol/json_parse.h"
#include "remote/pool_command.h"
#include "remote/reply_fields.h"

namespace llorch {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::string_view send_file = R"(exec cat <"$1")";
// $1 the folder, $2 the name. Whole before it has its name; prints how many bytes came.
constexpr std::string_view take_file = R"(umask 022; mkdir -p "$1" && cat >"$1/$2.part" && )"
                                       R"(wc -c <"$1/$2.part")";
constexpr std::string_view name_file = R"(mv -f "$1/$2.part" "$1/$2")";
constexpr std::string_view drop_file = R"(rm -f "$1/$2.part")";

// A pool at one end of a copy: this machine's, or one over ssh.
class Place {
 public:
  static Result<Place> open(const PoolDriver& driver, const std::string& name) {
    Place place(driver, name);
    if (name.empty()) return place;
    auto host = find_pool_host(driver.settings, name);
    if (!host) return fail(host.error());
    place.host_ = driver.connect(std::move(*host));
    return place;
  }

  const std::string& name() const { return name_; }

  // What llorch-pool prints there. Its own refusal becomes an error with its words.
  Result<std::string> pool(const std::vector<std::string>& words, std::int64_t limit_ms) const {
    RemoteOutcome outcome;
    if (host_) {
      auto ran = host_->run(words, {.limit_ms = limit_ms});
      if (!ran) return fail(ran.error());
      outcome = std::move(*ran);
    } else {
      RunRequest request{.argv = {local_pool(*driver_)},
                         .limit_ms = limit_ms,
                         .output_bytes_max = limits::ssh_output_bytes_max};
      request.argv.insert(request.argv.end(), words.begin(), words.end());
      auto ran = driver_->processes.run(request);
      if (!ran) return fail(ran.error());
      outcome = {ran->exit_status, std::move(ran->out), std::move(ran->err)};
    }
    if (outcome.exit_status == 0) return std::move(outcome.out);
    const std::string_view said = outcome.err;
    const auto line = said.substr(0, said.find('\n'));
    const std::string_view label = "error: ";
    return fail(
        Code::internal,
        fmt::format("{}: {}", name_, line.starts_with(label) ? line.substr(label.size()) : line),
        "llorch pool doctor" + (host_ ? " --host " + name_ : std::string{}));
  }

  // The command line of a script there.
  Result<std::vector<std::string>> script(std::string_view text,
                                          const std::vector<std::string>& arguments) const {
    if (host_) return host_->script_argv(text, arguments);
    std::vector<std::string> argv = {"sh", "-c", std::string(text), "llorch"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return argv;
  }

 private:
  Place(const PoolDriver& driver, const std::string& name)
      : driver_(&driver), name_(name.empty() ? "this machine" : name) {}

  const PoolDriver* driver_;
  std::string name_;
  std::unique_ptr<SshHost> host_;
};

// What a catalog says of one model.
struct Model {
  bool downloaded = false;
  std::string sha256;
  std::uint64_t size_bytes = 0;
  std::vector<fs::path> files;  // absolute
};

struct Listing {
  fs::path root;
  Model model;
};

Model model_of(const json::object& entry, const fs::path& root) {
  Model model{.sha256 = text_field(entry, "sha256")};
  const auto* const downloaded = entry.if_contains("downloaded");
  model.downloaded = downloaded && downloaded->is_bool() && downloaded->get_bool();
  const auto* const size = entry.if_contains("size_bytes");
  if (size && size->is_int64() && size->get_int64() > 0) {
    model.size_bytes = static_cast<std::uint64_t>(size->get_int64());
  }
  const fs::path first = root / text_field(entry, "path");
  model.files.push_back(first);
  const auto* const extra = entry.if_contains("extra_files");
  if (extra == nullptr || !extra->is_array()) return model;
  for (const auto& name : extra->get_array()) {
    if (name.is_string()) {
      model.files.push_back(first.parent_path() / std::string(name.get_string()));
    }
  }
  return model;
}

Result<Listing> list_model(const Place& place, const std::string& id) {
  const auto text = place.pool({"models", "catalog", "--json"}, limits::ssh_answer_ms);
  if (!text) return fail(text.error());
  const auto parsed = parse_json_object(*text, limits::ssh_output_bytes_max);
  const auto* const models = parsed ? parsed->if_contains("models") : nullptr;
  if (models == nullptr || !models->is_array()) {
    return fail(Code::internal, place.name() + ": its catalog cannot be read");
  }
  Listing listing{.root = text_field(*parsed, "root")};
  for (const auto& each : models->get_array()) {
    const auto* const entry = each.if_object();
    if (entry && text_field(*entry, "id") == id) listing.model = model_of(*entry, listing.root);
  }
  return listing;
}

// A registered file has no sha256 until it is verified: then its size has to do.
bool is_same(const Model& a, const Model& b) {
  const bool hashed = !a.sha256.empty() && !b.sha256.empty();
  return hashed ? a.sha256 == b.sha256 : a.size_bytes == b.size_bytes;
}

// Names from a catalog of another machine: they become names of files here or there.
bool is_file_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.front() != '-' && name.size() <= 255 &&
         std::ranges::none_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

// The number that `wc -c` prints, on macOS behind blanks.
std::optional<std::uint64_t> count_of(std::string_view text) {
  text = text.substr(std::min(text.find_first_not_of(' '), text.size()));
  std::uint64_t count = 0;
  const auto [stop, status] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (status != std::errc{} || std::string_view(stop, text.data() + text.size()) != "\n") {
    return std::nullopt;
  }
  return count;
}

class Copying {
 public:
  Copying(const PoolDriver& driver, const CopyCommand& command, const Place& from, const Place& to)
      : driver_(driver), command_(command), from_(from), to_(to) {}

  Result<int> run() {
    const std::string& id = command_.model;
    const auto there = list_model(from_, id);
    if (!there) return fail(there.error());
    const auto& model = there->model;
    if (!model.downloaded) {
      return fail(Code::model_not_found, from_.name() + ": has no downloaded model " + id,
                  "llorch pool models catalog" + flag(command_.from));
    }
    const auto target = list_model(to_, id);
    if (!target) return fail(target.error());
    if (target->model.downloaded && is_same(target->model, model)) {
      print_text(fmt::format("{} is on {} already\n", id, to_.name()));
      return exit_ok;
    }
    if (target->model.downloaded) {
      return fail(Code::conflict, to_.name() + ": has another model " + id,
                  "llorch pool models delete " + id + flag(command_.to));
    }
    const fs::path folder = target->root / ".test-models" / id;
    for (const auto& file : model.files) {
      if (const auto copied = copy(file, folder); !copied) return fail(copied.error());
    }
    return enter(folder / model.files.front().filename(), model);
  }

 private:
  static std::string flag(const std::string& host) {
    return host.empty() ? std::string{} : " --host " + host;
  }

  // One process of this machine, over a pipeline of scripts at their places.
  Result<RunOutcome> pipeline(const std::vector<std::vector<std::string>>& commands) {
    std::string line;
    for (const auto& argv : commands) {
      line += line.empty() ? "" : " |";
      for (const auto& word : argv) {
        const auto quoted = quote_for_shell(word);
        if (!quoted) return fail(quoted.error());
        line += " " + *quoted;
      }
    }
    return driver_.processes.run({.argv = {"sh", "-c", line}, .limit_ms = limits::ssh_copy_ms});
  }

  Result<RunOutcome> at(const Place& place, std::string_view script,
                        const std::vector<std::string>& arguments) {
    const auto argv = place.script(script, arguments);
    if (!argv) return fail(argv.error());
    return pipeline({*argv});
  }

  Result<std::uint64_t> size_of(const fs::path& file) {
    const auto counted = at(from_, R"(wc -c <"$1")", {file.string()});
    if (!counted) return fail(counted.error());
    const auto bytes = counted->exit_status == 0 ? count_of(counted->out) : std::nullopt;
    if (bytes) return *bytes;
    return fail(Code::not_found, from_.name() + ": " + file.string() + " cannot be read",
                "llorch pool models verify " + command_.model + flag(command_.from));
  }

  Result<void> copy(const fs::path& file, const fs::path& folder) {
    const std::string name = file.filename().string();
    if (!is_file_name(name)) {
      return fail(Code::invalid_request, from_.name() + ": a file of the model has a bad name");
    }
    const auto bytes = size_of(file);
    if (!bytes) return fail(bytes.error());
    write_to_stderr()(fmt::format("copying {}, {}, from {} to {}\n", name, human_bytes(*bytes),
                                  from_.name(), to_.name()));
    const std::vector<std::string> place = {folder.string(), name};
    const auto source = from_.script(send_file, {file.string()});
    const auto sink = to_.script(take_file, place);
    if (!source) return fail(source.error());
    if (!sink) return fail(sink.error());
    const auto ran = pipeline({*source, *sink});
    if (!ran) return fail(ran.error());
    const bool whole = ran->exit_status == 0 && !ran->timed_out && count_of(ran->out) == *bytes;
    if (!whole) {
      (void)at(to_, drop_file, place);
      const auto why = ran->err.substr(0, ran->err.find('\n'));
      return fail(Code::unreachable,
                  fmt::format("{}: {} did not arrive whole: {}", to_.name(), name,
                              why.empty() ? "the connection ended" : why),
                  "check room and rights there, then try again");
    }
    const auto named = at(to_, name_file, place);
    if (!named) return fail(named.error());
    if (named->exit_status == 0) return {};
    return fail(Code::internal, to_.name() + ": " + name + " cannot get its name");
  }

  // The sha256 of what lies there, read again.
  Result<std::string> hash_of(const Place& place) const {
    const auto text =
        place.pool({"models", "verify", command_.model, "--json"}, limits::ssh_install_ms);
    if (!text) return fail(text.error());
    const auto parsed = parse_json_object(*text);
    return parsed ? text_field(*parsed, "sha256") : std::string{};
  }

  // Into the catalog there, where it is the same.
  Result<int> enter(const fs::path& first, const Model& model) {
    const auto entered = to_.pool({"models", "register", first.string(), "--as", command_.model},
                                  limits::ssh_install_ms);
    if (!entered) return fail(entered.error());
    const auto wanted = model.sha256.empty() ? hash_of(from_) : model.sha256;
    if (!wanted) return fail(wanted.error());
    const auto got = hash_of(to_);
    if (!got) return fail(got.error());
    if (got->empty() || *got != *wanted) {
      return fail(Code::conflict, to_.name() + ": what arrived has another sha256",
                  "llorch pool models delete " + command_.model + flag(command_.to));
    }
    print_text(fmt::format("{} is on {}\n", command_.model, to_.name()));
    return exit_ok;
  }

  const PoolDriver& driver_;
  const CopyCommand& command_;
  const Place& from_;
  const Place& to_;
};

}  // namespace

Result<int> run_copy(const PoolDriver& driver, const CopyCommand& command) {
  if (!is_model_id(command.model)) {
    return fail(Code::invalid_request, "'" + command.model.substr(0, 80) + "': is no model id",
                "llorch pool models catalog" +
                    (command.from.empty() ? std::string{} : " --host " + command.from));
  }
  const auto from = Place::open(driver, command.from);
  if (!from) return fail(from.error());
  const auto to = Place::open(driver, command.to);
  if (!to) return fail(to.error());
  return Copying(driver, command, *from, *to).run();
}

}  // namespace llorch
