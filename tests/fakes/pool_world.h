// A PoolContext over a temporary root: real files, made-up processes, web and time.
// Threads: one. Lifetime: one test.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "fakes/fake_clock.h"
#include "fakes/fake_process_runner.h"
#include "fakes/faulty_file_system.h"
#include "fakes/temporary_folder.h"
#include "pool/context.h"
#include "pool/sha256.h"

namespace llorch {

inline std::string sha256_of(const std::string& text) {
  Sha256 hash;
  hash.add(std::as_bytes(std::span(text)));
  return hash.finish();
}

// Pages by URL; everything else is unreachable.
class FakeHttp final : public Http {
 public:
  struct Page {
    long status = 200;
    std::map<std::string, std::string> headers;
    std::string body;
  };
  std::map<std::string, std::vector<Page>> pages;  // the last one stays
  std::vector<WebRequest> requests;
  struct Failure {
    Code code = Code::unreachable;
    bool nobody_there = false;
  };
  std::vector<Failure> failures;  // of the next requests, before any page is given

  Result<WebReply> fetch(const WebRequest& request, const Head& head, const Body& body) override {
    requests.push_back(request);
    nobody_there_ = false;
    if (!failures.empty()) {
      const Failure failure = failures.front();
      failures.erase(failures.begin());
      nobody_there_ = failure.nobody_there;
      return fail(failure.code, origin_of(request.url) + ": failed");
    }
    const auto found = pages.find(request.url);
    if (found == pages.end()) {
      nobody_there_ = true;
      return fail(Code::unreachable, origin_of(request.url) + ": connection refused");
    }
    const Page page = found->second.front();
    if (found->second.size() > 1) found->second.erase(found->second.begin());
    WebReply reply{.status = page.status, .headers = page.headers, .url = request.url};
    if (const auto seen = head(reply); !seen) return fail(seen.error());
    const auto taken = body(std::as_bytes(std::span(page.body)));
    if (!taken) return fail(taken.error());
    return reply;
  }
  bool nobody_there() const override { return nobody_there_; }

 private:
  bool nobody_there_ = false;
};

struct PoolWorld {
  TemporaryFolder folder;
  FaultyFileSystem files;
  FakeProcessRunner processes;
  FakeHttp http;
  FakeClock clock;
  std::map<std::string, std::string> environment;
  std::vector<std::string> said;
  std::int64_t waited_ms = 0;
  int interrupted = 0;
  PoolContext context{.files = files,
                      .processes = processes,
                      .http = http,
                      .clock = clock,
                      .root = {folder.path()},
                      .settings = {},
                      .host = {.name = "attic",
                               .system = "Linux",
                               .memory_total_bytes = 16'000'000'000,
                               .memory_available_bytes = 12'000'000'000,
                               .cores = 8,
                               .open_files_max = 20'000},
                      .program_folder = "/opt/llorch/bin",
                      .environment = [this](const char* name) -> std::optional<std::string> {
                        const auto found = environment.find(name);
                        return found == environment.end() ? std::nullopt
                                                          : std::optional(found->second);
                      },
                      .wait =
                          [this](std::int64_t ms) {
                            waited_ms += ms;
                            clock.advance(std::chrono::milliseconds(ms));
                          },
                      .interrupted = [this] { return interrupted; },
                      .say = [this](const std::string& line) { said.push_back(line); },
                      .draw = [](const std::string&) {},
                      .messages = {}};
};

}  // namespace llorch
