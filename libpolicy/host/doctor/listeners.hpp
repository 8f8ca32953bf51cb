// Who listens on this host: the kernel's socket tables, with the programs that hold the sockets as far as one may look.
//
// Threads  [main]; reads /proc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "names/address.hpp"

namespace sallyport::doctor {

struct ListeningSocket {
  bool udp = false;
  bool everywhere = false;  // 0.0.0.0 or ::
  Address address;
  std::uint16_t port = 0;
  std::uint64_t inode = 0;
  std::string program;  // "sshd (pid 812)"; empty: it may not be looked at

  std::string text() const;  // "sshd (pid 812) on 22/tcp"
};

// Of one table: "/proc/net/udp6" has udp and v6. Public for tests.
void read_socket_table(std::string_view text, bool udp, bool v6, std::vector<ListeningSocket>& out);

std::vector<ListeningSocket> listening_sockets();

}  // namespace sallyport::doctor
