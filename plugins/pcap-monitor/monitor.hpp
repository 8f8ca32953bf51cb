// Monitor: packets in, events and alarms out. It observes: it has no socket, no clock and no way to send anything.
//
// Every flow that a workload begins is judged once, a grace after its first packet, and again when it says a name
// later. One alarm a flow for what the policy and the enforcers say of it; shapes and volumes have alarms of their own.
//
// Bounds   Options; every table forgets its oldest entry when full and counts that.
// Threads  One at a time. Time is passed in, and does not run backwards (earlier times read as the latest one).
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "pcap-monitor/bindings.hpp"
#include "pcap-monitor/counters.hpp"
#include "pcap-monitor/decisions.hpp"
#include "pcap-monitor/events.hpp"
#include "pcap-monitor/fragments.hpp"
#include "pcap-monitor/options.hpp"
#include "pcap-monitor/quic_initials.hpp"
#include "pcap-monitor/shapes.hpp"
#include "pcap-monitor/stream_head.hpp"
#include "wire/dns_response.hpp"
#include "wire/http_head.hpp"
#include "wire/packet.hpp"

namespace sallyport::monitor {

class Monitor {
 public:
  static constexpr int kMaxDepth = 4;  // tunnels in a packet; more is counted and not looked into

  Monitor(Options options, Judge& judge, Sink& sink);

  // A captured frame; octets on the wire may be more.
  void packet(std::uint64_t now_ns, wire::LinkType link, std::span<const std::uint8_t> frame, std::size_t wire_octets);
  // Time passes without packets: flows are judged and ended.
  void advance(std::uint64_t now_ns);
  // The capture ended: everything is judged and reported.
  void finish();

  // What the enforcers did, live.
  void decided(const Decision& decision) { decisions_.add(decision); }
  void bound(const Address& client, const Address& address, const DomainName& name, std::uint64_t until_ns) {
    bindings_.bind(client, address, name, until_ns);
  }
  void kernel_dropped(std::uint64_t total) { counters_.kernel_dropped = total; }

  Counters counters() const;
  std::size_t open_flows() const noexcept { return flows_.size(); }
  std::size_t memory() const noexcept { return stream_octets_ + fragments_.octets(); }  // of what waits for more

 private:
  enum class NameState : std::uint8_t { kNone = 0, kPresent, kAbsent, kMalformed, kAddress };
  enum class Standing : std::uint8_t { kOpen = 0, kUnwatched, kAllowed, kRefused, kAlarm };
  struct Reading;  // what is held while the first message is incomplete

  struct Flow {
    Flow();
    ~Flow();
    std::uint64_t first_ns = 0, last_ns = 0;
    std::uint64_t up_octets = 0, down_octets = 0, up_packets = 0, down_packets = 0;
    std::uint32_t up_base = 0, down_base = 0;
    bool up_based = false, down_based = false;
    std::unique_ptr<Reading> reading;
    std::string down_first;  // up to 16 octets of what the other side said
    std::string_view protocol;
    NameState name_state = NameState::kNone;
    std::optional<DomainName> name;
    std::uint16_t name_port = 0;  // of a proxy request; 0: the flow's
    Standing standing = Standing::kOpen;
    bool judged = false, closed = false, read_all = false;
  };
  struct Asked {
    wire::WireName name;
    std::optional<DomainName> domain;
    Address server;
    std::optional<Address> elsewhere;  // gave the first answer, and was not asked
    std::uint16_t type = 0;
    std::uint64_t time_ns = 0;
    bool denied = false, answered = false;
    Ruling ruling;
    std::uint64_t answer_hash = 0;
  };
  struct Volume {
    std::uint64_t begun_ns = 0, octets = 0;
    bool told = false;
  };

  // monitor.cpp: packets and flows
  void network(wire::Carried carried, int depth, bool whole_frame);
  void transport(const wire::IpPacket& ip);
  Flow* flow_of(const FlowId& from_sender, bool begins, bool answers, bool& up, FlowId& id);
  void account(const FlowId& id, Flow& flow, bool up, std::size_t octets);
  void end(const FlowId& id, Flow& flow);
  bool is_own(const Address& address) const noexcept;
  bool is_workload(const Address& address) const noexcept;
  bool stays_local(const Address& destination) const noexcept;
  bool is_internal(const FlowId& id) const noexcept;

  // first_messages.cpp
  void tcp_payload(const FlowId& id, Flow& flow, bool up, std::uint64_t offset, std::span<const std::uint8_t> octets);
  void quic(const FlowId& id, Flow& flow, std::span<const std::uint8_t> datagram);
  void read_first_message(const FlowId& id, Flow& flow);
  void read_hello(const FlowId& id, Flow& flow, const wire::ClientHello& hello, std::string_view kind,
                  std::uint32_t version);
  void read_request(const FlowId& id, Flow& flow, const wire::HttpRequestHead& head);
  void named(const FlowId& id, Flow& flow);
  void read_dns_stream(const FlowId& id, Flow& flow, bool up);
  void unparsed(const FlowId& id, std::string_view what, std::string_view why);
  void drop_reading(Flow& flow);
  void weigh_reading(Flow& flow);

  // dns.cpp
  bool binds(const Address& server) const noexcept;
  void dns_message(const FlowId& id, Flow& flow, bool up, std::span<const std::uint8_t> message);
  void dns_query(const FlowId& id, std::span<const std::uint8_t> message);
  void dns_answer(const FlowId& id, std::span<const std::uint8_t> message);
  void unasked_answer(const FlowId& id, std::string_view why);
  bool led_to_gateway(const FlowId& id, const wire::DnsResponseReader& reader, const DnsEvent& event);
  void name_alarm(const FlowId& id, const Asked& asked, bool answered, std::string detail);

  // judgement.cpp
  void judge(const FlowId& id, Flow& flow);
  void judge_at_gateway(const FlowId& id, Flow& flow);
  void judge_outside(const FlowId& id, Flow& flow);
  void judge_protocol(const FlowId& id, Flow& flow, std::uint32_t flags);
  bool passed(const Flow& flow) const noexcept;
  Ruling ask(const FlowId& id, const DomainName* name, const Address* destination, std::uint16_t port);
  void raise(const FlowId& id, const Flow* flow, std::uint16_t reason, std::string detail, const Ruling& ruling,
             const DomainName* name = nullptr);

  const Options options_;
  Judge& judge_;
  Sink& sink_;
  Counters counters_;
  std::uint64_t now_ns_ = 0, begun_ns_ = 0;
  BoundedMap<FlowId, Flow> flows_;
  std::deque<std::pair<std::uint64_t, FlowId>> pending_;  // first packet and flow, in order; at most one a flow
  Fragments fragments_;
  Bindings bindings_;
  Decisions decisions_;
  Shapes shapes_;
  BoundedMap<FlowId, Asked> asked_;  // port: the id of the message
  BoundedMap<FlowId, Volume> volumes_;
  BoundedMap<std::string, std::uint64_t> told_;  // names that were reported, so that a retry is no new report
  std::size_t stream_octets_ = 0;
};

}  // namespace sallyport::monitor
