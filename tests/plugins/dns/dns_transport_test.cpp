// UDP and TCP of the dns plugin: framing, pipelining, limits, listeners that come and go, stop with queries at work.
#include "dns_bench.hpp"

namespace sallyport::dns {
namespace {

TEST_F(DnsBench, TcpGivesTheSameVerdicts) {  // DNS-04
  run();
  const int fd = loopback_socket(SOCK_STREAM, tcp_port);
  for (const auto& [name, rcode] : std::map<std::string, int>{{"api.example.test", 0}, {"evil.test", 3}}) {
    const Octets query = framed(query_octets(name));
    ASSERT_EQ(::send(fd, query.data(), query.size(), 0), static_cast<ssize_t>(query.size()));
    const Reply reply = Reply::parse(read_framed(fd));
    EXPECT_EQ(reply.rcode, rcode);
    EXPECT_EQ(reply.question, name);
  }
  ::close(fd);
  EXPECT_NE(host.wait_for_audit(2)[0].detail.find(R"("transport":"tcp")"), std::string::npos);
  EXPECT_EQ(testing_kit::line_of(host.audit()[0])["proto"], "tcp");
}

TEST_F(DnsBench, TcpInOneOctetWritesAndPipelined) {  // DNS-24
  run();
  const int fd = loopback_socket(SOCK_STREAM, tcp_port);
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, 1 /* TCP_NODELAY */, &on, sizeof on);
  for (const std::uint8_t octet : framed(query_octets("api.example.test", wire::kTypeA, true, 1)))
    ::send(fd, &octet, 1, 0);
  EXPECT_EQ(Reply::parse(read_framed(fd)).header.id, 1);
  Octets both = framed(query_octets("api.example.test", wire::kTypeA, true, 2));
  const Octets second = framed(query_octets("evil.test", wire::kTypeA, true, 3));
  both.insert(both.end(), second.begin(), second.end());
  ::send(fd, both.data(), both.size(), 0);
  std::set<int> ids;
  ids.insert(Reply::parse(read_framed(fd)).header.id);
  ids.insert(Reply::parse(read_framed(fd)).header.id);
  EXPECT_EQ(ids, (std::set<int>{2, 3}));
  ::close(fd);
}

TEST_F(DnsBench, TcpTransferIsRefusedAndTheConnectionLives) {  // DNS-10
  run();
  const int fd = loopback_socket(SOCK_STREAM, tcp_port);
  const Octets transfer = framed(query_octets("api.example.test", wire::kTypeAxfr));
  ::send(fd, transfer.data(), transfer.size(), 0);
  EXPECT_EQ(Reply::parse(read_framed(fd)).rcode, 5);
  const Octets query = framed(query_octets("api.example.test"));
  ::send(fd, query.data(), query.size(), 0);
  EXPECT_EQ(Reply::parse(read_framed(fd)).rcode, 0);
  EXPECT_EQ(witness->queries(), 1u);
  ::close(fd);
}

TEST_F(DnsBench, TcpLengthZeroCloses) {  // DNS-24
  run();
  const int fd = loopback_socket(SOCK_STREAM, tcp_port);
  ::send(fd, "\0\0", 2, 0);
  EXPECT_TRUE(read_framed(fd).empty());
  ::close(fd);
}

TEST_F(DnsBench, TcpOfOtherProtocolsClosesAtOnce) {
  run();
  for (const std::string_view first : {std::string_view("GET / HTTP/1.1\r\n"), std::string_view("SSH-2.0-x\r\n"),
                                       std::string_view("\x16\x03\x01\x02"), std::string_view("EHLO a\r\n")}) {
    const int fd = loopback_socket(SOCK_STREAM, tcp_port);
    const auto began = std::chrono::steady_clock::now();
    ::send(fd, first.data(), first.size(), 0);
    EXPECT_TRUE(read_framed(fd).empty()) << first;
    EXPECT_LE(std::chrono::steady_clock::now() - began, std::chrono::seconds(2)) << first;
    ::close(fd);
  }
}

TEST_F(DnsBench, TcpSilenceClosesAtTheLimit) {  // DNS-24
  run();
  const int fd = loopback_socket(SOCK_STREAM, tcp_port);
  const timeval patience{15, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ::send(fd,
         "\x01\xff"
         "abc",
         5, 0);
  const auto began = std::chrono::steady_clock::now();
  char octet;
  EXPECT_LE(::recv(fd, &octet, 1, 0), 0);
  const auto waited = std::chrono::steady_clock::now() - began;
  EXPECT_GE(waited, std::chrono::seconds(9));
  EXPECT_LE(waited, std::chrono::seconds(12));
  ::close(fd);
}

TEST_F(DnsBench, TcpManyQueriesOnOneConnection) {  // DNS-25
  run();
  const int fd = loopback_socket(SOCK_STREAM, tcp_port);
  const Octets query = framed(query_octets("evil.test"));
  std::thread writer([&] {
    for (int i = 0; i < 10'001; ++i) {
      if (::send(fd, query.data(), query.size(), MSG_NOSIGNAL) < 0) return;
    }
  });
  int answered = 0;
  while (!read_framed(fd).empty()) ++answered;
  writer.join();
  EXPECT_LE(answered, 10'000);
  EXPECT_GE(answered, 9'900) << "closed at the cap, not long before";
  ::close(fd);
}

TEST_F(DnsBench, BothTypesOfOneClientAreResolvedAtOnce) {
  Witness::Zone silent;
  silent.silent = true;
  run(silent);
  const auto began = std::chrono::steady_clock::now();
  const int fd = loopback_socket(SOCK_DGRAM, udp_port);
  const Octets a = query_octets("both.example.test", wire::kTypeA, true, 1),
               aaaa = query_octets("both.example.test", wire::kTypeAaaa, true, 2);
  ::send(fd, a.data(), a.size(), 0);
  ::send(fd, aaaa.data(), aaaa.size(), 0);
  const Octets denied = query_octets("evil.test", wire::kTypeA, true, 3);
  ::send(fd, denied.data(), denied.size(), 0);
  std::vector<int> order;
  for (int i = 0; i < 3; ++i) {
    Octets buffer(4096);
    const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
    ASSERT_GT(n, 0);
    buffer.resize(static_cast<std::size_t>(n));
    order.push_back(Reply::parse(buffer).header.id);
  }
  EXPECT_EQ(order[0], 3) << "a refusal does not wait for others' lookups";
  EXPECT_LE(std::chrono::steady_clock::now() - began, std::chrono::seconds(6))
      << "one after the other would take twice as long";
  ::close(fd);
}

TEST_F(DnsBench, ListenersComeAndGo) {
  run();
  const std::uint16_t second = host.listen_udp("dns", 2);
  std::swap(udp_port, const_cast<std::uint16_t&>(second));
  EXPECT_EQ(ask("api.example.test").rcode, 0);
  const auto audit = host.wait_for_audit(1);
  EXPECT_EQ(audit[0].client_id, 2u);
}

TEST_F(DnsBench, StopWithQueriesAtWork) {
  Witness::Zone silent;
  silent.silent = true;
  run(silent);
  const int fd = loopback_socket(SOCK_DGRAM, udp_port);
  const int tcp = loopback_socket(SOCK_STREAM, tcp_port);
  for (std::uint16_t i = 0; i < 50; ++i) {
    const Octets query = query_octets("api.example.test", wire::kTypeA, true, i);
    ::send(fd, query.data(), query.size(), 0);
    const Octets over_tcp = framed(query);
    ::send(tcp, over_tcp.data(), over_tcp.size(), 0);
  }
  while (witness->queries() == 0) std::this_thread::yield();
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(plugin->stop(), POLICY_OK);
  EXPECT_LE(std::chrono::steady_clock::now() - began, std::chrono::seconds(2));
  EXPECT_EQ(host.open_threads(), 0u);
  ::close(fd);
  ::close(tcp);
}

}  // namespace
}  // namespace sallyport::dns
