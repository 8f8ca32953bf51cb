#include "pcap-monitor/monitor.hpp"

#include <policy/abi.h>

#include <algorithm>

#include "names/guard.hpp"
#include "pcap-monitor/reading.hpp"

namespace sallyport::monitor {
namespace {

constexpr std::size_t kMaxQuestions = 65536, kMaxVolumes = 16384, kMaxTold = 16384;

Address canonical(const wire::PacketAddress& address) noexcept {
  if (!address.v4) return Address::v6(address.octets);
  const auto& o = address.octets;
  return Address::v4(static_cast<std::uint32_t>(o[0]) << 24 | static_cast<std::uint32_t>(o[1]) << 16 |
                     static_cast<std::uint32_t>(o[2]) << 8 | o[3]);
}

}  // namespace

Monitor::Flow::Flow() = default;
Monitor::Flow::~Flow() = default;

Monitor::Monitor(Options options, Judge& judge, Sink& sink)
    : options_(std::move(options)),
      judge_(judge),
      sink_(sink),
      flows_(options_.max_flows, options_.seed),
      fragments_(options_.seed),
      bindings_(options_.max_bindings, options_.seed),
      decisions_(options_.max_decisions, options_.seed),
      shapes_(options_.seed),
      asked_(kMaxQuestions, options_.seed),
      volumes_(kMaxVolumes, options_.seed),
      told_(kMaxTold, options_.seed) {
  flows_.on_evicted = [this](auto& entry) {
    ++counters_.flows_lost;
    end(entry.first, entry.second);
  };
}

Counters Monitor::counters() const {
  Counters out = counters_;
  out.fragments_lost = fragments_.lost();
  out.tables_lost = bindings_.lost() + decisions_.lost() + shapes_.lost() + asked_.evicted() + volumes_.evicted();
  return out;
}

void Monitor::packet(std::uint64_t now_ns, wire::LinkType link, std::span<const std::uint8_t> frame,
                     std::size_t wire_octets) {
  if (begun_ns_ == 0) begun_ns_ = std::max<std::uint64_t>(now_ns, 1);
  advance(now_ns);
  ++counters_.packets;
  counters_.octets += wire_octets;
  if (frame.size() < wire_octets) ++counters_.truncated;
  const std::optional<wire::Carried> carried = wire::read_link(frame, link);
  if (!carried) {
    ++counters_.malformed;
    return;
  }
  network(*carried, 0, frame.size() >= wire_octets);
}

void Monitor::network(wire::Carried carried, int depth, bool whole_frame) {
  if (carried.ether_type != wire::kEtherIpv4 && carried.ether_type != wire::kEtherIpv6) {
    ++counters_.not_ip;
    return;
  }
  std::optional<wire::IpPacket> ip = wire::read_ip(carried.octets);
  if (!ip || ip->source.v4 != (carried.ether_type == wire::kEtherIpv4)) {
    ++counters_.malformed;
    return;
  }
  if (ip->truncated() && whole_frame) ++counters_.malformed;  // the header promises more than was sent
  if (ip->is_fragment() && !fragments_.add(*ip, std::max<std::uint64_t>(now_ns_, 1))) return;
  // The tunnel is a flow of its own, and what is inside is looked at as well.
  transport(*ip);
  const std::optional<wire::Carried> inner = wire::read_tunnel(*ip);
  if (!inner) return;
  if (depth + 1 == kMaxDepth) {
    ++counters_.too_deep;
    return;
  }
  // Fragments inside fragments would overwrite what `inner` points to: they get a copy.
  const std::vector<std::uint8_t> copy(inner->octets.begin(), inner->octets.end());
  network({inner->ether_type, copy}, depth + 1, whole_frame);
}

bool Monitor::is_own(const Address& address) const noexcept {
  return std::find(options_.own.begin(), options_.own.end(), address) != options_.own.end();
}

bool Monitor::is_workload(const Address& address) const noexcept {
  if (is_own(address)) return false;
  if (options_.clients.empty()) return true;
  return std::any_of(options_.clients.begin(), options_.clients.end(),
                     [&](const Prefix& prefix) { return prefix.contains(address); });
}

// Discovery on the link, which no router forwards. A network's last address is its broadcast address.
bool Monitor::stays_local(const Address& destination) const noexcept {
  const AddressClass kind = classify(destination);
  if (kind == AddressClass::kMulticast || kind == AddressClass::kBroadcast || kind == AddressClass::kUnspecified)
    return true;
  if (!destination.is_v4()) return false;
  return std::any_of(options_.clients.begin(), options_.clients.end(), [&](const Prefix& prefix) {
    if (!prefix.network().is_v4() || prefix.bits() == 0 || prefix.bits() > 30) return false;
    const std::uint32_t last = prefix.network().v4_host_order() | (0xffffffffu >> prefix.bits());
    return destination.v4_host_order() == last;
  });
}

bool Monitor::is_internal(const FlowId& id) const noexcept {
  return std::any_of(options_.internal.begin(), options_.internal.end(), [&](const auto& pair) {
    return (pair.first.contains(id.client) && pair.second.contains(id.destination)) ||
           (pair.second.contains(id.client) && pair.first.contains(id.destination));
  });
}

Monitor::Flow* Monitor::flow_of(const FlowId& from_sender, bool begins, bool answers, bool& up, FlowId& id) {
  up = true;
  id = from_sender;
  Flow* flow = flows_.find(id);
  if (flow == nullptr) {
    const FlowId other = from_sender.reversed();
    if (Flow* found = flows_.find(other)) {
      flow = found;
      up = false;
      id = other;
    }
  }
  if (flow != nullptr && begins && flow->closed) {  // the ports are used again
    end(id, *flow);
    flows_.erase(id);
    flow = nullptr;
    up = true;
    id = from_sender;
  }
  if (flow != nullptr) return flow;
  if (answers) {  // its first packet was not seen
    up = false;
    id = from_sender.reversed();
  }
  flow = &flows_.get(id);
  flow->first_ns = now_ns_;
  ++counters_.flows;
  if (!is_workload(id.client) || classify(id.client) == AddressClass::kUnspecified || stays_local(id.destination)) {
    flow->standing = Standing::kUnwatched;
    ++counters_.unwatched;
  } else {
    pending_.emplace_back(now_ns_, id);
  }
  return flow;
}

void Monitor::account(const FlowId& id, Flow& flow, bool up, std::size_t octets) {
  flow.last_ns = now_ns_;
  ++(up ? flow.up_packets : flow.down_packets);
  (up ? flow.up_octets : flow.down_octets) += octets;
  if (!up || octets == 0 || options_.upload_octets == 0 || flow.standing == Standing::kUnwatched) return;
  Volume& volume = volumes_.get({id.client, id.destination, 0, 0, 0});
  if (volume.begun_ns == 0 || now_ns_ >= volume.begun_ns + options_.upload_window_ns) volume = {now_ns_, 0, false};
  volume.octets += octets;
  if (volume.told || volume.octets < options_.upload_octets) return;
  volume.told = true;
  raise(id, &flow, POLICY_REASON_UPLOAD_VOLUME,
        std::to_string(volume.octets) + " octets sent to one destination within " +
            std::to_string(options_.upload_window_ns / 1'000'000'000) + " s",
        {}, flow.name ? &*flow.name : nullptr);
}

void Monitor::transport(const wire::IpPacket& ip) {
  FlowId sent{canonical(ip.source), canonical(ip.destination), 0, 0, ip.protocol};
  bool up = true;
  FlowId id;
  if (ip.protocol == wire::kIpTcp) {
    const std::optional<wire::TcpSegment> segment = wire::read_tcp(ip);
    if (!segment) {
      ++counters_.malformed;
      return;
    }
    sent.client_port = segment->source_port;
    sent.port = segment->destination_port;
    const bool syn = (segment->flags & wire::TcpSegment::kSyn) != 0,
               ack = (segment->flags & wire::TcpSegment::kAck) != 0;
    // Without a SYN: whoever is no workload answers one.
    const bool answers = syn ? ack : !is_workload(sent.client) && is_workload(sent.destination);
    Flow* flow = flow_of(sent, syn && !ack, answers, up, id);
    account(id, *flow, up, segment->payload_size);
    bool& based = up ? flow->up_based : flow->down_based;
    std::uint32_t& base = up ? flow->up_base : flow->down_base;
    if (syn || !based) {
      base = segment->sequence + (syn ? 1 : 0);
      based = true;
    }
    if (segment->flags & (wire::TcpSegment::kFin | wire::TcpSegment::kRst)) flow->closed = true;
    if (segment->payload.empty() || flow->standing == Standing::kUnwatched) return;
    const std::uint32_t offset = segment->sequence + (syn ? 1 : 0) - base;
    if (offset >= 0x80000000u) return;  // before the start: a keep-alive, or what was sent again
    tcp_payload(id, *flow, up, offset, segment->payload);
    return;
  }
  if (ip.protocol == wire::kIpUdp) {
    const std::optional<wire::UdpDatagram> datagram = wire::read_udp(ip);
    if (!datagram) {
      ++counters_.malformed;
      return;
    }
    sent.client_port = datagram->source_port;
    sent.port = datagram->destination_port;
    const bool unasked =
        sent.client_port == 53 && flows_.find(sent.reversed()) == nullptr && is_workload(sent.destination);
    Flow* flow = flow_of(sent, false, false, up, id);
    account(id, *flow, up, datagram->payload_size);
    if (unasked && flow->standing == Standing::kUnwatched) {
      dns_answer(sent.reversed(), datagram->payload);
      return;
    }
    if (flow->standing == Standing::kUnwatched) return;
    if (id.port == 53) {
      dns_message(id, *flow, up, datagram->payload);
    } else if (up) {
      quic(id, *flow, datagram->payload);
    }
    return;
  }
  if (const std::optional<wire::IcmpMessage> icmp = wire::read_icmp(ip)) {
    const bool request = icmp->is_echo_request(ip.source.v4), reply = icmp->type == (ip.source.v4 ? 0 : 129);
    if (!request && !reply) return;  // errors and discovery, which the kernel makes
    Flow* flow = flow_of(sent, false, reply, up, id);
    account(id, *flow, up, icmp->payload_size);
    if (!request || !up || flow->standing == Standing::kUnwatched) return;
    if (const auto shape = shapes_.echoed(id.client, id.destination, icmp->payload_size, now_ns_)) {
      raise(id, flow, POLICY_REASON_TUNNEL_SUSPECT, *shape, {});
    }
    return;
  }
  if (ip.protocol == wire::kIpIcmp || ip.protocol == wire::kIpIcmp6 || ip.protocol == 2)
    return;  // IGMP stays on the link
  Flow* flow = flow_of(sent, false, false, up, id);
  account(id, *flow, up, ip.payload_size);
}

void Monitor::advance(std::uint64_t now_ns) {
  now_ns_ = std::max(now_ns_, now_ns);
  while (!pending_.empty() && pending_.front().first + options_.grace_ns <= now_ns_) {
    const auto [first, id] = pending_.front();
    pending_.pop_front();
    Flow* flow = flows_.find(id);
    if (flow != nullptr && flow->first_ns == first && !flow->judged) judge(id, *flow);
  }
  while (auto* oldest = flows_.oldest()) {
    if (oldest->second.last_ns + options_.idle_ns > now_ns_) break;
    const FlowId id = oldest->first;
    end(id, oldest->second);
    flows_.erase(id);
  }
  fragments_.expire(now_ns_);
}

void Monitor::end(const FlowId& id, Flow& flow) {
  if (!flow.judged) judge(id, flow);
  drop_reading(flow);
  constexpr std::string_view kStandings[] = {"allowed", "unwatched", "allowed", "refused", "alarm"};
  FlowEvent event{id,
                  flow.first_ns,
                  flow.last_ns,
                  flow.up_octets,
                  flow.down_octets,
                  flow.up_packets,
                  flow.down_packets,
                  flow.protocol,
                  flow.name ? flow.name->text() : std::string_view{},
                  kStandings[static_cast<std::size_t>(flow.standing)]};
  sink_.flow(event);
}

void Monitor::finish() {
  while (auto* oldest = flows_.oldest()) {
    const FlowId id = oldest->first;
    end(id, oldest->second);
    flows_.erase(id);
  }
  pending_.clear();
  fragments_.expire(~std::uint64_t{0});
}

}  // namespace sallyport::monitor
