#include "net/server.h"

#include <gtest/gtest.h>
#include <vector>

#include "net/event.h"
#include "net/testing.h"

namespace llorch::net {
namespace {

using std::chrono::milliseconds;
using testing::get;
using testing::Loopback;
using testing::patience;
using testing::Peer;
using testing::until;

// /echo answers what it got; /stream streams its body in three writes.
Task<void> serve_plainly(Exchange& exchange) {
  const HttpRequest& request = exchange.request();
  if (request.path == "/throw") throw std::runtime_error("a defect");
  if (request.path == "/silent") co_return;
  if (request.path == "/bad-header") {
    HttpResponse response{200, {{"X", "a\r\nY: b"}}, "x"};
    const auto sent = co_await exchange.reply(std::move(response));
    EXPECT_EQ(sent.error().code, Code::internal);
    co_return;
  }
  if (request.path != "/stream") {
    HttpResponse response{200, {{"X-Query", request.query}}, request.method + " " + request.body};
    const auto sent = co_await exchange.reply(std::move(response));
    static_cast<void>(sent);
    co_return;
  }
  auto sent = co_await exchange.begin_stream(200, {});
  for (const char* part : {"one ", "", "two ", "three"}) {
    if (sent) sent = co_await exchange.write(part);
  }
  if (sent) sent = co_await exchange.end_stream();
}

TEST(HttpServer, AnswersEachConversationByteForByte) {
  struct Case {
    const char* name;
    std::string said;
    std::vector<std::string> heard;  // parts, in this order
    const char* end;                 // the last bytes
  };
  const std::string bye = get("/bye", "Connection: close\r\n");
  const Case cases[] = {
      {"request",
       get("/a?b", "Connection: close\r\n"),
       {"HTTP/1.1 200 OK\r\nDate: ", "X-Query: b\r\n", "Content-Length: 4\r\n",
        "Connection: close\r\n\r\n"},
       "\r\n\r\nGET "},
      {"pipelined",
       "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" + get("/") + bye,
       {"200 OK", "Connection: keep-alive\r\nKeep-Alive: timeout=75\r\n", "POST abc", "200 OK",
        "GET ", "200 OK", "Connection: close\r\n\r\n"},
       "\r\n\r\nGET "},
      {"empty line between",
       "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na\r\n" + bye,
       {"POST a", "200 OK"},
       "\r\n\r\nGET "},
      {"chunked body",
       "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
       "Connection: close\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
       {"200 OK"},
       "\r\n\r\nPUT abcde"},
      {"stream",
       get("/stream", "Connection: close\r\n"),
       {"Transfer-Encoding: chunked\r\n", "Connection: close\r\n\r\n"},
       "\r\n\r\n4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\n\r\n"},
      {"stream, then a request", get("/stream") + bye, {"0\r\n\r\nHTTP/1.1 200 OK"}, "GET "},
      {"stream in 1.0",
       "GET /stream HTTP/1.0\r\n\r\n",
       {"200 OK", "Connection: close"},
       "\r\n\r\none two three"},
      {"1.0", "GET / HTTP/1.0\r\n\r\n", {"Connection: close"}, "GET "},
      {"1.0 kept",
       "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + bye,
       {"Connection: keep-alive\r\n", "GET ", "Connection: close\r\n"},
       "GET "},
      {"HEAD",
       "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
       {"Content-Length: 5\r\n"},
       "close\r\n\r\n"},
      {"HEAD of a stream",
       "HEAD /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
       {"200 OK"},
       "close\r\n\r\n"},
      {"throws",
       get("/throw") + bye,
       {"500 Internal", R"({"error":{"code":"INTERNAL","message":"the request could not)",
        "200 OK"},
       "GET "},
      {"silent", get("/silent") + bye, {"500", "was not answered", "200 OK"}, "GET "},
      {"bad header", get("/bad-header") + bye, {"500 ", "200 OK"}, "GET "},
      {"bad framing",
       "GET / HTTP/1.1\r\nHost : x\r\n\r\n" + bye,
       {"HTTP/1.1 400 Bad Request", "Connection: close", "a header name is not a token"},
       "}}"},
      {"http 2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {"HTTP/1.1 505 "}, "}}"},
  };
  for (const auto& [name, said, heard, end] : cases) {
    SCOPED_TRACE(name);
    for (const bool byte_by_byte : {false, true}) {
      Loopback at(serve_plainly);
      std::string reply;
      at.run([&]() -> Task<void> {
        Peer peer(at.io);
        co_await peer.connect(at.port);
        const std::size_t slice = byte_by_byte ? 1 : said.size();
        for (std::size_t sent = 0; sent < said.size(); sent += slice) {
          std::string bytes = said.substr(sent, slice);
          // Past a refusal the server may have closed already.
          const auto [gone, size] =
              co_await asio::async_write(peer.socket(), asio::buffer(bytes), as_result);
          if (gone || size == 0) break;
        }
        reply = co_await peer.read_all();
      });
      std::size_t from = 0;
      for (const std::string& part : heard) {
        const std::size_t found = reply.find(part, from);
        ASSERT_NE(found, reply.npos) << part << "\nnot in\n" << reply;
        from = found + part.size();
      }
      EXPECT_TRUE(reply.ends_with(end)) << reply;
    }
  }
}

// llama-server closes a connection after each streamed reply, which costs its clients one
// connection a request.
// clause: W-39
TEST(HttpServer, KeepsAConnectionAfterAStreamedReply) {
  Loopback at(serve_plainly);
  at.run([&]() -> Task<void> {
    for (int n = 0; n < 500; ++n) {
      const auto reply = co_await at.fetch("/stream");
      if (!reply || reply->body != "one two three") {
        ADD_FAILURE() << n;
        co_return;
      }
    }
  });
  EXPECT_EQ(at.server->counters().connections_accepted, 1U);
  EXPECT_EQ(at.server->counters().requests, 500U);
}

TEST(HttpServer, AnswersExpectContinueBeforeTheBody) {
  Loopback at(serve_plainly);
  at.run([&]() -> Task<void> {
    Peer peer(at.io);
    co_await peer.connect(at.port);
    co_await peer.send(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    const std::string interim = co_await peer.read_until("\r\n\r\n");
    EXPECT_EQ(interim, "HTTP/1.1 100 Continue\r\n\r\n");
    co_await peer.send("ab");
    const std::string reply = co_await peer.read_until("POST ab");
    EXPECT_TRUE(reply.ends_with("POST ab"));
  });
}

// Refusals made here had no correlation id and one shape for all routes.
// clause: E-2, E-5
TEST(HttpServer, RefusalsHaveTheHeadersAndTheBodyTheProgramGivesForTheirRequest) {
  ServerOptions options;
  options.body_bytes_max = 10;
  options.body_read_ms = 100;
  options.refusal = [](const RefusedRequest& refused) {
    HttpResponse response{0, {{"X-Given", "yes"}}, {}};
    response.body = "<" + std::string(wire_name(refused.code)) + " " + refused.request.path + " " +
                    std::string(refused.request.headers.find("X-Id").value_or("none")) + ">";
    return response;
  };
  struct Case {
    const char* name;
    std::string said;
    const char* begins;
    const char* ends;
  };
  const std::string post = "POST /a?b HTTP/1.1\r\nHost: x\r\nX-Id: 7\r\n";
  const Case cases[] = {
      {"no HTTP", "nonsense\r\n\r\n", "HTTP/1.1 400 ", "<INVALID_REQUEST / none>"},
      {"a bad head", "GET /a?b HTTP/1.1\r\nX-Id: 7\r\n\r\n", "HTTP/1.1 400 ",
       "<INVALID_REQUEST /a none>"},
      {"a control byte", std::string("GET /a?b HTTP/1.1\r\nA: \0", 23), "HTTP/1.1 400 ",
       "<INVALID_REQUEST /a none>"},
      {"a large body", post + "Content-Length: 11\r\n\r\n", "HTTP/1.1 413 ", "<TOO_LARGE /a 7>"},
      {"a bad chunk", post + "Transfer-Encoding: chunked\r\n\r\nz\r\n", "HTTP/1.1 400 ",
       "<INVALID_REQUEST /a 7>"},
      {"a slow body", post + "Content-Length: 2\r\n\r\na", "HTTP/1.1 408 ",
       "<INVALID_REQUEST /a 7>"},
      {"a handler that throws", get("/throw", "X-Id: 7\r\nConnection: close\r\n"), "HTTP/1.1 500 ",
       "<INTERNAL /throw 7>"},
  };
  for (const auto& [name, said, begins, ends] : cases) {
    SCOPED_TRACE(name);
    Loopback at(serve_plainly, options);
    std::string reply;
    at.run([&]() -> Task<void> {
      Peer peer(at.io);
      co_await peer.connect(at.port);
      co_await peer.send(said);
      reply = co_await peer.read_until(">");
    });
    EXPECT_TRUE(reply.starts_with(begins)) << reply;
    EXPECT_TRUE(reply.ends_with(ends)) << reply;
    EXPECT_NE(reply.find("X-Given: yes\r\n"), reply.npos) << reply;
  }
}

// A handler that waits for its client to leave, silent or between two writes.
struct Watcher {
  bool stream = false;
  std::unique_ptr<Event> begun, left;
  int calls = 0;
  explicit Watcher(bool streaming) : stream(streaming) {}
  Task<void> serve(Exchange& exchange) {
    exchange.on_disconnect([this] {
      ++calls;
      left->ring();
    });
    if (stream) {
      const auto head = co_await exchange.begin_stream(200, {});
      EXPECT_TRUE(head);
      const auto sent = co_await exchange.write("x");
      EXPECT_TRUE(sent);
    }
    EXPECT_FALSE(exchange.disconnected());
    begun->ring();
    const bool noticed = co_await left->wait_for(patience);
    EXPECT_TRUE(noticed && exchange.disconnected());
    const auto late = co_await exchange.write("y");
    EXPECT_EQ(late.error().code, Code::unreachable);
    // A client that already left is told of at once.
    exchange.on_disconnect([this] { ++calls; });
  }
};

// clause: W-25
TEST(HttpServer, NoticesAPeerThatLeavesWhileNothingIsWritten) {
  struct Case {
    const char* name;
    bool stream;
    bool reset;
  };
  for (const auto& [name, stream, reset] :
       {Case{"closed before a reply", false, false}, Case{"reset before a reply", false, true},
        Case{"closed in a stream", true, false}, Case{"reset in a stream", true, true}}) {
    SCOPED_TRACE(name);
    Watcher watcher(stream);
    Loopback at([&](Exchange& exchange) { return watcher.serve(exchange); });
    watcher.begun = std::make_unique<Event>(at.io.get_executor());
    watcher.left = std::make_unique<Event>(at.io.get_executor());
    at.run([&]() -> Task<void> {
      Peer peer(at.io);
      co_await peer.connect(at.port);
      co_await peer.send(get("/"));
      co_await watcher.begun->wait();
      reset ? peer.reset() : peer.close();
      const auto closed = [&] { return at.server->counters().connections_open == 0; };
      co_await until(closed);
    });
    EXPECT_EQ(watcher.calls, 2);
  }
}

// Writes until a write fails, and counts what was taken.
struct Flood {
  std::size_t written = 0;
  std::optional<Error> ended;
  Task<void> serve(Exchange& exchange) {
    if (exchange.request().path == "/health") {
      HttpResponse response{200, {}, "fine"};
      const auto sent = co_await exchange.reply(std::move(response));
      static_cast<void>(sent);
      co_return;
    }
    const std::string block(16 * limits::kib, 'x');
    auto sent = co_await exchange.begin_stream(200, {});
    while (sent) {
      sent = co_await exchange.write(block);
      written += sent ? block.size() : 0;
    }
    ended = sent.error();
  }
};

// clause: W-30, W-41
TEST(HttpServer, ASlowReaderStallsItsOwnWriterAndIsCut) {
  Flood flood;
  ServerOptions options;
  options.write_stall_ms = 300;
  Loopback at([&](Exchange& exchange) { return flood.serve(exchange); }, options);
  at.run([&]() -> Task<void> {
    Peer reader(at.io);
    co_await reader.connect(at.port);
    co_await reader.send(get("/flood"));
    // Others are served while the flood runs, and after it has stalled.
    while (!flood.ended) {
      const auto health = co_await at.fetch("/health");
      EXPECT_TRUE(health);
    }
  });
  EXPECT_EQ(flood.ended->code, Code::unreachable);
  EXPECT_LT(flood.written, 64 * limits::mib);
  EXPECT_EQ(at.server->counters().timeouts, 1U);
}

// What goes at once goes at once; what does not is kept in order, and only until it is asked for.
TEST(HttpServer, AnOfferIsTakenWholeOrNotAtAll) {
  const std::string block(64 * limits::kib, 'x');
  std::size_t taken = 0;
  Loopback at([&](Exchange& exchange) -> Task<void> {
    EXPECT_FALSE(exchange.offer("early")) << "no stream yet";
    auto sent = co_await exchange.begin_stream(200, {}, "first ");
    while (exchange.offer(block)) taken += block.size();
    EXPECT_TRUE(exchange.behind());
    EXPECT_FALSE(exchange.offer("in between"));
    sent = co_await exchange.write({});  // the reader takes what was kept
    EXPECT_TRUE(sent);
    EXPECT_FALSE(exchange.behind());
    sent = co_await exchange.end_stream(" last");
    EXPECT_TRUE(sent);
  });
  at.run([&]() -> Task<void> {
    const auto stream = co_await at.open("/");
    std::string all;
    for (std::size_t got = 1; got > 0;) {
      const auto read = co_await (*stream)->read_onto(all, patience);
      EXPECT_TRUE(read);
      got = read.value_or(0);
    }
    EXPECT_TRUE(all == "first " + std::string(taken, 'x') + " last") << all.size();
  });
  EXPECT_GT(taken, 0U);
}

TEST(HttpServer, AFastReaderDoesNotStarveOthers) {
  Flood flood;
  Loopback at([&](Exchange& exchange) { return flood.serve(exchange); });
  at.run([&]() -> Task<void> {
    Peer reader(at.io);
    co_await reader.connect(at.port);
    co_await reader.send(get("/flood"));
    TaskGroup group(at.io.get_executor());
    const auto read = [&]() -> Task<void> {
      const std::string all = co_await reader.read_until("never said");
      static_cast<void>(all);
    };
    group.spawn(read());
    for (int n = 0; n < 20; ++n) {
      const auto health = co_await at.fetch("/health");
      EXPECT_TRUE(health);
    }
    reader.reset();
    co_await group.join();
  });
  EXPECT_GT(flood.written, 0U);
}

// A handler that streams until the test says stop.
struct Held {
  std::unique_ptr<Event> begun, go;
  bool whole = false;
  Task<void> serve(Exchange& exchange) {
    exchange.on_disconnect([this] { go->ring(); });
    auto sent = co_await exchange.begin_stream(200, {});
    begun->ring();
    co_await go->wait();
    if (sent) sent = co_await exchange.write("all of it");
    if (sent) sent = co_await exchange.end_stream();
    whole = sent.has_value();
  }
};

struct HeldLoopback : Held, Loopback {
  HeldLoopback() : Loopback([this](Exchange& exchange) { return serve(exchange); }) {
    begun = std::make_unique<Event>(io.get_executor());
    go = std::make_unique<Event>(io.get_executor());
  }
  ~HeldLoopback() { go->ring(); }
};

// clause: W-42
TEST(Drain, ClosesIdleConnectionsRefusesNewOnesAndFinishesStreams) {
  HeldLoopback at;
  bool drained = false;
  at.run([&]() -> Task<void> {
    Peer idle(at.io);
    co_await idle.connect(at.port);
    const auto stream = co_await at.open("/");
    EXPECT_TRUE(stream);
    at.server->drain(patience, [&] { drained = true; });
    EXPECT_FALSE(drained);
    const std::string nothing = co_await idle.read_all();
    EXPECT_EQ(nothing, "");
    Peer late(at.io);
    const tcp::endpoint to(asio::ip::make_address("127.0.0.1"), at.port);
    const auto [refused] = co_await late.socket().async_connect(to, as_result);
    EXPECT_EQ(refused, asio::error::connection_refused);
    EXPECT_FALSE(drained);
    at.go->ring();
    const auto body = co_await (*stream)->read(patience);
    EXPECT_EQ(body.value_or(""), "all of it");
    const auto end = co_await (*stream)->read(patience);
    EXPECT_EQ(end.value_or("?"), "");
    const auto is_drained = [&] { return drained; };
    co_await until(is_drained);
  });
  EXPECT_TRUE(at.whole);
  EXPECT_EQ(at.server->counters().connections_open, 0U);
}

TEST(Drain, SaysConnectionCloseInItsLastReplies) {
  Loopback at(serve_plainly);
  at.run([&]() -> Task<void> {
    Peer peer(at.io);
    co_await peer.connect(at.port);
    co_await peer.send("GET / HTTP/1.1\r\n");  // a request has begun: not idle
    const auto other = co_await at.fetch("/");
    EXPECT_TRUE(other);
    Event drained(at.io.get_executor());
    at.server->drain(patience, [&] { drained.ring(); });
    co_await peer.send("Host: x\r\n\r\n");
    const std::string reply = co_await peer.read_all();
    EXPECT_NE(reply.find("200 OK"), reply.npos);
    EXPECT_NE(reply.find("Connection: close"), reply.npos);
    co_await drained.wait();
  });
}

// The second call dropped the first one's callback, and put off its limit.
TEST(Drain, CalledAgainKeepsTheSoonerLimitAndCallsBackBoth) {
  HeldLoopback at;
  int done = 0;
  at.run([&]() -> Task<void> {
    const auto stream = co_await at.open("/");
    EXPECT_TRUE(stream);
    at.server->drain(milliseconds(20), [&] { ++done; });
    at.server->drain(2 * patience, [&] { ++done; });
    const auto both = [&] { return done == 2; };
    co_await until(both);
    at.server->drain(patience, [&] { ++done; });
    const auto third = [&] { return done == 3; };
    co_await until(third);
  });
  EXPECT_EQ(done, 3);
}

TEST(Drain, CutsWhatIsLeftAtItsLimit) {
  HeldLoopback at;
  at.run([&]() -> Task<void> {
    const auto stream = co_await at.open("/");
    EXPECT_TRUE(stream);
    Event drained(at.io.get_executor());
    at.server->drain(milliseconds(20), [&] { drained.ring(); });
    const auto body = co_await (*stream)->read(patience);
    EXPECT_EQ(body.error().code, Code::unreachable);
    const bool in_time = co_await drained.wait_for(patience);
    EXPECT_TRUE(in_time);
  });
  EXPECT_FALSE(at.whole);
}

// clause: W-5
TEST(Listen, SaysWhichPortIsTakenAndWhatToDo) {
  Loopback first(serve_plainly);
  ServerOptions options;
  options.port = first.port;
  HttpServer second(first.io, options, serve_plainly);
  const auto bound = second.listen();
  ASSERT_FALSE(bound);
  EXPECT_EQ(bound.error().code, Code::conflict);
  EXPECT_EQ(bound.error().message,
            "port " + std::to_string(first.port) + ": taken by another program");
  EXPECT_NE(bound.error().next, "");
}

TEST(Listen, RefusesAnAddressThatIsNotHere) {
  asio::io_context io{1};
  ServerOptions options;
  options.host = "192.0.2.1";  // Source: RFC 5737, for documentation
  HttpServer server(io, options, serve_plainly);
  EXPECT_EQ(server.listen().error().code, Code::invalid_request);
  options.tls = TlsFiles{"/absent/certificate.pem", "/absent/key.pem"};
  HttpServer with_tls(io, options, serve_plainly);
  EXPECT_NE(with_tls.listen().error().message.find("/absent/certificate.pem"), std::string::npos);
}

}  // namespace
}  // namespace llorch::net
