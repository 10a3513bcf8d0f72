// What each write of the store is in SQL. Threads: the writer's; inside a transaction of its.
#pragma once

#include "base/result.h"
#include "store/database.h"
#include "store/store.h"

namespace llorch {

struct Applied {
  bool more = false;   // the same write must be applied again: it was done in part
  bool ended = false;  // a body was deleted, and is still in the write-ahead log
};

// Errors: those of the write, after which it changed nothing and the transaction goes on; and the
// store's (see is_refusal), after which the transaction must be rolled back.
Result<Applied> apply_write(Database& database, const StoreWrite& write);

// Whether an error is about the one write, not about the database.
bool is_refusal(const Error& error);

// The rules both backends share, checked before anything is touched. Errors: invalid_request,
// too_large.
Result<void> check_write(const StoreWrite& write);

}  // namespace llorch
