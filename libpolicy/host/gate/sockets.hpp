// GateSockets: every socket that a gateway listens on, owned by the warden for as long as the gateway runs, so that a
// worker's death or replacement refuses nobody.
//
// Form     A UDP address has one SO_REUSEPORT socket for each CPU; a TCP address one socket, which listens from
//          start_listening() on. IPv6 sockets are for IPv6 alone. An address that is not there yet is bound all the
//          same (IP_FREEBIND): bridges come and go.
// Errors   G019 at the place of the address.
// Threads  [main].
#pragma once

#include <set>
#include <string>
#include <vector>

#include "host/warden/memory_file.hpp"
#include "language/gateway/gateway_model.hpp"

namespace sallyport {

struct GateSocket {
  std::string listener;
  std::uint16_t proto = 0;
  Address address;
  std::uint16_t port = 0;
  Transparent transparent = Transparent::kNo;
  std::string systemd;  // the FileDescriptorName it came by
  bool listening = false;
  std::vector<Descriptor> fds;

  bool same_as(const GateSocket& other) const {
    return listener == other.listener && proto == other.proto && address == other.address && port == other.port &&
           transparent == other.transparent && systemd == other.systemd;
  }
  // TCP; nothing for UDP. False with errno.
  bool start_listening();
};

// Sockets that systemd has passed to this process, by name. The environment is read once and emptied.
class ActivatedSockets {
 public:
  static ActivatedSockets take();

  // Copies of those with that name; an empty vector: none.
  std::vector<GateSocket> named(const std::string& name) const;
  std::vector<std::string> names() const;

 private:
  struct Passed {
    std::string name;
    Descriptor fd;
  };
  std::vector<Passed> passed_;
};

// What a gateway needs, without descriptors but for systemd's. Reports what systemd did not pass.
std::vector<GateSocket> wanted_sockets(const GatewayModel& gateway, const std::set<std::string>& listeners,
                                       const ActivatedSockets& activated, Reporter& reporter);

// Binds. False: reported.
bool open_socket(GateSocket& socket, const GatewayModel& gateway, Reporter& reporter);

}  // namespace sallyport
