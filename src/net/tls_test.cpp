// The same server and client over TLS, with a certificate made for the occasion.
#include <cstdio>
#include <cstdlib>
#include <gtest/gtest.h>
#include <memory>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string>
#include <unistd.h>

#include "net/testing.h"

namespace llorch::net {
namespace {

using testing::get;
using testing::Loopback;
using testing::patience;
using testing::Peer;
using testing::run_on;

// A self-signed certificate for 127.0.0.1 and its key, in files that go with the object.
class Certificate {
 public:
  Certificate() {
    const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-256"),
                                                                  EVP_PKEY_free);
    const std::unique_ptr<X509, decltype(&X509_free)> made(X509_new(), X509_free);
    X509* const x509 = made.get();
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), -60);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, key.get());
    const auto* name = reinterpret_cast<const unsigned char*>("loopback");
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC, name, -1, -1, 0);
    X509_set_issuer_name(x509, X509_get_subject_name(x509));
    X509_EXTENSION* const names =
        X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(x509, names, -1);
    X509_EXTENSION_free(names);
    X509_sign(x509, key.get(), EVP_sha256());
    std::FILE* const certificate = file(files.certificate);
    PEM_write_X509(certificate, x509);
    std::fclose(certificate);
    std::FILE* const secret = file(files.key);
    PEM_write_PrivateKey(secret, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(secret);
  }
  ~Certificate() {
    ::unlink(files.certificate.c_str());
    ::unlink(files.key.c_str());
  }
  TlsFiles files;

 private:
  static std::FILE* file(std::string& path) {
    path = ::testing::TempDir() + "llorch-net-XXXXXX";
    return ::fdopen(::mkstemp(path.data()), "w");
  }
};

Task<void> stream_body(Exchange& exchange) {
  const std::string body = exchange.request().body;
  auto sent = co_await exchange.begin_stream(200, {});
  if (sent) sent = co_await exchange.write(body);
  if (sent) sent = co_await exchange.write("!");
  if (sent) sent = co_await exchange.end_stream();
}

struct TlsLoopback : Certificate, Loopback {
  explicit TlsLoopback(Handler handler) : Loopback(std::move(handler), options()) {}
  ServerOptions options() const {
    ServerOptions with_tls;
    with_tls.tls = files;
    return with_tls;
  }
  Url secure() const { return {"https", "127.0.0.1", port, "/"}; }
};

TEST(Tls, CarriesRequestsAndStreamsOverOneConnection) {
  TlsLoopback at(stream_body);
  ClientOptions trusting;
  trusting.tls_ca_file = at.files.certificate;
  HttpClient secure(at.io, trusting);
  const Url url = at.secure();
  at.run([&]() -> Task<void> {
    for (const std::size_t size : {0U, 1U, 70'000U}) {
      HttpRequest request;
      request.method = "POST";
      request.body = std::string(size, 'b');
      const auto reply = co_await secure.fetch(url, std::move(request), patience);
      EXPECT_EQ(reply ? reply->body : reply.error().message, std::string(size, 'b') + "!");
    }
    secure.close_idle();
  });
  EXPECT_EQ(at.server->counters().connections_accepted, 1U);
}

TEST(Tls, IsRefusedByAClientThatDoesNotTrustTheCertificate) {
  TlsLoopback at(stream_body);
  const Url url = at.secure();
  const Url plain = at.url();
  at.run([&]() -> Task<void> {
    const auto reply = co_await at.client->fetch(url, HttpRequest(), patience);
    EXPECT_EQ(reply.has_value() ? Code::internal : reply.error().code, Code::unreachable);
    const auto unencrypted = co_await at.client->fetch(plain, HttpRequest(), patience);
    EXPECT_FALSE(unencrypted);
  });
  EXPECT_EQ(at.server->counters().requests, 0U);
}

// The server waited two seconds for the peer to close TLS, then reset the connection: a slow reader
// lost what the kernel still held for it.
TEST(Tls, ASlowReaderGetsTheWholeReplyAfterTheServerHasClosed) {
  const std::string body(60'000, 'b');  // less than the kernel holds for a slow reader
  TlsLoopback at([&](Exchange& exchange) -> Task<void> {
    HttpResponse response{200, {}, body};
    const auto sent = co_await exchange.reply(std::move(response));
    EXPECT_TRUE(sent);
  });
  std::string heard;
  at.run([&]() -> Task<void> {
    Peer peer(at.io);
    peer.socket().open(tcp::v4());
    peer.socket().set_option(asio::socket_base::receive_buffer_size(16 * 1024));
    co_await peer.connect(at.port);
    asio::ssl::context trusting(asio::ssl::context::tls_client);
    asio::ssl::stream<tcp::socket&> tls(peer.socket(), trusting);
    const auto [refused] = co_await tls.async_handshake(asio::ssl::stream_base::client, as_result);
    EXPECT_FALSE(refused) << refused.message();
    const std::string said = get("/", "Connection: close\r\n");
    const auto [lost, size] = co_await asio::async_write(tls, asio::buffer(said), as_result);
    EXPECT_FALSE(lost);
    static_cast<void>(size);
    const auto closed = [&] { return at.server->counters().connections_open == 0; };
    co_await testing::until(closed);
    char space[4096];
    while (true) {
      const auto [end, received] = co_await tls.async_read_some(asio::buffer(space), as_result);
      heard.append(space, received);
      if (end) break;
    }
  });
  EXPECT_EQ(heard.size() - heard.find("\r\n\r\n") - 4, body.size());
}

// Waits until its client has left.
struct Patient {
  std::unique_ptr<Event> begun, left;
  Task<void> serve(Exchange& exchange) {
    exchange.on_disconnect([this] { left->ring(); });
    auto sent = co_await exchange.begin_stream(200, {});
    begun->ring();
    const bool noticed = co_await left->wait_for(patience);
    EXPECT_TRUE(sent && noticed);
  }
};

TEST(Tls, NoticesAPeerThatLeaves) {
  Patient patient;
  TlsLoopback at([&](Exchange& exchange) { return patient.serve(exchange); });
  patient.begun = std::make_unique<Event>(at.io.get_executor());
  patient.left = std::make_unique<Event>(at.io.get_executor());
  ClientOptions trusting;
  trusting.tls_ca_file = at.files.certificate;
  HttpClient secure(at.io, trusting);
  const Url url = at.secure();
  at.run([&]() -> Task<void> {
    const auto stream = co_await secure.open(url, HttpRequest(), patience);
    EXPECT_TRUE(stream);
    co_await patient.begun->wait();
    (*stream)->close();
    const auto closed = [&] { return at.server->counters().connections_open == 0; };
    co_await testing::until(closed);
  });
}

}  // namespace
}  // namespace llorch::net
