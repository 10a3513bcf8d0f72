#include "pool/http.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <curl/curl.h>

#include "base/version.h"
#include "pool/text.h"

namespace llorch {
namespace {

constexpr int redirects_max = 10;

bool is_redirect(long status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

// One exchange: what libcurl's C callbacks fill and ask.
struct Exchange {
  WebReply reply;
  const Http::Head& head;
  const Http::Body& body;
  bool head_shown = false;
  std::optional<Error> refused;  // by head or body

  bool ask(const Result<void>& answer) {
    if (!answer) refused = answer.error();
    return answer.has_value();
  }
  bool show_head() {
    if (head_shown) return true;
    head_shown = true;
    return ask(head(reply));
  }
};

std::size_t take_header(char* bytes, std::size_t size, std::size_t count, void* pointer) {
  auto& exchange = *static_cast<Exchange*>(pointer);
  const std::string_view line(bytes, size * count);
  if (line.starts_with("HTTP/")) {
    exchange.reply.headers.clear();  // of a 100 Continue before it
    const auto space = line.find(' ');
    const auto code = trim(line.substr(std::min(space, line.size()))).substr(0, 3);
    std::from_chars(code.data(), code.data() + code.size(), exchange.reply.status);
  } else if (const auto colon = line.find(':'); colon != line.npos) {
    exchange.reply.headers[lower(trim(line.substr(0, colon)))] = trim(line.substr(colon + 1));
  }
  return size * count;
}

std::size_t take_body(char* bytes, std::size_t size, std::size_t count, void* pointer) {
  auto& exchange = *static_cast<Exchange*>(pointer);
  if (is_redirect(exchange.reply.status)) return size * count;  // a page for people
  if (!exchange.show_head()) return 0;
  const auto piece = std::as_bytes(std::span(bytes, size * count));
  return exchange.ask(exchange.body(piece)) ? size * count : 0;
}

Error transfer_error(CURLcode code, const std::string& url, const std::string& detail) {
  const std::string why = detail.empty() ? curl_easy_strerror(code) : detail;
  const bool slow = code == CURLE_OPERATION_TIMEDOUT;
  const bool bad_url = code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL;
  const Code ours = bad_url ? Code::invalid_request : slow ? Code::timeout : Code::unreachable;
  return {.code = ours, .message = origin_of(url) + ": " + why};
}

class CurlHttp final : public Http {
 public:
  ~CurlHttp() override {
    if (handle_ == nullptr) return;
    curl_easy_cleanup(handle_);
    curl_global_cleanup();
  }

  Result<WebReply> fetch(const WebRequest& request, const Head& head, const Body& body) override {
    open();
    std::string url = request.url;
    for (int hop = 0; hop <= redirects_max; ++hop) {
      Exchange exchange{.reply = {.url = url}, .head = head, .body = body};
      const auto done = perform(request, url, exchange);
      if (!done) return fail(done.error());
      if (!is_redirect(exchange.reply.status)) {
        if (!exchange.show_head()) return fail(*exchange.refused);
        return exchange.reply;
      }
      char* next = nullptr;
      curl_easy_getinfo(handle_, CURLINFO_REDIRECT_URL, &next);
      if (next == nullptr) return fail(Code::unreachable, origin_of(url) + ": redirect to nowhere");
      const std::string target = next;
      if (url.starts_with("https:") && !target.starts_with("https:")) {
        return fail(Code::unreachable, origin_of(url) + ": redirects from https to " + target);
      }
      url = target;
    }
    return fail(Code::unreachable, origin_of(request.url) + ": more than 10 redirects");
  }

  bool nobody_there() const override { return nobody_there_; }

 private:
  // At the first request: most commands make none, and libcurl's start takes milliseconds.
  void open() {
    if (handle_ != nullptr) return;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    handle_ = curl_easy_init();
    assert(handle_ != nullptr);
  }

  Result<void> perform(const WebRequest& request, const std::string& url, Exchange& exchange) {
    curl_easy_reset(handle_);  // keeps the connections
    char detail[CURL_ERROR_SIZE] = "";
    const auto set = [&](CURLoption option, auto value) {
      [[maybe_unused]] const auto code = curl_easy_setopt(handle_, option, value);
      assert(code == CURLE_OK);
    };
    const std::string agent = "llorch-pool/" + std::string(version());
    set(CURLOPT_ERRORBUFFER, detail);
    set(CURLOPT_NOSIGNAL, 1L);
    set(CURLOPT_PROTOCOLS_STR, "http,https");
    set(CURLOPT_USERAGENT, agent.c_str());
    set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request.connect_ms));
    set(CURLOPT_TIMEOUT_MS, static_cast<long>(request.total_ms));
    set(CURLOPT_LOW_SPEED_LIMIT, 1L);
    set(CURLOPT_LOW_SPEED_TIME, static_cast<long>((request.stall_ms + 999) / 1000));
    set(CURLOPT_HEADERFUNCTION, &take_header);
    set(CURLOPT_HEADERDATA, &exchange);
    set(CURLOPT_WRITEFUNCTION, &take_body);
    set(CURLOPT_WRITEDATA, &exchange);
    if (request.direct) set(CURLOPT_PROXY, "");
    if (request.method != "GET") {
      set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
      set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      set(CURLOPT_POSTFIELDS, request.body.data());
    }
    // The last option, and checked by perform itself: a URL from a user may be no URL.
    curl_easy_setopt(handle_, CURLOPT_URL, url.c_str());

    curl_slist* headers = nullptr;
    for (const auto& header : request.headers) headers = curl_slist_append(headers, header.c_str());
    if (!request.bearer.empty() && origin_of(url) == origin_of(request.url)) {
      headers = curl_slist_append(headers, ("Authorization: Bearer " + request.bearer).c_str());
    }
    set(CURLOPT_HTTPHEADER, headers);
    const CURLcode code = curl_easy_perform(handle_);
    curl_slist_free_all(headers);
    curl_off_t connected_us = 0;
    curl_easy_getinfo(handle_, CURLINFO_PRETRANSFER_TIME_T, &connected_us);
    // Nobody there within the limit is no slow answer: the next source is asked.
    const bool silent = code == CURLE_OPERATION_TIMEDOUT && connected_us == 0;
    nobody_there_ = silent || code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT ||
                    code == CURLE_COULDNT_RESOLVE_PROXY;
    if (exchange.refused) return fail(*exchange.refused);
    if (code == CURLE_OK) return {};
    auto error = transfer_error(code, url, detail);
    if (silent) error.code = Code::unreachable;
    return fail(error);
  }

  CURL* handle_ = nullptr;
  bool nobody_there_ = false;
};

}  // namespace

std::optional<std::string> WebReply::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::nullopt : std::optional(found->second);
}

Result<Http::Page> Http::get(const WebRequest& request, std::size_t bytes_max) {
  Page page;
  const auto head = [](const WebReply&) { return Result<void>{}; };
  const auto body = [&](std::span<const std::byte> bytes) -> Result<void> {
    if (page.body.size() + bytes.size() > bytes_max) {
      return fail(Code::too_large, origin_of(request.url) + ": reply larger than " +
                                       std::to_string(bytes_max) + " bytes");
    }
    page.body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  };
  auto reply = fetch(request, head, body);
  if (!reply) return fail(reply.error());
  page.reply = std::move(*reply);
  return page;
}

std::unique_ptr<Http> make_http() {
  return std::make_unique<CurlHttp>();
}

std::string origin_of(std::string_view url) {
  const auto scheme_end = url.find("://");
  if (scheme_end == url.npos) return lower(url);
  const auto end = url.find_first_of("/?#", scheme_end + 3);
  std::string origin = lower(url.substr(0, end));
  // user:password@ names no host
  const auto at = origin.rfind('@');
  if (at != origin.npos && at > scheme_end + 2) {
    origin.erase(scheme_end + 3, at + 1 - (scheme_end + 3));
  }
  return origin;
}

std::optional<std::int64_t> retry_delay_ms(int attempt, const WebReply& reply) {
  if (const auto told = reply.header("retry-after")) {
    std::int64_t seconds = 0;
    const auto [end, status] = std::from_chars(told->data(), told->data() + told->size(), seconds);
    // A date instead of seconds is rare: the ordinary backoff then.
    if (status == std::errc{} && end == told->data() + told->size() && seconds >= 0) {
      if (seconds > limits::retry_after_ms_max / 1000) return std::nullopt;
      return seconds * 1000;
    }
  }
  return 500LL << std::clamp(attempt - 1, 0, 5);
}

}  // namespace llorch
