#include "host/warden/environment.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sallyport {
namespace {

// CEL-22 and the variables of CEL-05.
TEST(WorkloadEnvironment, DropsProxiesAndSockets) {
  EXPECT_THAT(workload_environment({"PATH=/bin", "HTTP_PROXY=http://p:1", "https_proxy=x", "All_Proxy=socks5://p",
                                    "NO_PROXY=*", "SSH_AUTH_SOCK=/tmp/a", "DBUS_SESSION_BUS_ADDRESS=unix:abstract=x",
                                    "HTTP_PROXY_NOTES=kept", "LANG=C", "EMPTY="}),
              testing::ElementsAre("PATH=/bin", "HTTP_PROXY_NOTES=kept", "LANG=C", "EMPTY="));
}

}  // namespace
}  // namespace sallyport
