// Finds the route of a request and, when there is none, what to say instead. Pure.
// Threads: any; immutable.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace llorch {

enum class RouteId {
  execute,
  cancel,
  health,
  ready,
  metrics,
  shutdown,
  models,
  model,
  chat_completions,
  completions,
  embeddings,
  tokenize,
  detokenize,
};

struct Route {
  RouteId id;
  std::string_view method;
  std::string_view path;  // one that ends in '/' stands for all below it
  bool open = false;      // needs no token: probes of supervisors and scrapers
  bool openai = false;    // errors in OpenAI's shape
};

std::span<const Route> worker_routes();

struct RouteMatch {
  const Route* route = nullptr;  // null: refuse
  std::string allow = {};        // not empty: the path exists, with these methods (405)
  std::string near = {};         // else, a 404: the path that was probably meant; may be empty
};
RouteMatch find_route(std::string_view method, std::string_view path);

}  // namespace llorch
