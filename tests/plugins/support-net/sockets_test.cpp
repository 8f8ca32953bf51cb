// UDP that answers from the address asked, resets, pipes.
#include "support/sockets.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "support/pipe_pool.hpp"
#include "support/udp.hpp"

namespace sallyport::net {
namespace {

struct UdpCase {
  const char* why;
  const char* asked;
};
class AnswersFrom : public testing::TestWithParam<UdpCase> {};

TEST_P(AnswersFrom, TheAddressAsked) {  // DESIGN, Cell: one wildcard socket is every server
  const udp::endpoint asked(asio::ip::make_address(GetParam().asked), 0);
  const bool v6 = asked.address().is_v6();
  UniqueFd fd(::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (v6) {
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof on);
    ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  }
  const udp::endpoint wildcard(v6 ? udp::v6() : udp::v4(), 0);
  ASSERT_EQ(::bind(fd.get(), wildcard.data(), static_cast<socklen_t>(wildcard.size())), 0);
  udp::endpoint bound(asked);
  socklen_t length = static_cast<socklen_t>(bound.capacity());
  ::getsockname(fd.get(), bound.data(), &length);

  asio::io_context context;
  const auto server = UdpServer::adopt(context, std::move(fd), v6);
  ASSERT_NE(server, nullptr);
  const UniqueFd client(::socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const timeval patience{10, 0};
  ::setsockopt(client.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  const udp::endpoint target(asked.address(), bound.port());
  // Connected: the kernel drops an answer from any other address.
  ASSERT_EQ(::connect(client.get(), target.data(), static_cast<socklen_t>(target.size())), 0) << std::strerror(errno);
  ASSERT_EQ(::send(client.get(), "ask", 3, 0), 3);
  std::size_t got = 0;
  for (int tries = 0; got == 0 && tries < 1000; ++tries) got = server->receive();
  ASSERT_EQ(got, 1u);
  EXPECT_EQ(std::string(server->payload(0).begin(), server->payload(0).end()), "ask");
  const UdpPeer peer = server->peer(0);
  const auto room = server->room(0);
  room[0] = 'n';
  room[1] = 'o';
  room[2] = 'w';
  server->reply(0, 3);
  server->flush();
  char buffer[8];
  ASSERT_EQ(::recv(client.get(), buffer, sizeof buffer, 0), 3) << std::strerror(errno);
  server->stop_reading();  // what was asked before is answered all the same
  const std::array<std::uint8_t, 2> later{'o', 'k'};
  server->send(later, peer);
  ASSERT_EQ(::recv(client.get(), buffer, sizeof buffer, 0), 2) << std::strerror(errno);
}

INSTANTIATE_TEST_SUITE_P(Addresses, AnswersFrom,
                         testing::ValuesIn<UdpCase>({
                             {"Loopback", "127.0.0.1"},
                             {"OtherLoopback", "127.0.0.5"},
                             {"SomebodyElsesResolver", "8.8.8.8"},
                             {"Loopback6", "::1"},
                             {"SomebodyElsesResolver6", "2001:4860:4860::8888"},
                         }),
                         [](const auto& row) { return row.param.why; });

TEST(UdpServer, ManyAtOnceAndTooLongOnesLeftOut) {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  udp::endpoint at(asio::ip::address_v4::loopback(), 0);
  ASSERT_EQ(::bind(fd.get(), at.data(), static_cast<socklen_t>(at.size())), 0);
  socklen_t length = static_cast<socklen_t>(at.capacity());
  ::getsockname(fd.get(), at.data(), &length);
  asio::io_context context;
  const auto server = UdpServer::adopt(context, std::move(fd), false);
  const UniqueFd client(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.get(), at.data(), static_cast<socklen_t>(at.size())), 0);
  // More than one batch, and one more round in the same slots.
  for (int round = 0; round < 2; ++round) {
    for (int i = 0; i < 40; ++i) {
      const std::string octets(i == 3 ? 5000 : 10, static_cast<char>('0' + i));
      ASSERT_GT(::send(client.get(), octets.data(), octets.size(), 0), 0);
    }
    std::string firsts, answers;
    bool full = false;
    for (std::size_t n = server->receive(&full); n > 0; n = server->receive(&full)) {
      EXPECT_EQ(full, firsts.empty()) << "32 and then 8";
      for (std::size_t i = 0; i < n; ++i) {
        firsts += static_cast<char>(server->payload(i)[0]);
        server->room(i)[0] = server->payload(i)[0];
        if (i % 2 == 0) server->reply(i, 1);
      }
      server->flush();
    }
    EXPECT_EQ(firsts, "012456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVW");
    char octet;
    while (::recv(client.get(), &octet, 1, MSG_DONTWAIT) == 1) answers += octet;
    EXPECT_EQ(answers, "02579;=?ACEGIKMOPRTV");
  }
}

TEST(OriginalDestination, NobodyRedirectedThis) {
  asio::io_context context;
  tcp::acceptor acceptor(context, {asio::ip::address_v4::loopback(), 0});
  tcp::socket client(context);
  client.connect(acceptor.local_endpoint());
  EXPECT_FALSE(original_destination(acceptor.accept().native_handle()).has_value());
}

TEST(PipePool, GivesBackEmptyPipesAlone) {
  PipePool pool;
  int first = -1;
  {
    auto lease = pool.lease();
    ASSERT_TRUE(lease.valid());
    first = lease->read.get();
    EXPECT_GE(lease->capacity, 4096u);
  }
  {
    auto lease = pool.lease();
    EXPECT_EQ(lease->read.get(), first) << "an empty one comes back";
    ASSERT_EQ(::write(lease->write.get(), "x", 1), 1);
    lease.pending() = 1;
  }
  auto lease = pool.lease();
  char octet;
  EXPECT_EQ(::read(lease->read.get(), &octet, 1), -1) << "nobody gets another flow's octets";
}

TEST(PipePool, IsBounded) {
  PipePool pool;
  std::vector<PipePool::Lease> leases;
  while (leases.size() < PipePool::kMost) {
    leases.push_back(pool.lease());
    if (!leases.back().valid()) GTEST_FAIL() << "descriptors ran out at " << leases.size();
  }
  EXPECT_FALSE(pool.lease().valid());
}

TEST(RouteProbe, SeesTheRoute) { EXPECT_TRUE(RouteProbe().has_ipv6(Clock::now())); }

TEST(Addresses, MappedIsUnmapped) {
  EXPECT_EQ(unmapped(asio::ip::make_address("::ffff:192.0.2.1")), asio::ip::make_address("192.0.2.1"));
  EXPECT_EQ(unmapped(asio::ip::make_address("2001:db8::1")), asio::ip::make_address("2001:db8::1"));
}

}  // namespace
}  // namespace sallyport::net
