#include "support/udp.hpp"

#include <cerrno>
#include <cstring>

namespace sallyport::net {
namespace {

union Control {
  char bytes[CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(in_pktinfo))];
  cmsghdr align;
};

void read_local(msghdr& header, UdpPeer& peer) {
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      in_pktinfo info;
      std::memcpy(&info, CMSG_DATA(c), sizeof info);
      std::memcpy(&peer.local, &info.ipi_addr, sizeof info.ipi_addr);
      peer.has_local = true;
    } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
      in6_pktinfo info;
      std::memcpy(&info, CMSG_DATA(c), sizeof info);
      peer.local = info.ipi6_addr;
      peer.interface = IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr) ? info.ipi6_ifindex : 0;
      peer.has_local = true;
    }
  }
}

}  // namespace

std::shared_ptr<UdpServer> UdpServer::adopt(asio::io_context& context, UniqueFd fd, bool is_v6) {
  const int on = 1;
  const int level = is_v6 ? static_cast<int>(IPPROTO_IPV6) : static_cast<int>(IPPROTO_IP);
  const int option = is_v6 ? IPV6_RECVPKTINFO : IP_PKTINFO;
  if (::setsockopt(fd.get(), level, option, &on, sizeof on) != 0) return nullptr;
  std::shared_ptr<UdpServer> server(new UdpServer(context, is_v6));
  error_code error;
  if (server->socket_.assign(is_v6 ? udp::v6() : udp::v4(), fd.get(), error)) return nullptr;
  fd.release();
  server->socket_.native_non_blocking(true, error);
  server->buffers_ = std::make_unique<std::array<std::array<std::uint8_t, kMaxDatagram>, kBatch>>();
  server->datagrams_.reserve(kBatch);
  return server;
}

std::span<const UdpServer::Datagram> UdpServer::receive() {
  std::array<mmsghdr, kBatch> messages{};
  std::array<iovec, kBatch> vectors;
  std::array<Control, kBatch> controls;
  std::array<sockaddr_storage, kBatch> remotes;
  for (std::size_t i = 0; i < kBatch; ++i) {
    vectors[i] = {(*buffers_)[i].data(), kMaxDatagram};
    msghdr& header = messages[i].msg_hdr;
    header.msg_name = &remotes[i];
    header.msg_namelen = sizeof remotes[i];
    header.msg_iov = &vectors[i];
    header.msg_iovlen = 1;
    header.msg_control = controls[i].bytes;
    header.msg_controllen = sizeof controls[i].bytes;
  }
  datagrams_.clear();
  const int count = ::recvmmsg(socket_.native_handle(), messages.data(), kBatch, MSG_DONTWAIT, nullptr);
  for (int i = 0; i < count; ++i) {
    msghdr& header = messages[i].msg_hdr;
    if (header.msg_flags & MSG_TRUNC) continue;
    Datagram& datagram = datagrams_.emplace_back();
    datagram.payload = {(*buffers_)[i].data(), messages[i].msg_len};
    datagram.peer.remote = remotes[i];
    datagram.peer.remote_size = header.msg_namelen;
    read_local(header, datagram.peer);
  }
  return datagrams_;
}

void UdpServer::send(std::span<const std::uint8_t> payload, const UdpPeer& peer) {
  if (!socket_.is_open()) return;
  iovec vector{const_cast<std::uint8_t*>(payload.data()), payload.size()};
  Control control{};
  msghdr header{};
  header.msg_name = const_cast<sockaddr_storage*>(&peer.remote);
  header.msg_namelen = peer.remote_size;
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  if (peer.has_local) {
    header.msg_control = control.bytes;
    header.msg_controllen = is_v6_ ? CMSG_SPACE(sizeof(in6_pktinfo)) : CMSG_SPACE(sizeof(in_pktinfo));
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    if (is_v6_) {
      in6_pktinfo info{};
      info.ipi6_addr = peer.local;
      info.ipi6_ifindex = peer.interface;
      c->cmsg_level = IPPROTO_IPV6;
      c->cmsg_type = IPV6_PKTINFO;
      c->cmsg_len = CMSG_LEN(sizeof info);
      std::memcpy(CMSG_DATA(c), &info, sizeof info);
    } else {
      in_pktinfo info{};
      std::memcpy(&info.ipi_spec_dst, &peer.local, sizeof info.ipi_spec_dst);
      c->cmsg_level = IPPROTO_IP;
      c->cmsg_type = IP_PKTINFO;
      c->cmsg_len = CMSG_LEN(sizeof info);
      std::memcpy(CMSG_DATA(c), &info, sizeof info);
    }
  }
  while (::sendmsg(socket_.native_handle(), &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

awaitable<bool> UdpServer::readable() {
  if (!socket_.is_open()) co_return false;
  const auto [error] = co_await socket_.async_wait(udp::socket::wait_read, kAsResult);
  co_return !error;
}

void UdpServer::close() {
  error_code ignored;
  socket_.close(ignored);
}

}  // namespace sallyport::net
