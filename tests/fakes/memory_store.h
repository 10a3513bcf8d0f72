// A store that forgets: the second backend of the conformance suite, and what tests of the
// orchestrator use. Everything happens inside the call, unless `hold` is set.
// Threads: one.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "store/store.h"

namespace llorch {

class MemoryStore final : public Store {
 public:
  // Asked before each write; an error is what it then gives, and nothing changes.
  std::function<std::optional<Error>(const StoreWrite&)> fault;
  // While set, writes are done by release() and flush() only, in order.
  bool hold = false;
  void release();

  Result<void> write(StoreWrite write, Done done) override;
  Result<void> read(Read task) override;
  Result<void> flush() override;

 private:
  struct Waiting {
    StoreWrite write;
    Done done;
  };
  class Reader;
  struct Apply;
  void apply(const StoreWrite& write, const Done& done);

  std::map<std::string, StoredWorker> workers_;
  std::map<std::string, StoredKey> keys_;
  std::vector<StoredJob> jobs_;  // in the order of insertion
  std::map<std::string, std::string> frames_;
  std::vector<DecisionRow> decisions_;  // numbered from 1
  std::deque<Waiting> waiting_;
};

}  // namespace llorch
