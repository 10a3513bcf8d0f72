#include "net/client.h"

#include <boost/asio/ip/tcp.hpp>
#include <gtest/gtest.h>
#include <optional>
#include <vector>

#include "net/testing.h"

namespace llorch::net {
namespace {

using std::chrono::milliseconds;
using testing::patience;
using testing::Peer;
using testing::run_on;

using Script = std::vector<std::string>;

// A server that gives each connection its next script: what it answers to each head it reads.
// A connection whose script is used up is closed; "(hold)" keeps it open in silence.
struct Scripted {
  explicit Scripted(std::initializer_list<Script> connections)
      : scripts(connections), acceptor(io, tcp::endpoint(tcp::v4(), 0)) {
    tasks.spawn(accept());
  }
  Task<void> accept() {
    for (const Script& script : scripts) {
      auto [error, socket] = co_await acceptor.async_accept(as_result);
      if (error) co_return;
      ++accepted;
      tasks.spawn(talk(std::move(socket), script));
    }
  }
  Task<void> talk(tcp::socket socket, Script script) {
    Peer peer(std::move(socket));
    for (const std::string& line : script) {
      const std::string head = co_await peer.read_until("\r\n\r\n");
      closed_by_client = head.empty();
      if (closed_by_client) co_return;
      heads.push_back(head);
      if (line == "(reset)") co_return peer.reset();
      if (line == "(hold)") {
        const std::string rest = co_await peer.read_all();
        co_return;
      }
      co_await peer.send(line);
    }
  }
  // Runs `body` to its end, then everything else to its own.
  void run(std::function<Task<void>()> body) {
    run_on(io, std::move(body));
    client.close_idle();
    tasks.cancel();
    acceptor.close();
    io.restart();
    io.run_for(patience);
  }
  Task<Result<HttpResponse>> send(HttpRequest request) {
    return client.fetch(url(), std::move(request), patience);
  }
  Task<Result<HttpResponse>> fetch(std::string method = "GET", milliseconds deadline = patience) {
    HttpRequest request;
    request.method = std::move(method);
    return client.fetch(url(), std::move(request), deadline);
  }
  Task<Result<std::unique_ptr<ResponseStream>>> open() {
    return client.open(url(), HttpRequest(), patience);
  }
  Url url() { return {"http", "127.0.0.1", acceptor.local_endpoint().port(), "/a?b"}; }

  asio::io_context io{1};
  std::vector<Script> scripts;
  tcp::acceptor acceptor;
  TaskGroup tasks{io.get_executor()};
  HttpClient client{io};
  int accepted = 0;
  std::vector<std::string> heads;
  bool closed_by_client = false;
};

const std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

TEST(HttpClient, ReadsEveryWayABodyEnds) {
  struct Case {
    const char* name;
    std::string said;
    std::optional<std::string> body;  // nullopt: unreachable
  };
  const Case cases[] = {
      {"length", ok, "ok"},
      {"interim replies first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n" + ok,
       "ok"},
      {"chunked",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", "ok"},
      {"until close", "HTTP/1.1 200 OK\r\n\r\nok", "ok"},
      {"1.0 until close", "HTTP/1.0 200 OK\r\n\r\nok", "ok"},
      {"none", "HTTP/1.1 204 No Content\r\n\r\n", ""},
      {"cut length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", std::nullopt},
      {"cut chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
       std::nullopt},
      {"cut head", "HTTP/1.1 200 OK\r\nContent-", std::nullopt},
      {"broken chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", std::nullopt},
      {"not HTTP", "SSH-2.0-OpenSSH\r\n\r\n", std::nullopt},
  };
  for (const auto& [name, said, body] : cases) {
    SCOPED_TRACE(name);
    Scripted at({Script{said}});
    at.run([&]() -> Task<void> {
      const auto reply = co_await at.fetch();
      EXPECT_EQ(reply.has_value(), body.has_value());
      if (reply) {
        EXPECT_EQ(reply->body, *body);
      } else {
        EXPECT_EQ(reply.error().code, Code::unreachable);
      }
    });
    EXPECT_EQ(at.accepted, 1);
  }
}

TEST(HttpClient, SaysHostTargetAndLength) {
  Scripted at({Script{ok}});
  const std::string port = std::to_string(at.url().port);
  at.run([&]() -> Task<void> {
    HttpRequest request;
    request.method = "POST";
    request.headers = {{"X", "y"}};
    const auto reply = co_await at.send(std::move(request));
    EXPECT_TRUE(reply);
  });
  EXPECT_EQ(at.heads.at(0), "POST /a?b HTTP/1.1\r\nHost: 127.0.0.1:" + port +
                                "\r\nAccept: */*\r\nX: y\r\nContent-Length: 0\r\n\r\n");
}

TEST(HttpClient, RefusesToWriteABrokenHead) {
  Scripted at({});
  at.run([&]() -> Task<void> {
    HttpRequest request;
    request.headers = {{"X", "y\r\nZ: z"}};
    const auto reply = co_await at.send(std::move(request));
    EXPECT_EQ(reply.error().code, Code::invalid_request);
  });
}

TEST(HttpClient, UsesAConnectionAgainWhileItIsGood) {
  Scripted at({Script{ok, ok, ok}});
  at.run([&]() -> Task<void> {
    for (int n = 0; n < 3; ++n) {
      const auto reply = co_await at.fetch();
      EXPECT_TRUE(reply);
    }
  });
  EXPECT_EQ(at.accepted, 1);
}

TEST(HttpClient, RepeatsOnAFreshConnectionOnlyWhatMayBeRepeated) {
  struct Case {
    const char* name;
    const char* method;
    std::string answer;  // of the kept connection, to the second request
    bool repeated;
  };
  const Case cases[] = {
      {"GET", "GET", "(reset)", true},
      {"DELETE", "DELETE", "(reset)", true},
      {"POST may have been carried out", "POST", "(reset)", false},
      {"GET that was half answered", "GET", "HTTP/1.1 2", false},
  };
  for (const auto& [name, method, answer, repeated] : cases) {
    SCOPED_TRACE(name);
    Scripted at({Script{ok, answer}, Script{ok}});
    at.run([&]() -> Task<void> {
      const auto first = co_await at.fetch();
      EXPECT_TRUE(first);
      const auto second = co_await at.fetch(method);
      EXPECT_EQ(second.has_value(), repeated);
      EXPECT_EQ(second ? Code::unreachable : second.error().code, Code::unreachable);
    });
    EXPECT_EQ(at.accepted, repeated ? 2 : 1);
  }
}

TEST(HttpClient, RepeatsNothingThatFailedOnAFreshConnection) {
  Scripted at({Script{"(reset)"}, Script{ok}});
  at.run([&]() -> Task<void> {
    const auto reply = co_await at.fetch();
    EXPECT_FALSE(reply);
  });
  EXPECT_EQ(at.accepted, 1);
}

TEST(HttpClient, DoesNotUseAConnectionThatItsServerHasClosed) {
  Scripted at({Script{ok}, Script{ok}});
  at.run([&]() -> Task<void> {
    const auto first = co_await at.fetch("POST");
    EXPECT_TRUE(first);
    co_await sleep_for(milliseconds(20));  // loopback delivers the end of file well before
    const auto second = co_await at.fetch("POST");
    EXPECT_TRUE(second);
  });
  EXPECT_EQ(at.accepted, 2);
}

TEST(HttpClient, KeepsToItsDeadlines) {
  struct Case {
    const char* name;
    std::string said;
  };
  for (const auto& [name, said] :
       {Case{"no head", "(hold)"}, Case{"half a head", "HTTP/1.1 200"},
        Case{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"}}) {
    SCOPED_TRACE(name);
    Scripted at({Script{said, "(hold)"}});
    at.run([&]() -> Task<void> {
      const auto reply = co_await at.fetch("GET", milliseconds(150));
      EXPECT_EQ(reply.error().code, Code::timeout);
    });
  }
}

TEST(HttpClient, SaysThatNobodyListens) {
  Scripted at({});
  const Url url = at.url();
  at.acceptor.close();
  at.run([&]() -> Task<void> {
    const auto reply = co_await at.client.fetch(url, HttpRequest(), patience);
    EXPECT_EQ(reply.error().code, Code::unreachable);
    const std::string where = "127.0.0.1:" + std::to_string(url.port);
    EXPECT_NE(reply.error().message.find(where), std::string::npos) << reply.error().message;
  });
}

TEST(HttpClient, RefusesRepliesOverItsLimit) {
  Scripted at({Script{ok}});
  ClientOptions options;
  options.response_bytes_max = 1;
  HttpClient narrow(at.io, options);
  at.run([&]() -> Task<void> {
    const Url url = at.url();
    const auto reply = co_await narrow.fetch(url, HttpRequest(), patience);
    EXPECT_EQ(reply.error().code, Code::too_large);
  });
}

TEST(ResponseStream, EndsCleanlyAgainAndAgain) {
  Scripted at({Script{ok}});
  at.run([&]() -> Task<void> {
    const auto stream = co_await at.open();
    EXPECT_EQ((*stream)->status(), 200U);
    EXPECT_EQ((*stream)->headers().find("content-length"), "2");
    for (const char* want : {"ok", "", ""}) {
      const auto bytes = co_await (*stream)->read(patience);
      EXPECT_EQ(bytes.value_or("?"), want);
    }
  });
}

TEST(ResponseStream, ReadsBehindWhatIsThereAlready) {
  Scripted at(
      {Script{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
              "4\r\n two\r\n0\r\n\r\n"}});
  at.run([&]() -> Task<void> {
    const auto stream = co_await at.open();
    std::string all = "zero ";
    for (std::size_t got = 1; got > 0;) {
      const auto read = co_await (*stream)->read_onto(all, patience);
      EXPECT_TRUE(read);
      got = read.value_or(0);
    }
    EXPECT_EQ(all, "zero one two");
  });
}

TEST(ResponseStream, AnEmptyBodyIsNotWaitedFor) {
  Scripted at({Script{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "(hold)"}});
  at.run([&]() -> Task<void> {
    const auto stream = co_await at.open();
    std::string all;
    const auto read = co_await (*stream)->read_onto(all, milliseconds(150));
    EXPECT_EQ(read.value_or(1), 0U);
  });
}

// clause: O-53
TEST(HttpClient, AnAbortBeforeTheHeadClosesTheConnection) {
  Scripted at({Script{"", "(hold)"}});
  at.run([&]() -> Task<void> {
    Abort abort;
    const auto abort_soon = [&]() -> Task<void> {
      co_await sleep_for(milliseconds(1));
      abort.now();
    };
    TaskGroup group(at.io.get_executor());
    group.spawn(abort_soon());
    HttpRequest request;
    const auto stream = co_await at.client.open(at.url(), request, patience, &abort);
    EXPECT_EQ(stream.error().code, Code::unreachable);
    const auto never = co_await at.client.open(at.url(), request, patience, &abort);
    EXPECT_EQ(never.error().code, Code::unreachable) << "aborted before it began";
    co_await group.join();
  });
  EXPECT_TRUE(at.closed_by_client);
}

TEST(ResponseStream, TimesOutOnSilenceAndStaysBroken) {
  Scripted at({Script{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", "(hold)"}});
  at.run([&]() -> Task<void> {
    const auto stream = co_await at.open();
    const auto bytes = co_await (*stream)->read(patience);
    EXPECT_EQ(bytes.value_or("?"), "ab");
    const auto late = co_await (*stream)->read(milliseconds(100));
    EXPECT_EQ(late.error().code, Code::timeout);
    const auto again = co_await (*stream)->read(patience);
    EXPECT_EQ(again.error().code, Code::timeout);
  });
}

TEST(ResponseStream, CloseEndsAReadInProgressAndTheServerSeesIt) {
  Scripted at({Script{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", "(hold)"}});
  at.run([&]() -> Task<void> {
    const auto stream = co_await at.open();
    const auto close_soon = [&]() -> Task<void> {
      co_await sleep_for(milliseconds(1));
      (*stream)->close();
    };
    const auto first = co_await (*stream)->read(patience);
    EXPECT_TRUE(first);
    TaskGroup group(at.io.get_executor());
    group.spawn(close_soon());
    const auto bytes = co_await (*stream)->read(patience);
    EXPECT_EQ(bytes.error().code, Code::unreachable);
    co_await group.join();
    (*stream)->close();
  });
  EXPECT_TRUE(at.closed_by_client);
}

}  // namespace
}  // namespace llorch::net
