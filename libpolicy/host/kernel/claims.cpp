#include "host/kernel/claims.hpp"

// clang-format off
#include <netinet/in.h>
// clang-format on
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <span>

#include "host/kernel/ruleset.hpp"

namespace sallyport::kernel {
namespace {

constexpr int kAttempts = 8;             // a dump that a transaction cut in two is made again
constexpr std::size_t kMostInOne = 500;  // elements of one command

using Octets = std::span<const std::uint8_t>;

// Fields of a concatenation begin at multiples of four octets; kClaimKinds has the widths.
constexpr std::size_t kWidths[] = {6, 4, 16};
constexpr std::size_t padded(std::size_t width) { return (width + 3) / 4 * 4; }

std::string hexadecimal(Octets octets, const char* between) {
  std::string out;
  for (const std::uint8_t octet : octets) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", octet);
    out += (out.empty() ? "" : between) + std::string(digits);
  }
  return out;
}

Claim claim_of(std::size_t kind, Octets key) {
  Claim claim;
  claim.kind = kind;
  const Octets value = key.first(kWidths[kind]);
  if (kind == 0) {
    claim.what = hexadecimal(value, ":");
  } else if (kind == 1) {
    claim.address = Address::v4(std::uint32_t{value[0]} << 24 | std::uint32_t{value[1]} << 16 |
                                std::uint32_t{value[2]} << 8 | value[3]);
    claim.what = claim.address->text();
  } else {
    std::array<std::uint8_t, 16> octets;
    std::copy(value.begin(), value.end(), octets.begin());
    claim.address = Address::v6(octets);
    claim.what = "0x" + hexadecimal(value, "");  // a number to the rules: the field of a packet
  }
  std::memcpy(&claim.port, key.data() + padded(kWidths[kind]), sizeof claim.port);
  return claim;
}

// Calls visit for each attribute. mnl_attr_for_each() is C: it assigns a void pointer.
template <typename Visit>
void each_attribute(const void* begin, const void* end, Visit visit) {
  const auto* attribute = static_cast<const nlattr*>(begin);
  const auto left = [&] {
    return static_cast<int>(static_cast<const char*>(end) - reinterpret_cast<const char*>(attribute));
  };
  for (; mnl_attr_ok(attribute, left()); attribute = mnl_attr_next(attribute)) visit(attribute);
}
template <typename Visit>
void each_nested(const nlattr* nest, Visit visit) {
  const auto* payload = static_cast<const char*>(mnl_attr_get_payload(nest));
  each_attribute(payload, payload + mnl_attr_get_payload_len(nest), visit);
}
std::uint16_t type_of(const nlattr* attribute) { return mnl_attr_get_type(attribute); }

struct Reading {
  std::size_t kind;
  std::vector<Claim>& out;
};

void element(const nlattr* nest, Reading& reading) {
  std::optional<Claim> claim;
  std::uint64_t expires_ms = 0;
  each_nested(nest, [&](const nlattr* attribute) {
    if (type_of(attribute) == NFTA_SET_ELEM_EXPIRATION && mnl_attr_get_payload_len(attribute) == 8)
      expires_ms = be64toh(mnl_attr_get_u64(attribute));
    if (type_of(attribute) != NFTA_SET_ELEM_KEY) return;
    each_nested(attribute, [&](const nlattr* data) {
      const Octets key(static_cast<const std::uint8_t*>(mnl_attr_get_payload(data)), mnl_attr_get_payload_len(data));
      if (type_of(data) == NFTA_DATA_VALUE && key.size() == padded(kWidths[reading.kind]) + 4)
        claim = claim_of(reading.kind, key);
    });
  });
  if (!claim || expires_ms == 0) return;
  claim->expires_ms = expires_ms;
  reading.out.push_back(*std::move(claim));
}

int message(const nlmsghdr* header, void* user) {
  auto& reading = *static_cast<Reading*>(user);
  each_attribute(mnl_nlmsg_get_payload_offset(header, sizeof(nfgenmsg)), mnl_nlmsg_get_payload_tail(header),
                 [&](const nlattr* attribute) {
                   if (type_of(attribute) != NFTA_SET_ELEM_LIST_ELEMENTS) return;
                   each_nested(attribute, [&](const nlattr* nest) { element(nest, reading); });
                 });
  return MNL_CB_OK;
}

// 0, or errno; EINTR: a transaction came between.
int dump(mnl_socket* socket, std::size_t kind, std::uint32_t sequence, std::vector<Claim>& out) {
  alignas(nlmsghdr) std::array<char, 256> request{};
  nlmsghdr* header = mnl_nlmsg_put_header(request.data());
  header->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM;
  header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  header->nlmsg_seq = sequence;
  auto* family = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
  family->nfgen_family = NFPROTO_BRIDGE;
  family->version = NFNETLINK_V0;
  mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_TABLE, kTable);
  mnl_attr_put_strz(header, NFTA_SET_ELEM_LIST_SET, ("claim" + std::string(kClaimKinds[kind].name)).c_str());
  if (mnl_socket_sendto(socket, header, header->nlmsg_len) < 0) return errno;
  Reading reading{kind, out};
  alignas(nlmsghdr) std::array<char, 32768> answer;
  for (int state = MNL_CB_OK; state > MNL_CB_STOP;) {
    const ssize_t size = mnl_socket_recvfrom(socket, answer.data(), answer.size());
    if (size < 0) return errno;
    state = mnl_cb_run(answer.data(), static_cast<std::size_t>(size), sequence, mnl_socket_get_portid(socket), &message,
                       &reading);
    if (state < 0) return errno;
  }
  return 0;
}

}  // namespace

std::optional<std::vector<Claim>> read_claims() {
  static_assert(std::size(kWidths) == std::size(kClaimKinds));
  std::vector<Claim> claims;
  std::uint32_t sequence = 0;
  for (std::size_t kind = 0; kind < std::size(kClaimKinds); ++kind) {
    const std::size_t before = claims.size();
    int error = EINTR;
    for (int attempt = 0; attempt < kAttempts && error == EINTR; ++attempt) {
      claims.resize(before);
      // A new one each time: what is left of a dump that was cut would be read as the next one's.
      const std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> socket(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC),
                                                                     &mnl_socket_close);
      if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) return std::nullopt;
      error = dump(socket.get(), kind, ++sequence, claims);
    }
    if (error != 0) return std::nullopt;
  }
  return claims;
}

namespace {

class Commands {
 public:
  void put(const std::string& set, const std::string& element) { sets_[set].push_back(element); }
  std::string text(const std::string& verb) const {
    std::string out;
    for (const auto& [set, elements] : sets_) {
      for (std::size_t i = 0; i < elements.size(); ++i) {
        out += i % kMostInOne == 0 ? verb + " element bridge sallyport " + set + " { " : ", ";
        out += elements[i];
        if (i % kMostInOne == kMostInOne - 1 || i + 1 == elements.size()) out += " }\n";
      }
    }
    return out;
  }

 private:
  std::map<std::string, std::vector<std::string>> sets_;
};

std::string pair_of(const Claim& claim) { return claim.what + " . " + std::to_string(claim.port); }
std::string name_of(const Claim& claim) { return std::string(kClaimKinds[claim.kind].name); }

}  // namespace

std::string claims_again(const std::vector<Claim>& claims) {
  Commands commands;
  std::map<std::pair<std::size_t, std::string>, std::uint64_t> alone;
  const auto until = [](std::uint64_t ms) {
    return " expires " + std::to_string(std::max<std::uint64_t>(1, ms / 1000)) + "s";
  };
  for (const Claim& claim : claims) {
    commands.put("claim" + name_of(claim), pair_of(claim) + until(claim.expires_ms));
    std::uint64_t& last = alone[{claim.kind, claim.what}];
    last = std::max(last, claim.expires_ms);
  }
  for (const auto& [key, expires_ms] : alone)
    commands.put("claimed" + std::string(kClaimKinds[key.first].name), key.second + until(expires_ms));
  return commands.text("add");
}

std::string claims_released(const std::vector<Claim>& released, const std::vector<Claim>& all) {
  std::set<std::string> gone, kept, once;
  const auto key = [](const Claim& claim) { return name_of(claim) + " " + pair_of(claim); };
  for (const Claim& claim : released) gone.insert(key(claim));
  for (const Claim& claim : all) {
    if (!gone.contains(key(claim))) kept.insert(name_of(claim) + " " + claim.what);
  }
  Commands commands;
  for (const Claim& claim : released) {
    commands.put("claim" + name_of(claim), pair_of(claim));
    const std::string alone = name_of(claim) + " " + claim.what;
    if (!kept.contains(alone) && once.insert(alone).second) commands.put("claimed" + name_of(claim), claim.what);
  }
  // Added first: deleting one that has just expired would fail the whole transaction.
  return commands.text("add") + commands.text("delete");
}

}  // namespace sallyport::kernel
