// The kernel's socket tables as text: what listens, where, and what is no listener.
#include "host/doctor/listeners.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace sallyport::doctor {
namespace {

constexpr const char* kHeading =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

std::string row(const std::string& local, const char* state, const char* inode) {
  return "   0: " + local + " 00000000:0000 " + state + " 00000000:00000000 00:00000000 00000000     0        0 " +
         inode + " 1 0000000000000000 100 0 0 10 0\n";
}

std::vector<ListeningSocket> read(const std::string& rows, bool udp, bool v6) {
  std::vector<ListeningSocket> found;
  read_socket_table(kHeading + rows, udp, v6, found);
  return found;
}

struct Case {
  const char* why;
  std::string local;
  const char* state;
  bool udp, v6;
  const char* address;  // "": no listener
  std::uint16_t port;
  bool everywhere;
};

class SocketTable : public testing::TestWithParam<Case> {};

TEST_P(SocketTable, Row) {
  const Case& c = GetParam();
  const std::vector<ListeningSocket> found = read(row(c.local, c.state, "4711"), c.udp, c.v6);
  if (*c.address == '\0') {
    EXPECT_TRUE(found.empty());
    return;
  }
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].address.text(), c.address);
  EXPECT_EQ(found[0].port, c.port);
  EXPECT_EQ(found[0].everywhere, c.everywhere);
  EXPECT_EQ(found[0].udp, c.udp);
  EXPECT_EQ(found[0].inode, 4711u);
}

INSTANTIATE_TEST_SUITE_P(
    Rows, SocketTable,
    testing::ValuesIn<Case>({
        {"TcpOnLoopback", "0100007F:0035", "0A", false, false, "127.0.0.1", 53, false},
        {"TcpEverywhere", "00000000:0C38", "0A", false, false, "0.0.0.0", 3128, true},
        {"OctetOrder", "010014AC:0035", "0A", false, false, "172.20.0.1", 53, false},
        {"UdpOfResolved", "3500007F:0035", "07", true, false, "127.0.0.53", 53, false},
        {"SixEverywhere", "00000000000000000000000000000000:0035", "0A", false, true, "::", 53, true},
        {"SixLoopback", "00000000000000000000000001000000:0050", "0A", false, true, "::1", 80, false},
        {"SixAddress", "000000FD00002000000000000100000A:0050", "0A", false, true, "fd00:0:20::a00:1", 80, false},
        {"Established", "0100007F:0035", "01", false, false, "", 0, false},
        {"TimeWait", "0100007F:0035", "06", false, false, "", 0, false},
        {"UdpConnected", "0100007F:0035", "01", true, false, "", 0, false},
        {"NoPort", "0100007F", "0A", false, false, "", 0, false},
        {"NotHexadecimal", "010000XF:0035", "0A", false, false, "", 0, false},
        {"SixInATableOfFour", "00000000000000000000000000000000:0035", "0A", false, false, "", 0, false},
        {"PortTooLong", "0100007F:10035", "0A", false, false, "", 0, false},
    }),
    [](const auto& row_of) { return row_of.param.why; });

TEST(SocketTableWhole, SeveralRowsAndACutLast) {
  const auto found =
      read(row("0100007F:0035", "0A", "1") + row("00000000:0016", "0A", "2") + "   2: 0000", false, false);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[1].text(), "a program that only root may look at on 22/tcp");
}

TEST(SocketTableWhole, OwnListenerIsFoundByName) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(fd, 1), 0);
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  bool found = false;
  for (const ListeningSocket& socket : listening_sockets()) {
    if (socket.port == ntohs(address.sin_port) && !socket.udp)
      found = found || socket.program == "doctor_test (pid " + std::to_string(::getpid()) + ")";
  }
  ::close(fd);
  EXPECT_TRUE(found);
}

}  // namespace
}  // namespace sallyport::doctor
