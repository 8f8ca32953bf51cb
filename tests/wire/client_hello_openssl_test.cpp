// ClientHelloReader against OpenSSL: OpenSSL's client writes the hello, OpenSSL's server and our reader say what is in
// it.
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "wire/client_hello.hpp"

namespace sallyport::wire {
namespace {

struct Free {
  void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
  void operator()(SSL* p) const { SSL_free(p); }
};

// What OpenSSL's server-side callback saw, before any handshake decision.
struct Seen {
  bool called = false;
  unsigned legacy_version = 0;
  std::optional<std::string> server_name, alpn, versions;
};

std::optional<std::string> raw_extension(SSL* ssl, unsigned type) {
  const unsigned char* octets = nullptr;
  std::size_t size = 0;
  if (SSL_client_hello_get0_ext(ssl, type, &octets, &size) != 1) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(octets), size);
}

int on_client_hello(SSL* ssl, int*, void* user) {
  auto* seen = static_cast<Seen*>(user);
  seen->called = true;
  seen->legacy_version = SSL_client_hello_get0_legacy_version(ssl);
  seen->server_name = raw_extension(ssl, 0);
  seen->alpn = raw_extension(ssl, 16);
  seen->versions = raw_extension(ssl, 43);
  return SSL_CLIENT_HELLO_ERROR;  // the rest of the handshake is not asked about
}

Seen openssl_reads(std::string_view octets) {
  Seen seen;
  std::unique_ptr<SSL_CTX, Free> context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX_set_min_proto_version(context.get(), TLS1_VERSION);
  SSL_CTX_set_client_hello_cb(context.get(), on_client_hello, &seen);
  std::unique_ptr<SSL, Free> ssl(SSL_new(context.get()));
  BIO* in = BIO_new(BIO_s_mem());
  BIO_write(in, octets.data(), static_cast<int>(octets.size()));
  SSL_set_bio(ssl.get(), in, BIO_new(BIO_s_mem()));
  SSL_accept(ssl.get());
  ERR_clear_error();
  return seen;
}

std::string random_name(std::mt19937& random) {
  static constexpr std::string_view kOctets = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
  std::string name;
  for (unsigned label = 0, labels = 1 + random() % 6; label < labels; ++label) {
    if (label > 0) name += '.';
    for (unsigned i = 0, size = 1 + random() % 30; i < size; ++i) name += kOctets[random() % kOctets.size()];
  }
  return name + ".test";
}

struct Written {
  std::string octets;
  std::optional<std::string> name;
  std::vector<std::string> alpn;
};

Written openssl_writes(std::mt19937& random) {
  Written written;
  std::unique_ptr<SSL_CTX, Free> context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_security_level(context.get(), 0);
  const int versions[] = {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION};
  const unsigned low = random() % 4;
  const unsigned high = low + random() % (4 - low);
  SSL_CTX_set_min_proto_version(context.get(), versions[low]);
  SSL_CTX_set_max_proto_version(context.get(), versions[high]);
  static constexpr const char* kGroups[] = {"X25519", "P-256:X25519", "P-521:P-384:P-256:X448:X25519",
                                            "ffdhe8192:ffdhe2048"};
  SSL_CTX_set1_groups_list(context.get(), kGroups[random() % 4]);
  std::unique_ptr<SSL, Free> ssl(SSL_new(context.get()));
  if (random() % 4 != 0) {
    written.name = random_name(random);
    SSL_set_tlsext_host_name(ssl.get(), written.name->c_str());
  }
  std::string list;
  for (unsigned i = 0, count = random() % 5; i < count; ++i) {
    written.alpn.push_back(i == 0 ? "h2" : "p" + std::to_string(random() % 1'000'000));
    list += static_cast<char>(written.alpn.back().size()) + written.alpn.back();
  }
  if (!list.empty())
    SSL_set_alpn_protos(ssl.get(), reinterpret_cast<const unsigned char*>(list.data()),
                        static_cast<unsigned>(list.size()));
  BIO* out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
  SSL_connect(ssl.get());
  ERR_clear_error();
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  written.octets.assign(data, static_cast<std::size_t>(size));
  return written;
}

class AgainstOpenSsl : public ::testing::TestWithParam<unsigned> {};  // GetParam(): seed

TEST_P(AgainstOpenSsl, NameProtocolsAndVersionsAgree) {
  std::mt19937 random(GetParam());
  for (int round = 0; round < 50; ++round) {
    const Written written = openssl_writes(random);
    ASSERT_FALSE(written.octets.empty());
    const Seen seen = openssl_reads(written.octets);
    ASSERT_TRUE(seen.called) << "seed " << GetParam() << " round " << round;

    ClientHelloReader reader;
    std::string_view rest = written.octets;
    while (!rest.empty()) {
      const std::size_t size = std::min<std::size_t>(1 + random() % 200, rest.size());
      reader.feed(rest.substr(0, size));
      rest.remove_prefix(size);
    }
    ASSERT_EQ(reader.state(), ClientHelloReader::State::kDone)
        << reader.message() << " seed " << GetParam() << " round " << round;
    const ClientHello& hello = reader.hello();
    EXPECT_EQ(reader.consumed(), written.octets.size());
    EXPECT_EQ(hello.legacy_version, seen.legacy_version);
    EXPECT_EQ(hello.sni_state == SniState::kAbsent, !seen.server_name.has_value());
    if (written.name) {
      EXPECT_EQ(hello.sni_state, SniState::kPresent) << *written.name;
      EXPECT_EQ(hello.sni, *written.name);
      EXPECT_EQ(*seen.server_name, std::string("\0", 1) + static_cast<char>(written.name->size() + 3) +
                                       std::string("\0\0", 2) + static_cast<char>(written.name->size()) +
                                       *written.name);
    }
    ASSERT_EQ(hello.alpn_count, written.alpn.size());
    for (std::size_t i = 0; i < written.alpn.size(); ++i) EXPECT_EQ(hello.alpn[i], written.alpn[i]);
    EXPECT_EQ(seen.alpn.has_value(), !written.alpn.empty());
    EXPECT_EQ(seen.versions.has_value(), hello.version_count > 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, AgainstOpenSsl, ::testing::Range(1u, 9u));

// One octet changed anywhere: where OpenSSL still reads a name by its callback and we say kPresent, it is the same
// name. We may refuse more than OpenSSL; what we pass on we must have read as it does.
TEST(AgainstOpenSslChanged, NeverAnotherName) {
  std::mt19937 random(99);
  int both_read = 0;
  for (int round = 0; round < 4000; ++round) {
    Written written = openssl_writes(random);
    const std::size_t at = random() % written.octets.size();
    written.octets[at] = static_cast<char>(random());
    ClientHelloReader reader;
    if (reader.feed(written.octets) != ClientHelloReader::State::kDone) continue;
    const Seen seen = openssl_reads(written.octets);
    if (!seen.called) continue;
    if (reader.hello().sni_state == SniState::kAbsent)
      ASSERT_FALSE(seen.server_name.has_value()) << "seed 99 round " << round;
    if (reader.hello().sni_state != SniState::kPresent) continue;
    ++both_read;
    ASSERT_TRUE(seen.server_name.has_value()) << "seed 99 round " << round;
    ASSERT_EQ(seen.server_name->substr(5), reader.hello().sni) << "seed 99 round " << round;
  }
  EXPECT_GT(both_read, 500);
}

}  // namespace
}  // namespace sallyport::wire
