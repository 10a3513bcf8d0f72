// What a server does with peers that are too slow, too large or too many.
#include <gtest/gtest.h>
#include <string>
#include <sys/resource.h>
#include <vector>

#include "net/server.h"
#include "net/testing.h"

namespace llorch::net {
namespace {

using std::chrono::milliseconds;
using testing::get;
using testing::Loopback;
using testing::patience;
using testing::Peer;
using testing::until;

Task<void> answer_size(Exchange& exchange) {
  HttpResponse response{200, {}, std::to_string(exchange.request().body.size())};
  const auto sent = co_await exchange.reply(std::move(response));
  static_cast<void>(sent);
}

ServerOptions small() {
  ServerOptions options;
  options.body_bytes_max = 100'000;
  options.head_read_ms = 150;
  options.body_read_ms = 150;
  options.keep_alive_ms = 150;
  return options;
}

// Everything the server says to a peer that says `said` and then nothing more.
std::string hear(Loopback& at, const std::string& said) {
  std::string heard;
  at.run([&]() -> Task<void> {
    Peer peer(at.io);
    co_await peer.connect(at.port);
    co_await peer.send(said);
    heard = co_await peer.read_all();
  });
  return heard;
}

// promise R10: slowloris
// clause: W-41
TEST(SlowPeers, AreToldAndClosedAtTheirDeadline) {
  struct Case {
    const char* name;
    std::string said;
    std::string begins;  // of the last reply
    std::uint64_t timeouts;
  };
  const Case cases[] = {
      {"says nothing", "", "", 0},
      {"half a head", "GET / HT", "HTTP/1.1 408 ", 1},
      {"half a body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 408 ",
       1},
      {"half a chunk", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
       "HTTP/1.1 408 ", 1},
      {"idle after a reply", get("/"), "HTTP/1.1 200 ", 0},
  };
  for (const auto& [name, said, begins, timeouts] : cases) {
    SCOPED_TRACE(name);
    Loopback at(answer_size, small());
    const std::string heard = hear(at, said);
    EXPECT_TRUE(heard.starts_with(begins)) << heard;
    EXPECT_EQ(heard.empty(), begins.empty()) << heard;
    EXPECT_EQ(at.server->counters().timeouts, timeouts);
  }
}

// clause: W-41
TEST(SlowPeers, CannotStretchAHeadByOneByteAtATime) {
  Loopback at(answer_size, small());
  std::string heard;
  at.run([&]() -> Task<void> {
    Peer peer(at.io);
    co_await peer.connect(at.port);
    TaskGroup group(at.io.get_executor());
    bool cut = false;
    const auto drip = [&]() -> Task<void> {
      const std::string byte = "G";
      while (!cut) {
        const auto [error, sent] =
            co_await asio::async_write(peer.socket(), asio::buffer(byte), as_result);
        cut = error || sent == 0;
        co_await sleep_for(milliseconds(10));
      }
    };
    group.spawn(drip());
    heard = co_await peer.read_until("}}");
    co_await group.join();
  });
  EXPECT_TRUE(heard.starts_with("HTTP/1.1 408 ")) << heard;
}

// A deadline that passes while a read has just completed ended no read, and was lost for ever: the
// connection of a peer that fell silent then stayed open.
// clause: W-41
TEST(SlowPeers, AreToldEvenWhenTheDeadlineComesBetweenTwoReads) {
  Loopback at(answer_size, small());
  std::string heard;
  at.run([&]() -> Task<void> {
    Peer peer(at.io);
    co_await peer.connect(at.port);
    co_await peer.send(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
    const std::string interim = co_await peer.read_until("\r\n\r\n");
    EXPECT_EQ(interim, "HTTP/1.1 100 Continue\r\n\r\n");
    // More than one read takes, so that the second completes at once; and the loop is held up until
    // the deadline is due as well.
    const std::string most(99'999, 'b');
    const std::size_t sent = peer.socket().write_some(asio::buffer(most));
    EXPECT_GT(sent, 80'000U);
    const auto due = std::chrono::steady_clock::now() + milliseconds(500);
    while (std::chrono::steady_clock::now() < due) continue;
    heard = co_await peer.read_until("}}");
  });
  EXPECT_TRUE(heard.starts_with("HTTP/1.1 408 ")) << heard;
}

// clause: W-14
TEST(LargeRequests, AreRefusedAndTheRefusalCanBeRead) {
  const std::string post = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
  const std::string largest(100'000, 'b');
  struct Case {
    const char* name;
    std::string said;
    std::string begins, ends;
  };
  const Case cases[] = {
      {"largest body", post + "Content-Length: 100000\r\n\r\n" + largest, "HTTP/1.1 200 ",
       "\r\n\r\n100000"},
      {"largest chunked body",
       post + "Transfer-Encoding: chunked\r\n\r\n186A0\r\n" + largest + "\r\n0\r\n\r\n",
       "HTTP/1.1 200 ", "\r\n\r\n100000"},
      {"one byte over", post + "Content-Length: 100001\r\n\r\n" + largest + "b", "HTTP/1.1 413 ",
       "}}"},
      {"one byte over in chunks",
       post + "Transfer-Encoding: chunked\r\n\r\n186A1\r\n" + largest + "b\r\n0\r\n\r\n",
       "HTTP/1.1 413 ", "}}"},
      {"a length nobody sends", post + "Content-Length: 18446744073709551615\r\n\r\nbbb",
       "HTTP/1.1 413 ", "}}"},
      {"head", get("/", "A: " + std::string(20'000, 'a') + "\r\n"), "HTTP/1.1 431 ", "}}"},
  };
  for (const auto& [name, said, begins, ends] : cases) {
    SCOPED_TRACE(name);
    Loopback at(answer_size, small());
    std::string heard;
    at.run([&]() -> Task<void> {
      Peer peer(at.io);
      co_await peer.connect(at.port);
      co_await peer.send(said);
      heard = co_await peer.read_until(ends);
      peer.close();
    });
    EXPECT_TRUE(heard.starts_with(begins)) << heard;
    EXPECT_TRUE(heard.ends_with(ends)) << heard;
  }
}

// Each of 16 000 connections could have 8 MiB on its way.
// clause: E-4
TEST(LargeRequests, TogetherHaveALimitPastWhichOneMoreHears503) {
  const std::string head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
  const std::string sized = head + "Content-Length: 100000\r\n\r\n";
  const std::string chunked = head + "Transfer-Encoding: chunked\r\n\r\n186A0\r\n";
  const std::string body(100'000, 'b');
  ServerOptions options;
  options.received_max = 150'000;
  Loopback at(answer_size, options);
  const auto hear_more = [&](std::string said) -> Task<std::string> {
    Peer peer(at.io);
    co_await peer.connect(at.port);
    co_await peer.send(std::move(said));
    std::string heard = co_await peer.read_all();
    co_return heard;
  };
  at.run([&]() -> Task<void> {
    Peer first(at.io);
    co_await first.connect(at.port);
    co_await first.send(sized + body.substr(1));
    const auto begun = [&] { return at.server->counters().bytes_receiving == 100'000; };
    co_await until(begun);
    for (const std::string& said : {sized + body, chunked + body + "\r\n0\r\n\r\n"}) {
      const std::string refused = co_await hear_more(said);
      EXPECT_TRUE(refused.starts_with("HTTP/1.1 503 ")) << refused;
      EXPECT_NE(refused.find("Retry-After: 1\r\n"), refused.npos) << refused;
    }
    co_await first.send("b");
    const std::string whole = co_await first.read_all();
    EXPECT_TRUE(whole.ends_with("\r\n\r\n100000")) << whole;
    const std::string next = co_await hear_more(sized + body);
    EXPECT_TRUE(next.starts_with("HTTP/1.1 200 ")) << next;
  });
  EXPECT_EQ(at.server->counters().bytes_receiving, 0U);
}

TEST(LargeRequests, AreRefusedBeforeTheyAreSentWhenTheyAsk) {
  Loopback at(answer_size, small());
  const std::string heard = hear(
      at, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_TRUE(heard.starts_with("HTTP/1.1 413 ")) << heard;
}

// clause: E-4
TEST(Connections, OverTheLimitHear503ButOnTheSparedPathAndLeaveNoTrace) {
  ServerOptions options;
  options.connections_max = 2;
  options.spared_path = "/health";
  Loopback at(answer_size, options);
  at.run([&]() -> Task<void> {
    Peer first(at.io), second(at.io), third(at.io), fourth(at.io), spared(at.io);
    co_await first.connect(at.port);
    co_await second.connect(at.port);
    co_await third.connect(at.port);
    co_await third.send(get("/"));
    const std::string heard = co_await third.read_until("}}");
    EXPECT_TRUE(heard.starts_with("HTTP/1.1 503 ")) << heard;
    EXPECT_NE(heard.find("Retry-After: 1\r\n"), heard.npos);
    EXPECT_NE(heard.find(R"("code":"NO_WORKER")"), heard.npos) << heard;
    co_await spared.connect(at.port);
    co_await spared.send(get("/health"));
    const std::string health = co_await spared.read_all();
    EXPECT_TRUE(health.starts_with("HTTP/1.1 200 ")) << health;
    spared.close();
    third.close();
    second.close();
    const auto freed = [&] { return at.server->counters().connections_open == 1; };
    co_await until(freed);
    co_await fourth.connect(at.port);
    co_await fourth.send(get("/"));
    const std::string served = co_await fourth.read_until("\r\n\r\n0");
    EXPECT_TRUE(served.starts_with("HTTP/1.1 200 ")) << served;
  });
  EXPECT_EQ(at.server->counters().connections_refused, 2U);
}

// Lowers the limit of open files to what is open now.
class NoMoreFiles {
 public:
  NoMoreFiles() {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const int lowest_free = ::dup(0);
    ::close(lowest_free);
    const rlimit tight{static_cast<rlim_t>(lowest_free), before_.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &tight);
  }
  ~NoMoreFiles() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST(Accept, PausesWhenOutOfFilesAndGoesOn) {
  Loopback at(answer_size);
  at.run([&]() -> Task<void> {
    Peer peer(at.io);
    peer.socket().open(tcp::v4());
    {
      const NoMoreFiles tight;
      co_await peer.connect(at.port);
      const auto failed = [&] { return at.server->counters().accept_errors > 0; };
      co_await until(failed);
      // It pauses instead of spinning: these turns of the loop add at most one more error.
      for (int turn = 0; turn < 20; ++turn) co_await sleep_for(milliseconds(1));
      EXPECT_LE(at.server->counters().accept_errors, 3U);
    }
    co_await peer.send(get("/"));
    const std::string served = co_await peer.read_until("\r\n\r\n0");
    EXPECT_TRUE(served.starts_with("HTTP/1.1 200 ")) << served;
  });
}

// A handler that is held until the test lets it go.
struct Gate {
  std::unique_ptr<Event> open;
  bool left = false;
  Task<void> serve(Exchange& exchange) {
    exchange.on_disconnect([this] {
      left = true;
      open->ring();
    });
    co_await open->wait();
    co_await answer_size(exchange);
  }
};

// contract: architecture: up to 16 KiB of a next request is kept, more closes
TEST(Pipelining, KeepsSixteenKibOfTheNextRequestAndCutsAtMore) {
  struct Case {
    const char* name;
    std::size_t bytes;
    bool cut;
  };
  for (const auto& [name, bytes, cut] : {Case{"16 KiB", 16 * limits::kib, false},
                                         Case{"one byte more", 16 * limits::kib + 1, true}}) {
    SCOPED_TRACE(name);
    Gate gate;
    Loopback at([&](Exchange& exchange) { return gate.serve(exchange); });
    gate.open = std::make_unique<Event>(at.io.get_executor());
    at.run([&]() -> Task<void> {
      Peer peer(at.io);
      co_await peer.connect(at.port);
      co_await peer.send(get("/"));
      const auto begun = [&] { return at.server->counters().requests == 1; };
      co_await until(begun);
      const std::string head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n";
      co_await peer.send(head + std::string(bytes - head.size(), 'b'));
      if (cut) {
        const std::string nothing = co_await peer.read_all();
        EXPECT_TRUE(nothing.empty() || nothing == "(reset)") << nothing;
        co_return;
      }
      gate.open->ring();
      const std::string first = co_await peer.read_until("\r\n\r\n0");
      EXPECT_TRUE(first.starts_with("HTTP/1.1 200 ")) << first;
      co_await peer.send(std::string(20'000 + head.size() - bytes, 'b'));
      const auto again = [&] { return at.server->counters().requests == 2; };
      co_await until(again);
      gate.open->ring();
      const std::string second = co_await peer.read_until("\r\n\r\n20000");
      EXPECT_TRUE(second.ends_with("\r\n\r\n20000")) << second;
    });
    EXPECT_EQ(gate.left, cut);
  }
}

TEST(HttpServer, SurvivesPeersThatResetAtAnyByte) {
  Loopback at(answer_size);
  const std::string said =
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcdePOST / HTTP/1.1\r\n";
  at.run([&]() -> Task<void> {
    for (std::size_t size = 0; size <= said.size(); ++size) {
      Peer peer(at.io);
      co_await peer.connect(at.port);
      co_await peer.send(said.substr(0, size));
      size % 2 == 0 ? peer.reset() : peer.close();
    }
    const auto closed = [&] { return at.server->counters().connections_open == 0; };
    co_await until(closed);
    const auto reply = co_await at.fetch("/");
    EXPECT_TRUE(reply);
  });
}

}  // namespace
}  // namespace llorch::net
