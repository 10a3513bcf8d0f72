// Requests with the same key one after another: a request that is being decided may still be
// refused, and its key is then free for the next.
// Threads: the io thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "net/event.h"

namespace llorch {

class KeyTurns {
  struct State {
    Executor executor;
    std::map<std::string, std::shared_ptr<net::Event>> taken;
  };

 public:
  // From take() until it is destroyed.
  class Turn {
   public:
    Turn(std::shared_ptr<State> state, std::string key)
        : state_(std::move(state)), key_(std::move(key)) {}
    ~Turn() {
      const auto taken = state_->taken.extract(key_);
      taken.mapped()->ring();
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    const std::shared_ptr<State> state_;
    const std::string key_;
  };

  explicit KeyTurns(Executor executor)
      : state_(std::make_shared<State>(State{std::move(executor), {}})) {}

  // Resolves when nobody else has that key. Null: the key is empty, and needs no turn.
  Task<std::unique_ptr<Turn>> take(std::string key) {
    if (key.empty()) co_return nullptr;
    const auto state = state_;
    for (auto at = state->taken.find(key); at != state->taken.end(); at = state->taken.find(key)) {
      const auto bell = at->second;
      co_await bell->wait();
    }
    state->taken.emplace(key, std::make_shared<net::Event>(state->executor));
    co_return std::make_unique<Turn>(state, std::move(key));
  }

 private:
  std::shared_ptr<State> state_;
};

}  // namespace llorch
