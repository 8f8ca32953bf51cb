#include "host/gate/sockets.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "engine/model.hpp"
#include "language/suggest.hpp"

namespace sallyport {
namespace {

constexpr int kBacklog = 4096;       // the kernel lowers it to net.core.somaxconn
constexpr int kUdpBuffer = 4 << 20;  // some 10,000 queries while a worker is replaced; lowered to net.core.rmem_max
constexpr unsigned kMostUdpSockets = 16;  // of one address; each has a thread of its own in the plugin

unsigned cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::clamp(static_cast<unsigned>(CPU_COUNT(&set)), 1u, kMostUdpSockets);
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

SocketAddress socket_address(const Address& address, std::uint16_t port) {
  SocketAddress out;
  if (address.is_v4()) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(out.storage);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    v4.sin_addr.s_addr = htonl(address.v4_host_order());
    out.length = sizeof v4;
  } else {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(out.storage);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::copy(address.octets().begin(), address.octets().end(), v6.sin6_addr.s6_addr);
    out.length = sizeof v6;
  }
  return out;
}

bool set(int fd, int level, int option) {
  const int on = 1;
  return ::setsockopt(fd, level, option, &on, sizeof on) == 0;
}

// -1 with errno.
Descriptor bind_one(const GateSocket& socket, bool reuse_port) {
  const bool v4 = socket.address.is_v4();
  const int type = socket.proto == kProtoUdp ? SOCK_DGRAM : SOCK_STREAM;
  Descriptor fd(::socket(v4 ? AF_INET : AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return Descriptor();
  bool ready = v4 || set(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY);
  if (type == SOCK_STREAM) ready = ready && set(fd.get(), SOL_SOCKET, SO_REUSEADDR);
  if (reuse_port) ready = ready && set(fd.get(), SOL_SOCKET, SO_REUSEPORT);
  if (socket.transparent == Transparent::kTproxy)
    ready = ready && (v4 ? set(fd.get(), IPPROTO_IP, IP_TRANSPARENT) : set(fd.get(), IPPROTO_IPV6, IPV6_TRANSPARENT));
  if (!ready) return Descriptor();
  if (type == SOCK_DGRAM) ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &kUdpBuffer, sizeof kUdpBuffer);
  const SocketAddress address = socket_address(socket.address, socket.port);
  if (::bind(fd.get(), address.get(), address.length) == 0) return fd;
  if (errno != EADDRNOTAVAIL) return Descriptor();
  ready = v4 ? set(fd.get(), IPPROTO_IP, IP_FREEBIND) : set(fd.get(), IPPROTO_IPV6, IPV6_FREEBIND);
  if (!ready || ::bind(fd.get(), address.get(), address.length) != 0) return Descriptor();
  return fd;
}

const EndpointModel* place_of(const GateSocket& socket, const GatewayModel& gateway) {
  for (const ListenerModel& listener : gateway.listeners) {
    for (const EndpointModel& endpoint : listener.endpoints) {
      if (listener.name == socket.listener && endpoint.proto == socket.proto && endpoint.address == socket.address &&
          endpoint.port == socket.port)
        return &endpoint;
    }
  }
  return nullptr;
}

}  // namespace

bool GateSocket::start_listening() {
  if (proto == kProtoUdp || listening) return true;
  for (const Descriptor& fd : fds) {
    if (::listen(fd.get(), kBacklog) != 0) return false;
  }
  listening = true;
  return true;
}

ActivatedSockets ActivatedSockets::take() {
  ActivatedSockets taken;
  char** names = nullptr;
  const int count = ::sd_listen_fds_with_names(/*unset_environment=*/1, &names);
  for (int i = 0; i < count; ++i) {
    taken.passed_.push_back(
        {names != nullptr && names[i] != nullptr ? names[i] : "unknown", Descriptor(SD_LISTEN_FDS_START + i)});
    if (names != nullptr) std::free(names[i]);
  }
  std::free(names);
  return taken;
}

std::vector<std::string> ActivatedSockets::names() const {
  std::vector<std::string> all;
  for (const Passed& passed : passed_) {
    if (std::find(all.begin(), all.end(), passed.name) == all.end()) all.push_back(passed.name);
  }
  return all;
}

std::vector<GateSocket> ActivatedSockets::named(const std::string& name) const {
  std::vector<GateSocket> found;
  for (const Passed& passed : passed_) {
    if (passed.name != name) continue;
    int type = 0, listening = 0;
    socklen_t length = sizeof type;
    if (::getsockopt(passed.fd.get(), SOL_SOCKET, SO_TYPE, &type, &length) != 0) continue;
    sockaddr_storage storage{};
    length = sizeof storage;
    if (::getsockname(passed.fd.get(), reinterpret_cast<sockaddr*>(&storage), &length) != 0) continue;
    const Result<Address> address = Address::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), length);
    if (!address.ok()) continue;  // AF_UNIX, netlink: nobody can reach the gateway through it
    GateSocket socket;
    socket.proto = type == SOCK_DGRAM ? kProtoUdp : kProtoTcp;
    socket.address = *address;
    socket.port = ntohs(address->is_v4() ? reinterpret_cast<const sockaddr_in&>(storage).sin_port
                                         : reinterpret_cast<const sockaddr_in6&>(storage).sin6_port);
    socket.systemd = name;
    length = sizeof listening;
    ::getsockopt(passed.fd.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
    socket.listening = listening != 0;
    ::fcntl(passed.fd.get(), F_SETFL, ::fcntl(passed.fd.get(), F_GETFL) | O_NONBLOCK);
    socket.fds.emplace_back(::fcntl(passed.fd.get(), F_DUPFD_CLOEXEC, 3));
    found.push_back(std::move(socket));
  }
  return found;
}

std::vector<GateSocket> wanted_sockets(const GatewayModel& gateway, const std::set<std::string>& listeners,
                                       const ActivatedSockets& activated, Reporter& reporter) {
  std::vector<GateSocket> wanted;
  for (const ListenerModel& listener : gateway.listeners) {
    if (!listeners.contains(listener.name)) continue;
    for (const EndpointModel& endpoint : listener.endpoints) {
      GateSocket socket;
      socket.listener = listener.name;
      socket.proto = endpoint.proto;
      socket.address = endpoint.address;
      socket.port = endpoint.port;
      socket.transparent = listener.transparent;
      wanted.push_back(std::move(socket));
    }
    if (listener.systemd.empty()) continue;
    std::vector<GateSocket> passed = activated.named(listener.systemd);
    if (passed.empty()) {
      std::string names;
      for (const std::string& name : activated.names()) names += (names.empty() ? "" : ", ") + name;
      reporter.error("G019", listener.at, "listeners." + listener.name,
                     "systemd has passed no socket called " + in_ticks(listener.systemd),
                     names.empty() ? "start it by a socket unit with FileDescriptorName=" + listener.systemd
                                   : "it passed " + names);
    }
    for (GateSocket& socket : passed) {
      socket.listener = listener.name;
      socket.transparent = listener.transparent;
      wanted.push_back(std::move(socket));
    }
  }
  return wanted;
}

bool open_socket(GateSocket& socket, const GatewayModel& gateway, Reporter& reporter) {
  if (!socket.systemd.empty()) return true;
  const unsigned count = socket.proto == kProtoUdp ? cpus() : 1;
  // The first without SO_REUSEPORT: with it, a second gateway would silently share the port.
  bool bound = false;
  int error = 0;
  {
    const Descriptor probe = socket.proto == kProtoUdp ? bind_one(socket, false) : Descriptor();
    if (socket.proto == kProtoUdp && probe.get() < 0) error = errno;
  }
  if (error == 0) {
    bound = true;
    for (unsigned i = 0; i < count && bound; ++i) {
      Descriptor fd = bind_one(socket, socket.proto == kProtoUdp);
      bound = fd.get() >= 0;
      if (!bound) error = errno;
      if (bound) socket.fds.push_back(std::move(fd));
    }
  }
  if (bound) return true;
  socket.fds.clear();
  const EndpointModel* endpoint = place_of(socket, gateway);
  const char* proto = socket.proto == kProtoUdp ? "udp" : "tcp";
  const std::string where = (socket.address.is_v6() ? "[" + socket.address.text() + "]" : socket.address.text()) + ":" +
                            std::to_string(socket.port);
  std::string repair;
  if (error == EADDRINUSE)
    repair = std::string("`ss -lnp") + proto[0] + " sport = :" + std::to_string(socket.port) +
             "` shows which program has it";
  if (error == EACCES) repair = "ports below 1024 need root or CAP_NET_BIND_SERVICE";
  if (error == EPERM) repair = "`transparent: tproxy` needs root or CAP_NET_ADMIN";
  if (error == EAFNOSUPPORT) repair = "this host has no IPv6";
  reporter.error("G019", endpoint == nullptr ? Span{} : endpoint->at, endpoint == nullptr ? "" : endpoint->path,
                 std::string("cannot listen on ") + where + "/" + proto + ": " + std::strerror(error),
                 std::move(repair));
  return false;
}

}  // namespace sallyport
