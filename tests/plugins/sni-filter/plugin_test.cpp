// The .so through its ABI: life cycle, and a connection that nobody redirected.
#include "filter_bench.hpp"

namespace sallyport::sni {
namespace {

using testing_kit::LoadedPlugin;

TEST(SniFilterPlugin, StraightConnectionIsDenied) {  // CEL-06c: a direct connect to the redirect port
  FakeHost host;
  host.decide = [](const policy_query&) { return FakeHost::verdict(POLICY_ALLOW); };
  const std::uint16_t port = host.listen_tcp("tcp"), port6 = host.listen_tcp("tcp", 1, true);
  LoadedPlugin plugin(SNI_FILTER_PLUGIN, host);
  ASSERT_EQ(plugin.create("{}"), POLICY_OK) << plugin.error.text;
  ASSERT_EQ(plugin.start(), POLICY_OK) << plugin.error.text;
  for (const net::tcp::endpoint& at : {endpoint("127.0.0.1", port), endpoint("::1", port6)}) {
    const int fd = ::socket(at.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::connect(fd, at.data(), static_cast<socklen_t>(at.size())), 0);
    Peer client(fd);
    EXPECT_EQ(client.receive_all(), "");
    EXPECT_EQ(client.end, "reset");
  }
  for (const AuditRecord& record : host.wait_for_audit(2)) EXPECT_EQ(record.reason, POLICY_REASON_DST_NOT_BOUND);
  EXPECT_EQ(plugin.stop(), POLICY_OK);
  EXPECT_EQ(host.open_threads(), 0u);
}

TEST(SniFilterPlugin, DrainTakesNoMore) {
  FakeHost host;
  const std::uint16_t port = host.listen_tcp("tcp");
  LoadedPlugin plugin(SNI_FILTER_PLUGIN, host);
  ASSERT_EQ(plugin.create("{}"), POLICY_OK);
  ASSERT_EQ(plugin.start(), POLICY_OK);
  std::uint64_t left = 7;
  EXPECT_EQ(plugin.drain(left), POLICY_OK);
  EXPECT_EQ(left, 0u);
  EXPECT_NE(plugin.health().find(R"("ok":true)"), std::string::npos);
  EXPECT_EQ(plugin.stop(), POLICY_OK);
  EXPECT_GT(port, 0);
}

TEST(SniFilterPlugin, StartStopManyTimes) {
  const auto descriptors = [] {
    int count = 0;
    for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) != -1;
    return count;
  };
  FakeHost host;
  host.listen_tcp("tcp");
  {
    LoadedPlugin warm_up(SNI_FILTER_PLUGIN, host);
  }
  const int before = descriptors();
  for (int i = 0; i < 50; ++i) {
    FakeHost fresh;
    fresh.listen_tcp("tcp");
    LoadedPlugin plugin(SNI_FILTER_PLUGIN, fresh);
    ASSERT_EQ(plugin.create("{}"), POLICY_OK);
    ASSERT_EQ(plugin.start(), POLICY_OK);
    ASSERT_EQ(plugin.stop(), POLICY_OK);
  }
  EXPECT_EQ(descriptors(), before);
}

}  // namespace
}  // namespace sallyport::sni
