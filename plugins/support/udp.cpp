#include "support/udp.hpp"

#include <cerrno>
#include <cstring>

namespace sallyport::net {
namespace {

union Control {
  char bytes[CMSG_SPACE(sizeof(in6_pktinfo))];
  cmsghdr align;
};
static_assert(sizeof(in6_pktinfo) >= sizeof(in_pktinfo));

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

// The source address of an answer, as ancillary data. Returns its size.
std::size_t write_local(Control& control, const UdpPeer& peer, bool is_v6) {
  cmsghdr* c = &control.align;
  if (is_v6) {
    in6_pktinfo info{};
    info.ipi6_addr = peer.local;
    info.ipi6_ifindex = peer.interface;
    c->cmsg_level = IPPROTO_IPV6;
    c->cmsg_type = IPV6_PKTINFO;
    c->cmsg_len = CMSG_LEN(sizeof info);
    std::memcpy(CMSG_DATA(c), &info, sizeof info);
    return CMSG_SPACE(sizeof info);
  }
  in_pktinfo info{};
  std::memcpy(&info.ipi_spec_dst, &peer.local, sizeof info.ipi_spec_dst);
  c->cmsg_level = IPPROTO_IP;
  c->cmsg_type = IP_PKTINFO;
  c->cmsg_len = CMSG_LEN(sizeof info);
  std::memcpy(CMSG_DATA(c), &info, sizeof info);
  return CMSG_SPACE(sizeof info);
}

bool is_wildcard(int fd) {
  sockaddr_storage local{};
  socklen_t length = sizeof local;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&local), &length) != 0) return true;
  if (local.ss_family == AF_INET) return reinterpret_cast<const sockaddr_in*>(&local)->sin_addr.s_addr == INADDR_ANY;
  return IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6*>(&local)->sin6_addr);
}

}  // namespace

// Headers keep their pointers; a batch resets what the kernel wrote, and only in the slots it used.
struct UdpServer::Slabs {
  std::array<mmsghdr, kBatch> in{}, out{};
  std::array<iovec, kBatch> in_vectors, out_vectors;
  std::array<Control, kBatch> controls{};
  std::array<sockaddr_storage, kBatch> remotes;
  std::array<std::uint8_t, kBatch> slot;  // of the n-th datagram that counts
  std::size_t used = kBatch;              // slots that the last receive() filled
  std::size_t replies = 0;
  std::array<std::array<std::uint8_t, kMaxDatagram>, kBatch> received;
  std::array<std::array<std::uint8_t, kMaxReply>, kBatch> rooms;

  Slabs() {
    for (std::size_t i = 0; i < kBatch; ++i) {
      in_vectors[i] = {received[i].data(), kMaxDatagram};
      msghdr& header = in[i].msg_hdr;
      header.msg_name = &remotes[i];
      header.msg_iov = &in_vectors[i];
      header.msg_iovlen = 1;
      out[i].msg_hdr.msg_iov = &out_vectors[i];
      out[i].msg_hdr.msg_iovlen = 1;
    }
  }
};

UdpServer::UdpServer(asio::io_context& context, bool is_v6)
    : socket_(context), is_v6_(is_v6), slabs_(std::make_unique<Slabs>()) {}

UdpServer::~UdpServer() = default;

std::shared_ptr<UdpServer> UdpServer::adopt(asio::io_context& context, UniqueFd fd, bool is_v6) {
  std::shared_ptr<UdpServer> server(new UdpServer(context, is_v6));
  server->asks_local_ = is_wildcard(fd.get());
  const int on = server->asks_local_ ? 1 : 0;
  const int level = is_v6 ? static_cast<int>(IPPROTO_IPV6) : static_cast<int>(IPPROTO_IP);
  const int option = is_v6 ? IPV6_RECVPKTINFO : IP_PKTINFO;
  if (::setsockopt(fd.get(), level, option, &on, sizeof on) != 0) return nullptr;
  error_code error;
  if (server->socket_.assign(is_v6 ? udp::v6() : udp::v4(), fd.get(), error)) return nullptr;
  fd.release();
  server->socket_.native_non_blocking(true, error);
  return server;
}

std::size_t UdpServer::receive(bool* full) {
  Slabs& slabs = *slabs_;
  for (std::size_t i = 0; i < slabs.used; ++i) {
    msghdr& header = slabs.in[i].msg_hdr;
    header.msg_namelen = sizeof(sockaddr_storage);
    header.msg_control = asks_local_ ? slabs.controls[i].bytes : nullptr;
    header.msg_controllen = asks_local_ ? sizeof slabs.controls[i].bytes : 0;
  }
  slabs.replies = 0;
  const int count = ::recvmmsg(socket_.native_handle(), slabs.in.data(), kBatch, MSG_DONTWAIT, nullptr);
  slabs.used = count > 0 ? static_cast<std::size_t>(count) : 0;
  if (full != nullptr) *full = slabs.used == kBatch;
  std::size_t whole = 0;
  for (std::size_t i = 0; i < slabs.used; ++i)
    if ((slabs.in[i].msg_hdr.msg_flags & MSG_TRUNC) == 0) slabs.slot[whole++] = static_cast<std::uint8_t>(i);
  return whole;
}

std::span<const std::uint8_t> UdpServer::payload(std::size_t index) const {
  const std::size_t slot = slabs_->slot[index];
  return {slabs_->received[slot].data(), slabs_->in[slot].msg_len};
}

const sockaddr_storage& UdpServer::remote(std::size_t index) const { return slabs_->remotes[slabs_->slot[index]]; }

socklen_t UdpServer::remote_size(std::size_t index) const {
  return slabs_->in[slabs_->slot[index]].msg_hdr.msg_namelen;
}

UdpPeer UdpServer::peer(std::size_t index) const {
  UdpPeer peer;
  msghdr& header = slabs_->in[slabs_->slot[index]].msg_hdr;
  peer.remote = remote(index);
  peer.remote_size = header.msg_namelen;
  if (asks_local_) read_local(header, peer);
  return peer;
}

std::span<std::uint8_t, UdpServer::kMaxReply> UdpServer::room(std::size_t index) {
  return slabs_->rooms[slabs_->slot[index]];
}

void UdpServer::reply(std::size_t index, std::size_t octets) {
  Slabs& slabs = *slabs_;
  const std::size_t slot = slabs.slot[index];
  msghdr& out = slabs.out[slabs.replies].msg_hdr;
  slabs.out_vectors[slabs.replies] = {slabs.rooms[slot].data(), octets};
  ++slabs.replies;
  out.msg_name = &slabs.remotes[slot];
  out.msg_namelen = slabs.in[slot].msg_hdr.msg_namelen;
  out.msg_control = nullptr;
  out.msg_controllen = 0;
  if (!asks_local_) return;
  UdpPeer peer;
  read_local(slabs.in[slot].msg_hdr, peer);
  if (!peer.has_local) return;
  out.msg_controllen = write_local(slabs.controls[slot], peer, is_v6_);  // where the question's stood
  out.msg_control = slabs.controls[slot].bytes;
}

void UdpServer::flush() {
  Slabs& slabs = *slabs_;
  std::size_t sent = 0;
  while (sent < slabs.replies) {
    const int count = ::sendmmsg(socket_.native_handle(), slabs.out.data() + sent,
                                 static_cast<unsigned>(slabs.replies - sent), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (count > 0) {
      sent += static_cast<std::size_t>(count);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EBADF) {
      break;
    } else if (errno != EINTR) {
      ++sent;  // this one cannot be sent (no route, a firewall's EPERM); the others are not to blame
    }
  }
  slabs.replies = 0;
}

void UdpServer::send(std::span<const std::uint8_t> payload, const UdpPeer& peer) {
  iovec vector{const_cast<std::uint8_t*>(payload.data()), payload.size()};
  Control control{};
  msghdr header{};
  header.msg_name = const_cast<sockaddr_storage*>(&peer.remote);
  header.msg_namelen = peer.remote_size;
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  if (peer.has_local) {
    header.msg_controllen = write_local(control, peer, is_v6_);
    header.msg_control = control.bytes;
  }
  while (::sendmsg(socket_.native_handle(), &header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EINTR) {
  }
}

awaitable<bool> UdpServer::readable() {
  if (!reading_) co_return false;
  const auto [error] = co_await socket_.async_wait(udp::socket::wait_read, kAsResult);
  co_return !error && reading_;
}

void UdpServer::stop_reading() {
  reading_ = false;
  error_code ignored;
  socket_.cancel(ignored);
}

}  // namespace sallyport::net
