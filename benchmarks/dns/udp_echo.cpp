// udp_echo ADDRESS PORT: the floor of a name server: each datagram goes back as it came, but for the QR bit.
// recvmmsg and sendmmsg of 64, blocking: the kernel's own cost of a query and nothing else.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
  constexpr unsigned kBatch = 64;
  if (argc != 3) return 2;
  sockaddr_in own{};
  own.sin_family = AF_INET;
  own.sin_port = htons(static_cast<std::uint16_t>(std::atoi(argv[2])));
  ::inet_pton(AF_INET, argv[1], &own.sin_addr);
  const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) {
    std::perror("bind");
    return 1;
  }
  static std::array<std::array<unsigned char, 1500>, kBatch> buffers;
  std::array<sockaddr_in, kBatch> peers;
  std::array<iovec, kBatch> vectors;
  std::array<mmsghdr, kBatch> messages{};
  for (;;) {
    for (unsigned i = 0; i < kBatch; ++i) {
      vectors[i] = {buffers[i].data(), buffers[i].size()};
      messages[i].msg_hdr = {};
      messages[i].msg_hdr.msg_name = &peers[i];
      messages[i].msg_hdr.msg_namelen = sizeof peers[i];
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    const int count = ::recvmmsg(fd, messages.data(), kBatch, MSG_WAITFORONE, nullptr);
    if (count < 0) return 1;
    for (int i = 0; i < count; ++i) {
      vectors[i].iov_len = messages[i].msg_len;
      buffers[i][2] |= 0x80;
    }
    for (int sent = 0; sent < count;) {
      const int n = ::sendmmsg(fd, messages.data() + sent, static_cast<unsigned>(count - sent), 0);
      if (n < 0) return 1;
      sent += n;
    }
  }
}
