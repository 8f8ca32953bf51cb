#include "nftables/netlink.hpp"

// clang-format off
#include <netinet/in.h>
// clang-format on
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace sallyport::nft {
namespace {

constexpr int kAnswerMs = 1000;  // the kernel answers in microseconds

net::UniqueFd open_socket(int protocol, std::uint32_t groups) {
  net::UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  sockaddr_nl own{};
  own.nl_family = AF_NETLINK;
  own.nl_groups = groups;
  if (fd.get() < 0 || ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own) != 0) return {};
  return fd;
}

void empty(int fd) {
  std::array<char, 16384> buffer;
  // ENOBUFS says that events were lost: a change like any other, and the queue goes on.
  while (::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT) > 0 || errno == ENOBUFS) {
  }
}

// Sends a request and hands every message of the answer to `each` until done. False: no whole answer, also if what was
// listed changed meanwhile.
template <typename Each>
bool ask(int fd, const nlmsghdr* request, Each each) {
  empty(fd);
  if (::send(fd, request, request->nlmsg_len, 0) < 0) return false;
  std::vector<char> buffer(32768);
  bool whole = true;
  for (;;) {
    pollfd waiting{fd, POLLIN, 0};
    if (::poll(&waiting, 1, kAnswerMs) <= 0) return false;
    const ssize_t received = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (received <= 0) return false;
    int left = static_cast<int>(received);
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
    for (; mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
      if (message->nlmsg_seq != request->nlmsg_seq) continue;
      whole = whole && (message->nlmsg_flags & NLM_F_DUMP_INTR) == 0;
      if (message->nlmsg_type == NLMSG_DONE) return whole;
      if (message->nlmsg_type == NLMSG_ERROR)
        return static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message))->error == 0;
      each(message);
      if ((message->nlmsg_flags & NLM_F_MULTI) == 0) return true;
    }
  }
}

// mnl_attr_for_each() is C: it assigns a void pointer.
template <typename Visit>
void for_each_attribute(const nlmsghdr* message, std::size_t header, Visit visit) {
  const auto* attribute = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, header));
  const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(message));
  for (; mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)));
       attribute = mnl_attr_next(attribute))
    visit(attribute);
}

}  // namespace

RulesetWatch::RulesetWatch() : asking_(open_socket(NETLINK_NETFILTER, 0)) {
  events_ = open_socket(NETLINK_NETFILTER, 0);
  const int group = NFNLGRP_NFTABLES;
  if (events_.get() >= 0 && ::setsockopt(events_.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0)
    events_ = {};
}

void RulesetWatch::drain() { empty(events_.get()); }

std::optional<std::uint32_t> RulesetWatch::generation() {
  alignas(nlmsghdr) std::array<char, 64> buffer{};
  nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
  request->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
  request->nlmsg_flags = NLM_F_REQUEST;
  request->nlmsg_seq = ++sequence_;
  auto* header = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(request, sizeof(nfgenmsg)));
  header->nfgen_family = AF_UNSPEC;
  header->version = NFNETLINK_V0;
  std::optional<std::uint32_t> found;
  ask(asking_.get(), request, [&](const nlmsghdr* message) {
    for_each_attribute(message, sizeof(nfgenmsg), [&](const nlattr* attribute) {
      if (mnl_attr_get_type(attribute) == NFTA_GEN_ID) found = ntohl(mnl_attr_get_u32(attribute));
    });
  });
  return found;
}

LinkWatch::LinkWatch() : events_(open_socket(NETLINK_ROUTE, RTMGRP_LINK)), asking_(open_socket(NETLINK_ROUTE, 0)) {}

void LinkWatch::drain() { empty(events_.get()); }

std::optional<std::map<int, Link>> LinkWatch::links() {
  constexpr int kAttempts = 8;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    alignas(nlmsghdr) std::array<char, 128> buffer{};
    nlmsghdr* request = mnl_nlmsg_put_header(buffer.data());
    request->nlmsg_type = RTM_GETLINK;
    request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    request->nlmsg_seq = ++sequence_;
    auto* header = static_cast<ifinfomsg*>(mnl_nlmsg_put_extra_header(request, sizeof(ifinfomsg)));
    header->ifi_family = AF_UNSPEC;
    std::map<int, Link> found;
    const bool whole = ask(asking_.get(), request, [&](const nlmsghdr* message) {
      const auto* info = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
      Link link;
      for_each_attribute(message, sizeof(ifinfomsg), [&](const nlattr* attribute) {
        if (mnl_attr_get_type(attribute) == IFLA_IFNAME) link.name = mnl_attr_get_str(attribute);
        if (mnl_attr_get_type(attribute) == IFLA_MASTER) link.master = static_cast<int>(mnl_attr_get_u32(attribute));
      });
      found[info->ifi_index] = std::move(link);
    });
    if (whole) return found;
  }
  return std::nullopt;
}

}  // namespace sallyport::nft
