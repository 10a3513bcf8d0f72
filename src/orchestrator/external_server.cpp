#include "orchestrator/external_server.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace llorch {
namespace {

constexpr std::string_view version_path = "/v1";
constexpr std::size_t name_bytes_max = 64;  // of a server; it stands in ids, lists and logs

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= name_bytes_max &&
         std::ranges::all_of(
             name, [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_'; });
}

// A model's name goes into our ids and paths.
bool is_model(std::string_view name) {
  constexpr std::size_t model_bytes_max = 256;
  return !name.empty() && name.size() <= model_bytes_max &&
         std::ranges::none_of(name, [](unsigned char c) { return std::iscntrl(c) != 0; });
}

std::unexpected<Error> refuse(const ExternalSettings& server, const std::string& why,
                              std::string next) {
  return fail(Code::invalid_request, "settings: [[external]] " + server.name + ": " + why,
              std::move(next));
}

Result<ExternalServer> external_server(const ExternalSettings& told) {
  const std::string file = "edit [[external]] in llorch.toml";
  if (!is_name(told.name)) return refuse(told, "its name must be 1..64 of A-Z a-z 0-9 _ -", file);
  auto url = net::parse_url(told.url);
  if (!url) return refuse(told, "its url: " + url.error().message, file);
  if (url->target.find('?') != std::string::npos) return refuse(told, "its url has a query", file);
  while (url->target.ends_with('/')) url->target.pop_back();
  if (url->target.ends_with(version_path)) {
    url->target.resize(url->target.size() - version_path.size());
  }
  if (!told.key_env.empty() && !told.key) {
    return refuse(told, "its key_env names " + told.key_env + ", which is not set",
                  "set " + told.key_env + ", or remove key_env");
  }
  const auto key = told.key.value_or("");
  const bool printable =
      std::ranges::all_of(key, [](unsigned char c) { return std::isgraph(c) != 0; });
  if (!printable) return refuse(told, told.key_env + " holds no key", "set it to the key alone");
  for (const auto& [ours, theirs] : told.models) {
    if (!is_model(ours) || !is_model(theirs)) {
      return refuse(told, "a model's name must have 1..256 printable bytes", file);
    }
  }
  return ExternalServer{.name = told.name,
                        .base = std::move(*url),
                        .key_env = told.key_env,
                        .key = key,
                        .slots = told.slots,
                        .fallback = told.fallback,
                        .models = told.models};
}

}  // namespace

Result<std::vector<ExternalServer>> external_servers(
    const std::vector<ExternalSettings>& settings) {
  std::vector<ExternalServer> servers;
  for (const auto& told : settings) {
    auto server = external_server(told);
    if (!server) return fail(server.error());
    servers.push_back(std::move(*server));
  }
  return servers;
}

std::string external_id(const ExternalServer& server, std::string_view model) {
  return server.name + ":" + std::string(model);
}

Registration external_registration(const ExternalServer& server, const std::string& model) {
  Registration entry;
  entry.worker_id = external_id(server, model);
  entry.host = server.base.host;
  entry.port = server.base.port;
  entry.pool_host = server.name;
  entry.model = model;
  entry.backend = "external";
  entry.slots_total = server.slots;
  // No "execute": a task's events are token by token, with ids, and can go on elsewhere.
  entry.capabilities = {"chat", "completions", "embeddings"};
  entry.instance_id = entry.worker_id;
  return entry;
}

net::Url external_url(const ExternalServer& server, std::string_view path) {
  auto url = server.base;
  url.target += path;
  return url;
}

net::HttpRequest external_request(const ExternalServer& server, std::string_view method) {
  net::HttpRequest request;
  request.method = method;
  if (!server.key.empty()) request.headers.add("Authorization", "Bearer " + server.key);
  return request;
}

}  // namespace llorch
