#include "nftables/enforcer.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "host/kernel/ruleset_text.hpp"
#include "nftables/conntrack.hpp"
#include "nftables/waiter.hpp"

namespace sallyport::nft {

namespace {

constexpr std::size_t kBatch = 64;        // bindings read at once
constexpr std::size_t kMostPorts = 64;    // ranges of one binding
constexpr std::uint32_t kPinMs = 60'000;  // renewed six times in it: one look that fails costs no flow

std::optional<Address> address_of(const policy_addr& addr) {
  if (addr.family == POLICY_IPV4) {
    return Address::v4(std::uint32_t{addr.ip[0]} << 24 | std::uint32_t{addr.ip[1]} << 16 |
                       std::uint32_t{addr.ip[2]} << 8 | addr.ip[3]);
  }
  if (addr.family != POLICY_IPV6) return std::nullopt;
  std::array<std::uint8_t, 16> octets;
  std::copy(std::begin(addr.ip), std::end(addr.ip), octets.begin());
  return Address::v6(octets);
}

}  // namespace

Enforcer::Enforcer(const policy::Host& host, policy::Reader& reader, net::EventLoop& loop, kernel::Topology topology,
                   Series series, Shown& shown)
    : host_(host),
      reader_(reader),
      loop_(loop),
      topology_(std::move(topology)),
      series_(series),
      shown_(shown),
      ledger_(host.get<policy_ledger_v1>(POLICY_LEDGER_ID)),
      decision_(host.get<policy_decision_v1>(POLICY_DECISION_ID)),
      edge_(host.get<policy_edge_v1>(POLICY_EDGE_ID)),
      literal_(host.get<policy_literals_draft1>(POLICY_LITERALS_ID)),
      shape_(kernel::shape_of(topology_)),
      bindings_([this](std::uint64_t client_id, const Address& client, const Address& destination,
                       const DomainName& name) { return allowed_ports(client_id, client, destination, name); }) {
  tcp_is_captured_ = std::any_of(topology_.listeners.begin(), topology_.listeners.end(), [](const auto& listener) {
    return listener.transparent != kernel::GateListener::Transparent::kNo && listener.proto == IPPROTO_TCP;
  });
}

void Enforcer::begin() {
  check_links();
  // Ports that went while nobody looked; the tables of before still hold their addresses.
  const Departed gone = departed();
  read_ledger();
  literals_.become(allowed_literals());
  release(gone);
  // Nothing of an earlier worker counts: the ledger says what is in force, and the tables are this topology's.
  if (const kernel::KernelError error = tables_.install(topology_, everything(), ports_)) {
    refused_ = true;
    show_health();
    host_.log(POLICY_LOG_ERROR, "the kernel refuses the tables: " + *error);
    return;
  }
  note_reference();
  if (ledger_ != nullptr) ledger_->applied(reader_.raw(), cursor_);
  follow_ledger();
  cut_flows();
  if (ruleset_.valid()) loop_.tasks().spawn(watch_ruleset());
  if (links_.valid()) loop_.tasks().spawn(watch_links());
  if (!ruleset_.valid() || !links_.valid()) {
    refused_ = true;
    show_health();
    host_.log(POLICY_LOG_ERROR, "no netlink socket: changes of the ruleset are not seen");
  }
  loop_.tasks().spawn(each_second());
}

// ---- bindings

std::optional<policy_addr> Enforcer::sealed(const Address& address) const {
  sockaddr_in6 v6{};
  sockaddr_in v4{};
  const void* socket_address = &v6;
  std::uint32_t length = sizeof v6;
  if (address.is_v4()) {
    v4.sin_family = AF_INET;
    std::memcpy(&v4.sin_addr, address.octets().data(), 4);
    socket_address = &v4;
    length = sizeof v4;
  } else {
    v6.sin6_family = AF_INET6;
    std::memcpy(&v6.sin6_addr, address.octets().data(), 16);
  }
  policy_addr out{};
  policy_error error{};
  error.struct_size = sizeof error;
  if (edge_->addr(socket_address, length, &out, &error) != POLICY_OK) return std::nullopt;
  return out;
}

std::vector<PortRange> Enforcer::allowed_ports(std::uint64_t client_id, const Address& client,
                                               const Address& destination, const DomainName& name) {
  std::vector<PortRange> out;
  const std::optional<policy_addr> from = sealed(client), to = sealed(destination);
  policy_name canonical{};
  policy_error error{};
  error.struct_size = sizeof error;
  if (!from || !to || edge_->name(policy::str(name.text()), POLICY_FORM_HOST, &canonical, &error) != POLICY_OK)
    return out;
  policy_query query{};
  query.struct_size = sizeof query;
  query.layer = POLICY_LAYER_DIAL;
  query.known = POLICY_KNOW_NAME | POLICY_KNOW_ADDRESS;
  query.client_id = client_id;
  query.client = &*from;
  query.dest = &*to;
  query.name = &canonical;
  for (const std::uint8_t proto : {IPPROTO_TCP, IPPROTO_UDP}) {
    if (proto == IPPROTO_TCP && tcp_is_captured_) continue;  // those flows are the filter's
    query.proto = proto;
    std::uint16_t ranges[kMostPorts][2];
    const std::size_t count = std::min(kMostPorts, decision_->allowed_ports(reader_.raw(), &query, ranges, kMostPorts));
    for (std::size_t i = 0; i < count; ++i) {
      if (ranges[i][1] == 0) continue;  // port 0 is no destination
      out.push_back({proto, std::max<std::uint16_t>(1, ranges[i][0]), ranges[i][1]});
    }
  }
  return out;
}

std::set<LiteralFlow> Enforcer::allowed_literals() {
  std::set<LiteralFlow> out;
  if (literal_ == nullptr) return out;
  std::vector<policy_literal> found(POLICY_LITERALS_MOST);
  for (const Prefix& network : kernel::outermost(kernel::all_addresses(topology_))) {
    const std::optional<policy_addr> from = sealed(network.network());
    for (const std::uint8_t proto : {IPPROTO_TCP, IPPROTO_UDP}) {
      if (!from || (proto == IPPROTO_TCP && tcp_is_captured_)) continue;  // those flows are the filter's
      std::size_t count = found.size();
      if (literal_->list(reader_.raw(), &*from, network.bits(), proto, found.data(), sizeof found[0], &count) !=
          POLICY_OK) {
        host_.log(POLICY_LOG_WARNING, "rules by address allow " + network.text() + " more than " +
                                          std::to_string(POLICY_LITERALS_MOST) +
                                          " ranges: the kernel opens none of them");
        continue;
      }
      for (std::size_t i = 0; i < count; ++i) {
        const policy_literal& one = found[i];
        const auto client_first = address_of(one.client_first), client_last = address_of(one.client_last),
                   first = address_of(one.first), last = address_of(one.last);
        if (!client_first || !client_last || !first || !last) continue;
        out.insert({*client_first, *client_last, *first, *last, {proto, one.first_port, one.last_port}});
      }
    }
  }
  return out;
}

std::string Enforcer::everything() const { return bindings_.all(boot_ms()) + literals_.all(); }

void Enforcer::show_elements() {
  shown_.bindings = bindings_.size();
  shown_.elements = bindings_.elements() + literals_.size();
}

void Enforcer::follow_ledger() {
  if (ledger_ == nullptr) return;
  const std::string commands = read_ledger();
  const bool in_force = commands.empty() || commit(commands);
  show_elements();
  if (in_force) ledger_->applied(reader_.raw(), cursor_);
}

std::string Enforcer::read_ledger() {
  if (ledger_ == nullptr) return {};
  std::vector<policy_binding> batch(kBatch);
  for (policy_binding& binding : batch) binding.struct_size = sizeof binding;
  std::string commands;
  for (unsigned rounds = 0; rounds < 4096; ++rounds) {
    std::size_t count = batch.size();
    const policy_code code = ledger_->next(reader_.raw(), &cursor_, batch.data(), sizeof(policy_binding), &count);
    if (code == POLICY_EXHAUSTED) {
      cursor_ = 0;
      continue;
    }
    if (code != POLICY_OK || count == 0) break;
    const std::uint64_t now = boot_ms();
    for (std::size_t i = 0; i < count; ++i) {
      const policy_binding& binding = batch[i];
      const std::optional<Address> client = address_of(binding.client), destination = address_of(binding.addr);
      const Result<DomainName> name = DomainName::parse(policy::view(binding.name));
      // A worker that parses traffic wrote this: whoever is not held here gets nothing, whatever the ledger says.
      if (!client || !destination || !name.ok() || client->is_v4() != destination->is_v4() || !is_held(*client))
        continue;
      // One that has ended is in the ledger for flows that are open; whether they still are is looked at soon.
      const std::uint64_t pinned = binding.ttl_ms == 0 ? now + kPinMs : 0;
      commands += bindings_.add(binding.client_id, *client, *destination, *name, now + binding.ttl_ms, now, pinned);
    }
  }
  return commands;
}

bool Enforcer::is_held(const Address& address) const {
  return std::any_of(topology_.networks.begin(), topology_.networks.end(), [&](const kernel::HeldNetwork& network) {
    return std::any_of(network.addresses.begin(), network.addresses.end(),
                       [&](const Prefix& prefix) { return prefix.contains(address); });
  });
}

// A binding that is about to end, or has, stays while a flow that it let in is open: else the next policy would cut
// that flow, though it allows it.
void Enforcer::hold_open_flows() {
  const std::uint64_t now = boot_ms();
  if (ledger_ == nullptr || !POLICY_HAS(ledger_, pin) || !bindings_.any_ends_by(now + kPinMs / 2)) return;
  const auto failed = each_flow([&](const TrackedFlow& flow) {
    if ((flow.mark & kernel::kAdmitted) != kernel::kAdmitted || !is_held(flow.source)) return;
    const std::optional<policy_addr> client = sealed(flow.source), destination = sealed(flow.destination);
    if (!client || !destination) return;
    for (const std::uint64_t id : bindings_.pin(flow.source, flow.destination, flow.proto, flow.port, now + kPinMs))
      ledger_->pin(reader_.raw(), id, &*client, &*destination, kPinMs);
  });
  if (failed) host_.log(POLICY_LOG_ERROR, *failed);
}

void Enforcer::policy_changed() {
  hold_open_flows();
  const std::string commands = bindings_.decide_again(boot_ms()) + literals_.become(allowed_literals());
  if (!commands.empty()) commit(commands);
  cut_flows();
  show_elements();
}

// Entries that carry our mark and that nothing admits any more.
void Enforcer::cut_flows(const std::set<Address>& gone) {
  const auto is_pair = [&](const TrackedFlow& flow) {
    const auto within = [](const std::vector<Prefix>& list, const Address& address) {
      return std::any_of(list.begin(), list.end(), [&](const Prefix& p) { return p.contains(address); });
    };
    return std::any_of(topology_.internal.begin(), topology_.internal.end(), [&](const kernel::InternalPair& pair) {
      return (within(pair.from, flow.source) && within(pair.to, flow.destination)) ||
             (within(pair.to, flow.source) && within(pair.from, flow.destination));
    });
  };
  const std::uint64_t now = boot_ms();
  const Deleted cut = delete_flows([&](const TrackedFlow& flow) {
    if ((flow.mark & kernel::kAdmitted) != kernel::kAdmitted) return false;
    if (gone.contains(flow.source) || gone.contains(flow.destination)) return true;
    return is_held(flow.source) && !is_pair(flow) &&
           !bindings_.covers(flow.source, flow.destination, flow.proto, flow.port, now) &&
           !literals_.covers(flow.source, flow.destination, flow.proto, flow.port);
  });
  if (cut.error) host_.log(POLICY_LOG_ERROR, *cut.error);
}

}  // namespace sallyport::nft
