#include "engine/prefix_cache.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "base/limits.h"

namespace llorch {

std::int64_t shared_tokens(std::span<const Token> a, std::span<const Token> b) {
  return std::ranges::mismatch(a, b).in1 - a.begin();
}

// Where the key would stand, the entry before or the one after shares most with it.
PrefixCache::Entries::const_iterator PrefixCache::nearest(const Key& key,
                                                          std::int64_t& shared) const {
  shared = 0;
  auto best = entries_.end();
  const auto look = [&](Entries::const_iterator at) {
    if (at->first.scope != key.scope) return;
    const auto tokens = shared_tokens(key.tokens, at->first.tokens);
    if (tokens <= shared) return;
    shared = tokens;
    best = at;
  };
  const auto after = entries_.lower_bound(key);
  if (after != entries_.end()) look(after);
  if (after != entries_.begin()) look(std::prev(after));
  return best;
}

PrefixCache::Match PrefixCache::filled(Match match, Entries::const_iterator at) {
  match.tokens = static_cast<std::int64_t>(at->first.tokens.size());
  match.state = at->second.state.view();
  return match;
}

PrefixCache::Match PrefixCache::find(const std::string& scope,
                                     std::span<const Token> prompt) const {
  Match match;
  const auto at = nearest({scope, {prompt.begin(), prompt.end()}}, match.shared);
  if (at == entries_.end()) return {};
  return filled(match, at);
}

PrefixCache::Match PrefixCache::use(const std::string& scope, std::span<const Token> prompt,
                                    SteadyTime now) {
  Match match;
  const auto at = nearest({scope, {prompt.begin(), prompt.end()}}, match.shared);
  if (at == entries_.end()) return {};
  entries_.find(at->first)->second.used_at = now;
  return filled(match, at);
}

void PrefixCache::put(const std::string& scope, std::vector<Token> tokens, KvState state,
                      SteadyTime now) {
  if (tokens.empty() || !could_keep(state.size + tokens.size() * sizeof(Token))) return;
  Key key{scope, std::move(tokens)};
  std::int64_t shared = 0;
  const auto near = nearest(key, shared);
  if (near != entries_.end()) {
    const auto same = entries_.find(near->first);
    if (shared == static_cast<std::int64_t>(key.tokens.size())) {  // nothing new
      same->second.used_at = now;
      return;
    }
    if (shared == static_cast<std::int64_t>(same->first.tokens.size())) erase(same);
  }
  bytes_ += state.size + key.tokens.size() * sizeof(Token);
  const auto added = entries_.emplace(std::move(key), Entry{std::move(state), now}).first;
  while (bytes_ > bytes_max_ || entries_.size() > limits::kv_snapshots_max) {
    auto least = entries_.end();
    double least_worth = 0;
    for (auto at = entries_.begin(); at != entries_.end(); ++at) {
      if (at == added) continue;
      const double value = worth(at, now);
      if (least == entries_.end() || value < least_worth) {
        least = at;
        least_worth = value;
      }
    }
    erase(least);
  }
}

void PrefixCache::erase(Entries::iterator at) {
  bytes_ -= at->second.state.size + at->first.tokens.size() * sizeof(Token);
  entries_.erase(at);
}

double PrefixCache::worth(Entries::iterator at, SteadyTime now) {
  std::int64_t held_by_others = 0;
  const auto look = [&](Entries::iterator other) {
    if (other->first.scope != at->first.scope) return;
    held_by_others = std::max(held_by_others, shared_tokens(at->first.tokens, other->first.tokens));
  };
  if (at != entries_.begin()) look(std::prev(at));
  if (std::next(at) != entries_.end()) look(std::next(at));
  const auto own =
      static_cast<double>(at->first.tokens.size()) - static_cast<double>(held_by_others);
  const double age_s = std::chrono::duration<double>(now - at->second.used_at).count();
  return own / (1 + age_s);
}

}  // namespace llorch
