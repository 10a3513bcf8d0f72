#include "engine/prefix_cache.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/limits.h"

namespace llorch {

PrefixCache::Match PrefixCache::filled(std::int64_t shared, Entries::ConstPlace at) {
  return {.shared = shared, .tokens = at->first.size(), .state = at->second.state.view()};
}

PrefixCache::Match PrefixCache::find(const std::string& scope,
                                     std::span<const Token> prompt) const {
  const auto near = entries_.nearest({scope, {prompt.begin(), prompt.end()}});
  return near.shared == 0 ? Match{} : filled(near.shared, near.at);
}

PrefixCache::Match PrefixCache::use(const std::string& scope, std::span<const Token> prompt,
                                    SteadyTime now) {
  const auto near = entries_.nearest({scope, {prompt.begin(), prompt.end()}});
  if (near.shared == 0) return {};
  near.at->second.used_at = now;
  return filled(near.shared, near.at);
}

void PrefixCache::put(const std::string& scope, std::vector<Token> tokens, KvState state,
                      SteadyTime now) {
  if (tokens.empty() || !could_keep(state.size + tokens.size() * sizeof(Token))) return;
  Entries::Key key{scope, std::move(tokens)};
  const auto near = entries_.nearest(key);
  if (near.shared > 0) {
    if (near.shared == key.size()) {  // nothing new
      near.at->second.used_at = now;
      return;
    }
    if (near.shared == near.at->first.size()) erase(near.at);
  }
  bytes_ += state.size + key.tokens.size() * sizeof(Token);
  make_room(entries_.add(std::move(key), {std::move(state), now}), now);
}

void PrefixCache::make_room(Entries::Place but, SteadyTime now) {
  auto& all = entries_.entries();
  while (bytes_ > bytes_max_ || all.size() > limits::kv_snapshots_max) {
    auto least = all.end();
    double least_worth = 0;
    for (auto at = all.begin(); at != all.end(); ++at) {
      if (at == but) continue;
      const double value = worth(at, now);
      if (least == all.end() || value < least_worth) {
        least = at;
        least_worth = value;
      }
    }
    erase(least);
  }
}

void PrefixCache::erase(Entries::Place at) {
  bytes_ -= at->second.state.size + at->first.tokens.size() * sizeof(Token);
  entries_.erase(at);
}

double PrefixCache::worth(Entries::Place at, SteadyTime now) {
  const auto own = static_cast<double>(at->first.size() - entries_.held_by_others(at));
  const double age_s = std::chrono::duration<double>(now - at->second.used_at).count();
  return own / (1 + age_s);
}

std::vector<KvSnapshot> PrefixCache::all() const {
  std::vector<Entries::ConstPlace> places;
  for (auto at = entries_.entries().begin(); at != entries_.entries().end(); ++at) {
    places.push_back(at);
  }
  std::ranges::sort(places, std::greater{}, [](auto at) { return at->second.used_at; });
  std::vector<KvSnapshot> out;
  for (const auto at : places) {
    out.push_back({at->first.scope, at->first.tokens, at->second.state});
  }
  return out;
}

}  // namespace llorch
