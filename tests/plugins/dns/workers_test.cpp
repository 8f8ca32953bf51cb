// Several workers: one thread and socket each, one resolver a name.
#include <future>

#include "gate_bench.hpp"

namespace sallyport::dns {
namespace {

class Workers : public GateBench {
 protected:
  Workers() { udp_sockets = 4; }
};

TEST_F(Workers, OneForEachSocketOfAnAddress) {
  run_gateway();
  EXPECT_EQ(health("workers"), 4u);
  EXPECT_EQ(host.open_threads(), 4u);
  for (int i = 0; i < 100; ++i) {  // from as many ports, so at every socket
    EXPECT_EQ(ask("api.example.test").addresses, std::vector<std::string>{"172.20.0.3"});
    EXPECT_EQ(ask("evil.test").rcode, 3);
  }
  EXPECT_EQ(witness->queries(), 1u) << "one cache of what upstreams say, whichever worker was asked";
}

TEST_F(Workers, NoMoreThanConfigured) {
  run_gateway(zone(), R"(,"workers":2)");
  EXPECT_EQ(health("workers"), 2u);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(ask("api.example.test").rcode, 0);
}

TEST_F(GateBench, OneSocketIsOneWorker) {
  run_gateway(zone(), R"(,"workers":8)");
  EXPECT_EQ(health("workers"), 1u);
}

TEST_F(Workers, ACellIsOneWorker) {
  listener_client = 5;
  run_gateway();
  EXPECT_EQ(health("workers"), 1u);
}

TEST_F(Workers, EqualQueriesAtOnceAreOneOutside) {  // DNS-27
  Witness::Zone with = zone();
  with.delay = std::chrono::milliseconds(300);  // all are there by then, and none is sent again yet
  run_gateway(with);
  std::vector<int> clients;
  for (std::uint16_t i = 0; i < 100; ++i)
    clients.push_back(send_query(query_octets("api.example.test", wire::kTypeA, true, i)));
  for (const int fd : clients) {
    const auto reply = receive(fd);
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->addresses, std::vector<std::string>{"172.20.0.3"});
  }
  EXPECT_EQ(witness->queries(), 1u) << "one id and one pattern of letters to guess";
}

TEST_F(Workers, AClientsBoundsAreOverAllOfThem) {
  Witness::Zone with = zone();
  with.silent = true;
  for (int i = 0; i < 300; ++i) policy.allow["n" + std::to_string(i) + ".example.test"] = {443};
  run_gateway(with);
  std::vector<int> open;
  const Octets query = framed(query_octets("evil.test"));
  for (int i = 0; i < 128; ++i) {
    open.push_back(loopback_socket(SOCK_STREAM, tcp_port, 2));
    ::send(open.back(), query.data(), query.size(), 0);
    ASSERT_FALSE(read_framed(open.back()).empty()) << i;
  }
  for (int i = 0; i < 8; ++i) {  // whoever's turn it is
    const int over = loopback_socket(SOCK_STREAM, tcp_port, 2);
    ::send(over, query.data(), query.size(), MSG_NOSIGNAL);
    EXPECT_TRUE(read_framed(over).empty()) << i;
    ::close(over);
  }
  for (const int fd : open) ::close(fd);

  std::vector<pollfd> lookups;
  for (std::uint16_t i = 0; i < 300; ++i) {
    const Octets one = query_octets("n" + std::to_string(i) + ".example.test", wire::kTypeA, true, i);
    lookups.push_back({send_query(one, 3), POLLIN, 0});
  }
  const auto answered = [&lookups] { return ::poll(lookups.data(), lookups.size(), 0); };
  wait_until([&] { return witness->queries() >= 256 && answered() >= 300 - 256; });
  const int failed = answered();  // at once; the others wait for the upstream
  for (const pollfd& one : lookups) ::close(one.fd);
  EXPECT_EQ(failed, 300 - 256);
}

TEST_F(Workers, ConnectionsGoRound) {
  run_gateway();
  std::vector<int> open;
  const Octets query = framed(query_octets("api.example.test"));
  for (int i = 0; i < 16; ++i) {
    open.push_back(loopback_socket(SOCK_STREAM, tcp_port));
    ::send(open.back(), query.data(), query.size(), 0);
    EXPECT_EQ(Reply::parse(read_framed(open.back())).rcode, 0);
  }
  std::uint64_t left = 0;
  EXPECT_EQ(plugin->drain(left), POLICY_OK);
  for (const int fd : open) {
    EXPECT_TRUE(read_framed(fd).empty());
    ::close(fd);
  }
}

// REL-01: as the host does at a drain: it asks until no flow is left, and then ends the process.
TEST_F(Workers, NobodyIsLostBetweenAcceptAndDrain) {
  run_gateway();
  ASSERT_EQ(ask("api.example.test").rcode, 0);
  const Octets query = query_octets("api.example.test");
  const Octets over_tcp = framed(query);
  std::vector<int> datagrams, connections;
  for (int i = 0; i < 200; ++i) datagrams.push_back(send_query(query));
  for (int i = 0; i < 64; ++i) {
    connections.push_back(loopback_socket(SOCK_STREAM, tcp_port));
    ::send(connections.back(), over_tcp.data(), over_tcp.size(), 0);
  }
  std::uint64_t left = 1;
  wait_until([&] { return plugin->drain(left) == POLICY_OK && left == 0; });
  EXPECT_EQ(plugin->stop(), POLICY_OK);
  for (const int fd : connections) {
    EXPECT_FALSE(read_framed(fd).empty());
    ::close(fd);
  }
  for (const int fd : datagrams) {
    EXPECT_TRUE(receive(fd).has_value());
  }
}

TEST_F(Workers, RealAnswersOfEveryWorkerAreBoundAndWaitedFor) {
  host.gate.enforcer = true;
  run_real(zone(), R"(,"apply_timeout":"5s")");
  std::vector<int> clients;
  for (int i = 0; i < 32; ++i) clients.push_back(send_query(query_octets("both.example.test")));
  std::atomic<bool> done{false};
  std::thread enforcer([&] {
    while (!done) {
      host.gate.apply_all();
      std::this_thread::yield();
    }
  });
  for (const int fd : clients) {
    const auto reply = receive(fd);
    ASSERT_TRUE(reply.has_value());
    EXPECT_EQ(reply->addresses.size(), 1u);
  }
  done = true;
  enforcer.join();
}

TEST_F(Workers, StopWithQueriesAtWorkEverywhere) {
  Witness::Zone silent;
  silent.silent = true;
  run_gateway(silent);
  std::vector<int> clients;
  for (std::uint16_t i = 0; i < 200; ++i)
    clients.push_back(
        send_query(query_octets(i % 2 ? "api.example.test" : "both.example.test", wire::kTypeA, true, i)));
  wait_until([&] { return witness->queries() >= 2; });
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(plugin->stop(), POLICY_OK);
  EXPECT_LE(std::chrono::steady_clock::now() - began, std::chrono::seconds(2));
  EXPECT_EQ(host.open_threads(), 0u);
  for (const int fd : clients) ::close(fd);
}

TEST_F(Workers, SocketsThatComeLaterAreDealtOutToo) {
  run_gateway();
  const std::uint16_t second = host.listen_udp("dns", 0);
  udp_port = second;
  EXPECT_EQ(ask("api.example.test").rcode, 0);
  host.remove_listener("dns", 0);
  // What waits at a socket when it goes is still answered; then nobody is there.
  Octets octets(512);
  const timeval patience{0, 300'000};
  ssize_t got = 1;
  for (int tries = 0; tries < 10 && got > 0; ++tries) {
    const int fd = send_query(query_octets("evil.test"));
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    got = ::recv(fd, octets.data(), octets.size(), 0);
    ::close(fd);
  }
  EXPECT_LE(got, 0);
}

}  // namespace
}  // namespace sallyport::dns
