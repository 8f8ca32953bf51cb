// The cell's rules, as nft would write them:
//
//   table inet sallyport {
//     chain capture { type nat hook output priority -100; policy accept;
//       ip daddr 127.0.0.0/8 accept       # the workload's own servers
//       ip6 daddr ::1 accept
//       tcp dport 53 accept               # every address is ours: the DNS listener has it already
//       meta nfproto ipv4 meta l4proto tcp redirect to :TCP4
//       meta nfproto ipv6 meta l4proto tcp redirect to :TCP6
//     }
//     chain refuse { type filter hook output priority 0; policy drop;
//       ip daddr 127.0.0.0/8 accept       # captured flows have 127.0.0.1 as their destination by now
//       ip6 daddr ::1 accept
//       ct state established,related accept
//       meta l4proto {tcp, udp} th dport 53 accept
//       reject with icmpx admin-prohibited
//     }
//     chain made_1f {}                    # attach alone: what it changed besides, for whoever has to undo it
//   }
//
// UDP 53 needs no capture: all addresses are local and the socket is bound to all of them. `related` lets the
// rejections themselves out. Nothing here can open a way out, because there is none: the rules only say what is
// answered and how.
// clang-format off
#include <netinet/in.h>  // before the kernel's headers: they leave out what it has defined, not the other way round
// clang-format on
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "host/cell/network.hpp"

namespace sallyport::cell {
namespace {

constexpr const char* kTable = "sallyport";
constexpr const char* kCapture = "capture";
constexpr const char* kRefuse = "refuse";
constexpr std::string_view kMade = "made_";  // and the changes in hexadecimal
constexpr int kNatPriority = -100;  // NF_IP_PRI_NAT_DST: before kRefuse, so that it sees the captured destination
constexpr std::string_view kRulesRemedy =
    "the kernel lacks a netfilter part: sudo modprobe -a nf_tables nft_chain_nat nft_redir nft_reject_inet nft_ct "
    "nf_conntrack";

// One rule, expression by expression. Register 1 carries every value.
class Rule {
 public:
  explicit Rule(const char* chain) : rule_(nftnl_rule_alloc(), &nftnl_rule_free) {
    nftnl_rule_set_str(rule_.get(), NFTNL_RULE_TABLE, kTable);
    nftnl_rule_set_str(rule_.get(), NFTNL_RULE_CHAIN, chain);
    nftnl_rule_set_u32(rule_.get(), NFTNL_RULE_FAMILY, NFPROTO_INET);
  }

  Rule& family(std::uint8_t nfproto) { return meta(NFT_META_NFPROTO).equals(&nfproto, sizeof(nfproto)); }
  Rule& protocol(std::uint8_t l4) { return meta(NFT_META_L4PROTO).equals(&l4, sizeof(l4)); }

  Rule& destination_port(std::uint16_t port) {
    const std::uint16_t value = htons(port);
    return payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, sizeof(value)).equals(&value, sizeof(value));
  }

  // 127.0.0.0/8: one octet of the destination is enough.
  Rule& to_loopback4() {
    const std::uint8_t first = IN_LOOPBACKNET;
    return family(NFPROTO_IPV4).payload(NFT_PAYLOAD_NETWORK_HEADER, 16, 1).equals(&first, 1);
  }
  Rule& to_loopback6() {
    const in6_addr loopback = in6addr_loopback;
    return family(NFPROTO_IPV6).payload(NFT_PAYLOAD_NETWORK_HEADER, 24, 16).equals(&loopback, sizeof(loopback));
  }

  Rule& established_or_related() {
    nftnl_expr* ct = nftnl_expr_alloc("ct");
    nftnl_expr_set_u32(ct, NFTNL_EXPR_CT_KEY, NFT_CT_STATE);
    nftnl_expr_set_u32(ct, NFTNL_EXPR_CT_DREG, NFT_REG_1);
    add(ct);
    constexpr std::uint32_t kStates = 2 | 4;  // NF_CT_STATE_BIT of established and related
    constexpr std::uint32_t kNone = 0;
    nftnl_expr* mask = nftnl_expr_alloc("bitwise");
    nftnl_expr_set_u32(mask, NFTNL_EXPR_BITWISE_SREG, NFT_REG_1);
    nftnl_expr_set_u32(mask, NFTNL_EXPR_BITWISE_DREG, NFT_REG_1);
    nftnl_expr_set_u32(mask, NFTNL_EXPR_BITWISE_LEN, sizeof(kStates));
    nftnl_expr_set(mask, NFTNL_EXPR_BITWISE_MASK, &kStates, sizeof(kStates));
    nftnl_expr_set(mask, NFTNL_EXPR_BITWISE_XOR, &kNone, sizeof(kNone));
    add(mask);
    return compare(NFT_CMP_NEQ, &kNone, sizeof(kNone));
  }

  Rule& accept() {
    nftnl_expr* verdict = nftnl_expr_alloc("immediate");
    nftnl_expr_set_u32(verdict, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    nftnl_expr_set_u32(verdict, NFTNL_EXPR_IMM_VERDICT, NF_ACCEPT);
    return add(verdict);
  }

  Rule& redirect(unsigned port) {
    const std::uint16_t value = htons(static_cast<std::uint16_t>(port));
    nftnl_expr* load = nftnl_expr_alloc("immediate");
    nftnl_expr_set_u32(load, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
    nftnl_expr_set(load, NFTNL_EXPR_IMM_DATA, &value, sizeof(value));
    add(load);
    nftnl_expr* redirect = nftnl_expr_alloc("redir");
    nftnl_expr_set_u32(redirect, NFTNL_EXPR_REDIR_REG_PROTO_MIN, NFT_REG_1);
    nftnl_expr_set_u32(redirect, NFTNL_EXPR_REDIR_REG_PROTO_MAX, NFT_REG_1);
    nftnl_expr_set_u32(redirect, NFTNL_EXPR_REDIR_FLAGS, NF_NAT_RANGE_PROTO_SPECIFIED);
    return add(redirect);
  }

  Rule& reject() {
    nftnl_expr* reject = nftnl_expr_alloc("reject");
    nftnl_expr_set_u32(reject, NFTNL_EXPR_REJECT_TYPE, NFT_REJECT_ICMPX_UNREACH);
    nftnl_expr_set_u8(reject, NFTNL_EXPR_REJECT_CODE, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
    return add(reject);
  }

  const nftnl_rule* get() const { return rule_.get(); }

 private:
  Rule& add(nftnl_expr* expression) {  // the rule owns it from here
    nftnl_rule_add_expr(rule_.get(), expression);
    return *this;
  }
  Rule& meta(std::uint32_t key) {
    nftnl_expr* meta = nftnl_expr_alloc("meta");
    nftnl_expr_set_u32(meta, NFTNL_EXPR_META_KEY, key);
    nftnl_expr_set_u32(meta, NFTNL_EXPR_META_DREG, NFT_REG_1);
    return add(meta);
  }
  Rule& payload(std::uint32_t base, std::uint32_t offset, std::uint32_t size) {
    nftnl_expr* payload = nftnl_expr_alloc("payload");
    nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_BASE, base);
    nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
    nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
    nftnl_expr_set_u32(payload, NFTNL_EXPR_PAYLOAD_LEN, size);
    return add(payload);
  }
  Rule& equals(const void* value, std::uint32_t size) { return compare(NFT_CMP_EQ, value, size); }
  Rule& compare(std::uint32_t how, const void* value, std::uint32_t size) {
    nftnl_expr* compare = nftnl_expr_alloc("cmp");
    nftnl_expr_set_u32(compare, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
    nftnl_expr_set_u32(compare, NFTNL_EXPR_CMP_OP, how);
    nftnl_expr_set(compare, NFTNL_EXPR_CMP_DATA, value, size);
    return add(compare);
  }

  std::unique_ptr<nftnl_rule, decltype(&nftnl_rule_free)> rule_;
};

// One nf_tables transaction: all of it is applied, or nothing.
class Transaction {
 public:
  Transaction() { nftnl_batch_begin(end(), next_++), advance(); }

  void add_table() {
    nftnl_table* table = nftnl_table_alloc();
    nftnl_table_set_str(table, NFTNL_TABLE_NAME, kTable);
    nftnl_table_set_u32(table, NFTNL_TABLE_FAMILY, NFPROTO_INET);
    nftnl_table_nlmsg_build_payload(header(NFT_MSG_NEWTABLE, NLM_F_CREATE), table);
    advance();
    nftnl_table_free(table);
  }

  // Also if there is none: a table that is added first can always be deleted.
  void delete_table() {
    add_table();
    nftnl_table* table = nftnl_table_alloc();
    nftnl_table_set_str(table, NFTNL_TABLE_NAME, kTable);
    nftnl_table_set_u32(table, NFTNL_TABLE_FAMILY, NFPROTO_INET);
    nftnl_table_nlmsg_build_payload(header(NFT_MSG_DELTABLE, 0), table);
    advance();
    nftnl_table_free(table);
  }

  // A chain without a hook: it only stands there.
  void add_note(const std::string& name) {
    nftnl_chain* chain = nftnl_chain_alloc();
    nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, kTable);
    nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, name.c_str());
    nftnl_chain_nlmsg_build_payload(header(NFT_MSG_NEWCHAIN, NLM_F_CREATE), chain);
    advance();
    nftnl_chain_free(chain);
  }

  void add_chain(const char* name, const char* type, int priority, std::uint32_t policy) {
    nftnl_chain* chain = nftnl_chain_alloc();
    nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, kTable);
    nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, name);
    nftnl_chain_set_str(chain, NFTNL_CHAIN_TYPE, type);
    nftnl_chain_set_u32(chain, NFTNL_CHAIN_HOOKNUM, NF_INET_LOCAL_OUT);
    nftnl_chain_set_s32(chain, NFTNL_CHAIN_PRIO, priority);
    nftnl_chain_set_u32(chain, NFTNL_CHAIN_POLICY, policy);
    nftnl_chain_nlmsg_build_payload(header(NFT_MSG_NEWCHAIN, NLM_F_CREATE), chain);
    advance();
    nftnl_chain_free(chain);
  }

  void add(const Rule& rule) {
    nftnl_rule_nlmsg_build_payload(header(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND),
                                   const_cast<nftnl_rule*>(rule.get()));
    advance();
  }

  Failure commit() {
    nftnl_batch_end(end(), next_++);
    advance();
    const int netlink = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (netlink < 0 && errno == EPROTONOSUPPORT)
      return failed(
          "nf_tables socket",
          "sallyport runs inside a cell already, or another sandbox refuses netfilter: it has to be started outside");
    if (netlink < 0) return failed("nf_tables socket", kRulesRemedy);
    Failure failure = converse(netlink);
    ::close(netlink);
    return failure;
  }

 private:
  char* end() { return buffer_.data() + used_; }
  nlmsghdr* header(std::uint16_t type, std::uint16_t flags) {
    ++awaited_;
    return nftnl_nlmsg_build_hdr(end(), type, NFPROTO_INET, static_cast<std::uint16_t>(flags | NLM_F_ACK), next_++);
  }
  void advance() { used_ += MNL_ALIGN(reinterpret_cast<nlmsghdr*>(end())->nlmsg_len); }

  Failure converse(int netlink) {
    sockaddr_nl kernel{.nl_family = AF_NETLINK};
    if (::sendto(netlink, buffer_.data(), used_, 0, reinterpret_cast<sockaddr*>(&kernel), sizeof(kernel)) < 0)
      return failed("nf_tables rules", kRulesRemedy);
    alignas(nlmsghdr) std::array<char, 16384> reply;
    while (awaited_ > 0) {
      const ssize_t size = ::recv(netlink, reply.data(), reply.size(), 0);
      if (size < 0) return failed("nf_tables rules", kRulesRemedy);
      int left = static_cast<int>(size);
      for (const auto* message = reinterpret_cast<const nlmsghdr*>(reply.data()); mnl_nlmsg_ok(message, left);
           message = mnl_nlmsg_next(message, &left)) {
        if (message->nlmsg_type != NLMSG_ERROR) continue;
        const int error = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message))->error;
        if (error != 0) return failed("nf_tables rules", error, kRulesRemedy);
        --awaited_;
      }
    }
    return {};
  }

  alignas(nlmsghdr) std::array<char, 16384> buffer_{};  // sixteen messages, the largest about 500 octets
  std::size_t used_ = 0;
  std::uint32_t next_ = 1;
  int awaited_ = 0;
};

}  // namespace

Failure install_rules(unsigned tcp4_port, unsigned tcp6_port, std::optional<std::uint32_t> changes) {
  Transaction transaction;
  if (changes) transaction.delete_table();
  transaction.add_table();
  if (changes) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "%x", static_cast<unsigned>(*changes));
    transaction.add_note(std::string(kMade) + text.data());
  }
  transaction.add_chain(kCapture, "nat", kNatPriority, NF_ACCEPT);
  transaction.add(Rule(kCapture).to_loopback4().accept());
  transaction.add(Rule(kCapture).to_loopback6().accept());
  transaction.add(Rule(kCapture).protocol(IPPROTO_TCP).destination_port(53).accept());
  transaction.add(Rule(kCapture).family(NFPROTO_IPV4).protocol(IPPROTO_TCP).redirect(tcp4_port));
  if (tcp6_port != 0) transaction.add(Rule(kCapture).family(NFPROTO_IPV6).protocol(IPPROTO_TCP).redirect(tcp6_port));

  transaction.add_chain(kRefuse, "filter", 0, NF_DROP);
  transaction.add(Rule(kRefuse).to_loopback4().accept());
  transaction.add(Rule(kRefuse).to_loopback6().accept());
  transaction.add(Rule(kRefuse).established_or_related().accept());
  transaction.add(Rule(kRefuse).protocol(IPPROTO_UDP).destination_port(53).accept());
  transaction.add(Rule(kRefuse).protocol(IPPROTO_TCP).destination_port(53).accept());
  transaction.add(Rule(kRefuse).reject());
  return transaction.commit();
}

Failure remove_rules() {
  Transaction transaction;
  transaction.delete_table();
  return transaction.commit();
}

Failure earlier_changes(std::optional<std::uint32_t>& changes) {
  changes.reset();
  const int netlink = ::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
  if (netlink < 0) return failed("nf_tables socket", kRulesRemedy);
  // The chains of every table of the family; ours are few, and a container's seldom more.
  alignas(nlmsghdr) std::array<char, 32768> buffer{};
  const nlmsghdr* request = nftnl_nlmsg_build_hdr(buffer.data(), NFT_MSG_GETCHAIN, NFPROTO_INET, NLM_F_DUMP, 1);
  bool more = ::send(netlink, request, request->nlmsg_len, 0) >= 0;
  int error = more ? 0 : errno;
  bool foreign = false;
  while (more) {
    const ssize_t size = ::recv(netlink, buffer.data(), buffer.size(), 0);
    if (size < 0) {
      error = errno;
      break;
    }
    int left = static_cast<int>(size);
    for (const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(message, left);
         message = mnl_nlmsg_next(message, &left)) {
      if (message->nlmsg_type == NLMSG_DONE) more = false;
      if (message->nlmsg_type == NLMSG_ERROR) {
        error = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message))->error;
        more = false;
      }
      if (message->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN)) continue;
      nftnl_chain* chain = nftnl_chain_alloc();
      if (nftnl_chain_nlmsg_parse(message, chain) == 0 &&
          std::string_view(nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE)) == kTable) {
        const std::string name = nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME);
        if (name.starts_with(kMade)) {
          const auto made = std::strtoul(name.c_str() + kMade.size(), nullptr, 16);
          changes = static_cast<std::uint32_t>(made) & kAllNetworkChanges;
        } else {
          foreign |= name != kCapture && name != kRefuse;
        }
      }
      nftnl_chain_free(chain);
    }
  }
  ::close(netlink);
  if (error == ENOENT) return {};  // no table at all, on some kernels
  if (error != 0) return failed("list the nf_tables chains", error, kRulesRemedy);
  if (foreign)
    return CellError{"the namespace has a table `inet sallyport` that is not of an attachment",
                     "is a gateway (`sallyport serve`) running in it?"};
  return {};
}

}  // namespace sallyport::cell
