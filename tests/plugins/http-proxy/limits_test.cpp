// Slow clients, many clients, and what is left of them (HTP-32, HTP-33, REL-04).
#include <sys/resource.h>

#include <future>

#include "proxy_bench.hpp"

namespace sallyport::http_proxy {
namespace {

TEST_F(ProxyBench, SlowHeadsEnd) {  // HTP-32
  config.header_timeout = 200ms;
  start();
  Peer client = connect();
  const auto began = std::chrono::steady_clock::now();
  const std::string request = get("http://pkg.test/");
  std::thread slow([&] {
    for (const char c : request.substr(0, 40)) {
      if (!client.send(std::string(1, c))) return;
      std::this_thread::sleep_for(20ms);
    }
  });
  const std::string got = client.receive_all();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 700ms);
  slow.join();
  EXPECT_EQ(status_of(got), "408") << got;
  EXPECT_TRUE(refused_with(got, "timed_out"));
  EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_TIMED_OUT);
}

TEST_F(ProxyBench, WhoSaysNothingIsLetGo) {
  config.header_timeout = 150ms;
  config.keepalive_timeout = 150ms;
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  EXPECT_EQ(ask(""), "");
  Peer client = connect();
  client.send(get("http://pkg.test/"));
  client.receive_until("hello");
  EXPECT_EQ(client.receive_all(), "");
  EXPECT_EQ(client.end, "eof");
  EXPECT_EQ(host.audit().size(), 2u) << "silence is no request";
}

TEST_F(ProxyBench, SlowBodiesEnd) {  // HTP-32
  config.body_timeout = 200ms;
  Origin origin(kGood, 80, [](Peer& peer) { peer.receive_all(); });
  start();
  for (const char* framing : {"Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"}) {
    const std::string got =
        ask("POST http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\n" + std::string(framing) + "\r\n5\r\nab");
    EXPECT_EQ(status_of(got), "408") << got;
  }
}

TEST_F(ProxyBench, TricklingBodiesEnd) {  // HTP-32: never idle, and never done
  config.body_timeout = 300ms;
  config.body_rate = 1000;
  Origin origin(kGood, 80, [](Peer& peer) { peer.receive_all(); });
  start();
  Peer client = connect();
  client.send("POST http://pkg.test/ HTTP/1.1\r\nHost: pkg.test\r\nContent-Length: 100000\r\n\r\n");
  const auto began = std::chrono::steady_clock::now();
  std::thread slow([&] {
    for (int i = 0; i < 100 && client.send("x"); ++i) std::this_thread::sleep_for(30ms);
  });
  const std::string got = client.receive_all();
  EXPECT_LT(std::chrono::steady_clock::now() - began, 1500ms);
  slow.join();
  EXPECT_EQ(status_of(got), "408") << got;
}

TEST_F(ProxyBench, SlowReadersEnd) {  // HTP-32
  config.body_timeout = 200ms;
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive_head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n");
    for (int i = 0; i < 500 && peer.send(std::string(100'000, 'x')); ++i) {
    }
  });
  start();
  Peer client = connect();
  client.send(get("http://pkg.test/"));
  EXPECT_TRUE(becomes_true([&] { return counts_->total() == 0; })) << "it takes nothing";
}

TEST_F(ProxyBench, OriginsThatStallEnd) {
  config.body_timeout = 200ms;
  Origin origin(kGood, 80, [](Peer& peer) {
    peer.receive_head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    peer.receive_all();
  });
  start();
  Peer client = connect();
  client.send(get("http://pkg.test/"));
  client.receive_all();
  EXPECT_EQ(client.end, "reset");
}

TEST_F(ProxyBench, MoreThanTheBoundGet503) {
  config.max_connections_per_client = 3;
  start();
  std::vector<Peer> held;
  for (int i = 0; i < 3; ++i) held.push_back(connect());
  ASSERT_TRUE(becomes_true([&] { return counts_->total() == 3; }));
  const std::string got = ask(get("http://pkg.test/"));
  EXPECT_EQ(status_of(got), "503") << got;
  EXPECT_TRUE(refused_with(got, "limit_exceeded")) << got;
  EXPECT_EQ(host.wait_for_audit(1)[0].reason, POLICY_REASON_LIMIT_EXCEEDED);
  held.clear();
  ASSERT_TRUE(becomes_true([&] { return counts_->total() == 0; }));
  EXPECT_EQ(status_of(ask(get("http://evil.test/"))), "403");
}

TEST_F(ProxyBench, RequestsOnAConnectionAreCounted) {
  config.max_requests = 2;
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  const std::string got = ask(get("http://pkg.test/") + get("http://pkg.test/") + get("http://pkg.test/"));
  EXPECT_EQ(witness.requests().size(), 2u);
  EXPECT_NE(got.find("Connection: close\r\n"), std::string::npos);
}

TEST_F(ProxyBench, ConfiguredBoundsOfAHead) {
  config.max_header = 1024;
  config.max_fields = 8;
  config.max_target = 256;
  start();
  EXPECT_EQ(status_of(ask(get("http://pkg.test/", "X: " + std::string(1100, 'a') + "\r\n"))), "431");
  EXPECT_EQ(status_of(ask(get("http://pkg.test/", "a:1\r\nb:1\r\nc:1\r\nd:1\r\ne:1\r\nf:1\r\ng:1\r\nh:1\r\n"))), "431");
  EXPECT_EQ(status_of(ask(get("http://pkg.test/" + std::string(260, 'a')))), "414");
}

TEST_F(ProxyBench, OutOfDescriptorsItSays503AndRecovers) {  // REL-04
  config.max_connections = config.max_connections_per_client = 1000;
  start();
  ASSERT_EQ(status_of(ask(get("http://evil.test/"))), "403");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  std::vector<Peer> held;
  for (int i = 0; i < 20; ++i) held.push_back(connect());
  ASSERT_TRUE(becomes_true([&] { return counts_->total() == 20; }));
  // A client of which the descriptor is there already, and not one more for the proxy.
  std::vector<Peer> late;
  const int lowest = ::dup(0);
  ::close(lowest);
  std::vector<int> sockets;
  for (int i = 0; i < 5; ++i) sockets.push_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int next = ::dup(0);
  ::close(next);
  const rlimit tight{static_cast<rlim_t>(next), before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  int told = 0;
  for (const int fd : sockets) {
    const net::tcp::endpoint at = endpoint("127.0.0.1", port_);
    ASSERT_EQ(::connect(fd, at.data(), static_cast<socklen_t>(at.size())), 0);
    late.emplace_back(fd);  // kept: its number is not to become free
    const std::string got = late.back().receive_all();
    told += status_of(got) == "503" ? 1 : 0;
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(told, 5);
  EXPECT_TRUE(becomes_true([&] { return status_of(ask(get("http://evil.test/"))) == "403"; }));
  held.clear();
}

TEST_F(ProxyBench, ManySlowClientsDoNotSlowOthers) {  // HTP-32
  config.max_connections_per_client = 1000;
  config.header_timeout = 3s;
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  const auto worst = [&] {
    auto most = 0ns;
    Peer client = connect();
    for (int i = 0; i < 100; ++i) {
      const auto began = std::chrono::steady_clock::now();
      client.send(get("http://pkg.test/"));
      EXPECT_EQ(client.receive_until("hello").substr(9, 3), "200");
      if (i > 1) most = std::max<std::chrono::nanoseconds>(most, std::chrono::steady_clock::now() - began);
    }
    return most;
  };
  std::vector<Peer> slow;
  for (int i = 0; i < 400; ++i) {
    slow.push_back(connect());
    slow.back().send("GET http://pkg.test/ HTTP/1.1\r\nHost: pkg");
  }
  EXPECT_LT(worst(), 500ms);
  EXPECT_TRUE(becomes_true([&] { return counts_->total() == 0; }, 8s));
  for (Peer& client : slow) EXPECT_EQ(status_of(client.receive_all()), "408");
}

TEST_F(ProxyBench, DrainFinishesWhatIsAtWork) {
  std::atomic<bool> go{false};
  Origin slow(kGood, 80, [&](Peer& peer) {
    peer.receive_head();
    while (!go) std::this_thread::sleep_for(5ms);
    peer.send(Witness::kHello);
    peer.receive_all();
  });
  Witness witness;
  Origin tls(kGood, 443, witness.record({}, "ok"));
  start();
  Peer idle = connect(), at_work = connect();
  at_work.send(get("http://pkg.test/"));
  ASSERT_TRUE(becomes_true([&] { return slow.connections() == 1; }));
  Peer open = tunnel("api.example.test:443", make_hello("api.example.test"));
  ASSERT_EQ(open.receive(2), "ok");
  loop_.post([this] { proxy_->drain(); });
  EXPECT_EQ(idle.receive_all(), "");
  EXPECT_EQ(idle.end, "eof");
  idle.send(get("http://pkg.test/"));  // it could not know
  std::this_thread::sleep_for(20ms);
  idle.receive_all();
  EXPECT_EQ(idle.end, "eof") << "too late for an answer, and still no reset";
  idle.close();
  EXPECT_TRUE(becomes_true([&] { return proxy_->connections() == 2; }));
  go = true;
  const std::string got = at_work.receive_all();
  EXPECT_EQ(status_of(got), "200");
  EXPECT_NE(got.find("Connection: close\r\n"), std::string::npos);
  open.send("still");
  open.shutdown_send();
  EXPECT_EQ(open.receive_all(), "");
  EXPECT_TRUE(ends_within(2s));
}

// REL-01: whoever waits in the listener's queue, has just connected, or has a kept connection, cannot know of the
// drain.
TEST_F(ProxyBench, DrainAnswersWhoCouldNotKnow) {
  Witness witness;
  Origin origin(kGood, 80, witness.serve());
  start();
  Peer accepted = connect(), kept = connect();
  kept.send(get("http://pkg.test/"));
  EXPECT_EQ(status_of(kept.receive_head()), "200");
  EXPECT_EQ(kept.receive(5), "hello");
  ASSERT_TRUE(becomes_true([&] { return proxy_->connections() == 2; }));
  std::vector<Peer> queued;
  std::promise<void> drained;
  loop_.post([&] {
    for (int i = 0; i < 3; ++i) queued.push_back(connect());  // nobody accepts while this runs
    proxy_->drain();
    drained.set_value();
  });
  drained.get_future().wait();
  EXPECT_EQ(counts_->total(), 5u) << "counted from the moment of their accept";
  std::vector<Peer*> all{&accepted, &kept};
  for (Peer& one : queued) all.push_back(&one);
  for (Peer* one : all) one->send(get("http://pkg.test/"));
  for (Peer* one : all) {
    const std::string got = one->receive_all();
    EXPECT_EQ(status_of(got), "200");
    EXPECT_NE(got.find("Connection: close\r\n"), std::string::npos) << got;
    EXPECT_EQ(one->end, "eof");
  }
}

TEST_F(ProxyBench, DrainCountsWhoIsTurnedAway) {
  config.max_connections = 1;
  start();
  Peer first = connect();
  ASSERT_TRUE(becomes_true([&] { return proxy_->connections() == 1; }));
  Peer second = connect();
  EXPECT_EQ(status_of(second.receive_head()), "503");
  EXPECT_EQ(proxy_->turning_away(), 1u) << "the process must not end before the client has read why";
  second.close();
  EXPECT_TRUE(becomes_true([&] { return proxy_->turning_away() == 0; }));
  first.close();
}

}  // namespace
}  // namespace sallyport::http_proxy
