#include "nftables/conntrack.hpp"

// clang-format off
#include <netinet/in.h>
// clang-format on
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

namespace sallyport::nft {
namespace {

struct CloseHandle {
  void operator()(nfct_handle* handle) const { nfct_close(handle); }
};
struct DestroyEntry {
  void operator()(nf_conntrack* entry) const { nfct_destroy(entry); }
};
using Handle = std::unique_ptr<nfct_handle, CloseHandle>;
using Entry = std::unique_ptr<nf_conntrack, DestroyEntry>;

struct Walk {
  const std::function<bool(const TrackedFlow&)>* condemned;
  std::vector<Entry> found;
};

std::optional<TrackedFlow> flow_of(const nf_conntrack* entry) {
  TrackedFlow flow;
  flow.proto = nfct_get_attr_u8(entry, ATTR_ORIG_L4PROTO);
  flow.port = ntohs(nfct_get_attr_u16(entry, ATTR_ORIG_PORT_DST));
  flow.mark = nfct_get_attr_u32(entry, ATTR_MARK);
  switch (nfct_get_attr_u8(entry, ATTR_ORIG_L3PROTO)) {
    case AF_INET:
      flow.source = Address::v4(ntohl(nfct_get_attr_u32(entry, ATTR_ORIG_IPV4_SRC)));
      flow.destination = Address::v4(ntohl(nfct_get_attr_u32(entry, ATTR_ORIG_IPV4_DST)));
      return flow;
    case AF_INET6: {
      std::array<std::uint8_t, 16> source, destination;
      std::memcpy(source.data(), nfct_get_attr(entry, ATTR_ORIG_IPV6_SRC), 16);
      std::memcpy(destination.data(), nfct_get_attr(entry, ATTR_ORIG_IPV6_DST), 16);
      flow.source = Address::v6(source);
      flow.destination = Address::v6(destination);
      return flow;
    }
    default:
      return std::nullopt;
  }
}

int visit(nf_conntrack_msg_type, nf_conntrack* entry, void* user) {
  Walk& walk = *static_cast<Walk*>(user);
  const std::optional<TrackedFlow> flow = flow_of(entry);
  if (flow && (*walk.condemned)(*flow)) walk.found.emplace_back(nfct_clone(entry));
  return NFCT_CB_CONTINUE;
}

// Null handle or a failed dump: the text.
std::optional<std::string> dump(Walk& walk) {
  const Handle reading(nfct_open(CONNTRACK, 0));
  if (!reading) return std::string("conntrack: ") + std::strerror(errno);
  nfct_callback_register(reading.get(), NFCT_T_ALL, visit, &walk);
  const std::uint32_t family = AF_UNSPEC;
  if (nfct_query(reading.get(), NFCT_Q_DUMP, &family) != 0) return std::string("conntrack: ") + std::strerror(errno);
  return std::nullopt;
}

}  // namespace

std::optional<std::string> each_flow(const std::function<void(const TrackedFlow&)>& show) {
  const std::function<bool(const TrackedFlow&)> none = [&show](const TrackedFlow& flow) {
    show(flow);
    return false;
  };
  Walk walk{&none, {}};
  return dump(walk);
}

Deleted delete_flows(const std::function<bool(const TrackedFlow&)>& condemned) {
  Deleted out;
  const Handle deleting(nfct_open(CONNTRACK, 0));
  if (!deleting) return {0, std::string("conntrack: ") + std::strerror(errno)};
  Walk walk{&condemned, {}};
  if (std::optional<std::string> error = dump(walk)) return {0, std::move(error)};
  for (const Entry& entry : walk.found) {
    if (nfct_query(deleting.get(), NFCT_Q_DESTROY, entry.get()) == 0) {
      ++out.count;
    } else if (errno != ENOENT) {
      out.error = std::string("conntrack: ") + std::strerror(errno);
    }
  }
  return out;
}

}  // namespace sallyport::nft
