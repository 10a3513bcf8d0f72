#include "remote/key_arguments.h"

#include <charconv>

#include "base/limits.h"

namespace llorch {
namespace {

using Kind = FleetCommand::Kind;

void declare_add(CLI::App& keys, FleetFlags& flags) {
  auto* const add =
      leaf(keys, flags, Kind::keys_add, "add", "Make a key and print it, this once",
           "  llorch keys add root --role admin\n"
           "  llorch keys add gpu-1 --role worker\n"
           "  llorch keys add ci --tenant acme --models qwen,phi3 --tokens-per-minute 60000 \\\n"
           "    --highest-priority batch --expires 30d\n");
  auto& key = flags.command.key;
  add->add_option("name", key.name, "Whom or what it is for")->required();
  add->add_option("--role", key.role, "admin, worker or client (default client)")
      ->check(CLI::IsMember({"admin", "worker", "client"}));
  add->add_option("--tenant", key.tenant, "whose jobs it sends and sees (default: the name)");
  add->add_option("--models", key.models, "only these, with commas (default: all)")->delimiter(',');
  add->add_option("--tokens-per-minute", key.tokens_per_minute, "prompts and answers; 0 = any (0)")
      ->check(CLI::Range(std::int64_t{0}, limits::key_tokens_per_minute_max));
  const auto priority = CLI::IsMember({"interactive", "batch"});
  add->add_option("--highest-priority", key.highest_priority, "interactive or batch (interactive)")
      ->check(priority);
  add->add_option("--default-priority", key.default_priority,
                  "of jobs that name none (default: the highest)")
      ->check(priority);
  add->add_option("--expires", flags.expires, "30d, 12h, 90m or 45s from now (default: never)");
  add->add_flag("--json", flags.command.json, "Print one JSON document");
}

}  // namespace

void declare_keys(CLI::App& app, FleetFlags& flags) {
  auto* const keys = app.add_subcommand("keys", "Who may use orchestratord, and how much");
  keys->require_subcommand(1);
  keys->footer(
      "Examples:\n  llorch keys add root --role admin\n  llorch keys add ci --tenant acme\n"
      "  llorch keys list\n");
  declare_add(*keys, flags);
  leaf(*keys, flags, Kind::keys_list, "list", "List the keys, without their secrets",
       "  llorch keys list\n  llorch keys list --json | jq '.keys[].name'\n")
      ->add_flag("--json", flags.command.json, "Print one JSON document");
  struct Row {
    const char* name;
    const char* description;
    Kind kind;
  };
  constexpr Row rows[] = {
      {"revoke", "Refuse a key from now on; its running answers end by themselves",
       Kind::keys_revoke},
      {"rotate", "Give a key a new secret and print it; the old one is refused",
       Kind::keys_rotate}};
  for (const auto& row : rows) {
    auto* const command = leaf(*keys, flags, row.kind, row.name, row.description,
                               std::string("  llorch keys ") + row.name + " k3v9x2m7q1ab\n");
    command->add_option("id", flags.command.id, "Its id, see llorch keys list")->required();
    command->add_flag("--json", flags.command.json, "Print one JSON document");
  }
}

std::optional<std::int64_t> seconds_of(std::string_view text) {
  std::int64_t count = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, status] = std::from_chars(text.data(), end, count);
  if (status != std::errc{} || end - stop > 1 || count < 1) return std::nullopt;
  constexpr std::int64_t minute = 60, hour = 60 * minute, day = 24 * hour;
  const char letter = stop == end ? 's' : *stop;
  const auto unit = letter == 's'   ? 1
                    : letter == 'm' ? minute
                    : letter == 'h' ? hour
                    : letter == 'd' ? day
                                    : 0;
  if (unit == 0 || count > limits::key_lifetime_s_max / unit) return std::nullopt;
  return count * unit;
}

Result<void> finish_keys(FleetFlags& flags) {
  if (flags.command.kind != Kind::keys_add || flags.expires.empty()) return {};
  flags.command.key.expires_in_s = seconds_of(flags.expires);
  if (flags.command.key.expires_in_s) return {};
  return fail(Code::invalid_request,
              "--expires: want 30d, 12h, 90m or 45s, ten years at most: " + flags.expires,
              "llorch keys add --help");
}

}  // namespace llorch
