// Someone else's OpenAI-compatible server as a member of the fleet: what the settings say of it,
// and how each of its models is entered in the registry. Pure values.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/settings.h"
#include "net/client.h"
#include "protocol/worker_api.h"

namespace llorch {

struct ExternalServer {
  std::string name;
  net::Url base;        // its target is the prefix of every path, without the final "/v1"
  std::string key_env;  // where the key comes from, for messages
  std::string key;      // empty: it wants none
  std::int32_t slots = 1;
  bool fallback = false;
  std::map<std::string, std::string> models;  // our name → its own
};

// Errors: invalid_request with what is wrong in which [[external]].
Result<std::vector<ExternalServer>> external_servers(const std::vector<ExternalSettings>& settings);

// "lab:qwen". Workers of ours have no colon in their ids, so the two never meet.
std::string external_id(const ExternalServer& server, std::string_view model);
// The entry of one of its models, by our name for it.
Registration external_registration(const ExternalServer& server, const std::string& model);
// `path`: "/v1/models"
net::Url external_url(const ExternalServer& server, std::string_view path);
net::HttpRequest external_request(const ExternalServer& server, std::string_view method);

}  // namespace llorch
