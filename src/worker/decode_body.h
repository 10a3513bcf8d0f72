// Decodes a request's body without holding up the streams of others: large ones on a thread of
// their own. Threads: the io thread.
#pragma once

#include <string>
#include <string_view>

#include "base/limits.h"
#include "worker/await_reply.h"
#include "worker/call.h"

namespace llorch {

template <class T>
Task<Result<T>> decode_body(Call& call, Result<T> (*decode)(std::string_view)) {
  const auto& body = call.exchange.request().body;
  if (body.size() <= limits::decode_inline_bytes_max) co_return decode(body);
  // A copy: the request may be gone before the thread is done.
  const std::function<Result<T>()> work = [body, decode] { return decode(body); };
  co_return co_await run_on<T>(call.exchange.executor(), call.service.decoder(), work);
}

}  // namespace llorch
