// The plugin on a real ring, in a network namespace of its own. Needs root.
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

#include "support/fake_host.hpp"

namespace sallyport::testing_kit {
namespace {

TEST(Live, AlarmsComeFromTheRingAndHealthTellsOfLosses) {
  if (::geteuid() != 0 || ::unshare(CLONE_NEWNET) != 0) GTEST_SKIP() << "needs root and a network namespace";
  const int control = ::socket(AF_INET, SOCK_DGRAM, 0);
  ifreq up{};
  std::strcpy(up.ifr_name, "lo");
  up.ifr_flags = IFF_UP | IFF_RUNNING;
  ASSERT_EQ(::ioctl(control, SIOCSIFFLAGS, &up), 0);
  FakeHost host;
  host.gate.topology =
      R"({"networks":[{"name":"lab","interfaces":["lo"],"addresses":["127.0.0.0/8"]}],"own":["127.0.0.9"]})";
  LoadedPlugin plugin(PLUGIN_FILE, host);
  ASSERT_EQ(plugin.create(R"({"grace":"1s"})"), POLICY_OK) << plugin.error.text;
  ASSERT_EQ(plugin.start(), POLICY_OK) << plugin.error.text;
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(4444);
  ::inet_pton(AF_INET, "127.0.0.5", &to.sin_addr);
  ASSERT_EQ(::sendto(control, "leak", 4, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 4);
  const auto records = host.wait_for_audit(1);
  ASSERT_FALSE(records.empty());
  EXPECT_EQ(records[0].address, "127.0.0.5");
  EXPECT_EQ(records[0].port, 4444);
  EXPECT_EQ(records[0].proto, 17);
  EXPECT_EQ(records[0].verdict, POLICY_DENY);
  EXPECT_EQ(records[0].detail, R"({"cause":"not answered; other"})");
  EXPECT_EQ(records[0].client, "127.0.0.1");
  EXPECT_NE(records[0].client_id, 0u);
  EXPECT_NE(plugin.health().find("\"kernel_dropped\":0"), std::string::npos);
  EXPECT_EQ(plugin.stop(), POLICY_OK);
  EXPECT_EQ(host.open_threads(), 0u);
  ::close(control);
}

}  // namespace
}  // namespace sallyport::testing_kit
