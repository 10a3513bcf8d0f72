// Decodes a request's body without holding up the streams of others: large ones on a thread of
// their own, a bounded number of them. Threads: the io thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/limits.h"
#include "net/await_reply.h"
#include "worker/call.h"

namespace llorch {

// Takes the body out of the request: while a job streams, nothing holds its text any more.
// Errors: those of `decode`; queue_full when too many large bodies wait for the thread.
template <class T>
Task<Result<T>> decode_body(Call& call, Result<T> (*decode)(std::string_view)) {
  // Shared: the work is copied on its way to the thread, and may outlive the request.
  const auto body = std::make_shared<const std::string>(
      std::exchange(call.exchange.request().body, std::string()));
  if (body->size() <= limits::decode_inline_bytes_max) co_return decode(*body);
  const auto place = call.service.admit_decode();
  if (!place) co_return fail(place.error());
  const std::function<Result<T>()> work = [body, decode] { return decode(*body); };
  co_return co_await run_on<T>(call.exchange.executor(), call.service.decoder(), work);
}

}  // namespace llorch
