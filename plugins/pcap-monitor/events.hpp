// What the monitor reports, and who is told. docs/monitor.md has the JSON forms.
//
// Lifetime  Events and what they point to are valid for the call.
// Threads   The sink is called on the monitor's thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "names/domain_name.hpp"
#include "pcap-monitor/flow_id.hpp"

namespace sallyport::monitor {

// An answer of decide(), with the numbers of policy/abi.h.
struct Ruling {
  std::uint16_t verdict = 0, reason = 0;
  std::uint32_t rule = 0xffffffff, flags = 0;
  std::uint64_t generation = 0;
};

struct FlowEvent {
  FlowId id;
  std::uint64_t first_ns = 0, last_ns = 0;
  std::uint64_t up_octets = 0, down_octets = 0, up_packets = 0, down_packets = 0;  // payload of TCP and UDP
  std::string_view protocol;  // "tls", "http", "quic", "dns", "ssh", "other", or empty: nothing was said
  std::string_view name;
  std::string_view standing;  // "allowed", "alarm", "refused", or "unwatched": not a workload's
};

struct DnsEvent {
  FlowId id;
  std::uint64_t time_ns = 0;
  std::string name;  // presentation form, escaped
  std::uint16_t type = 0;
  bool answer = false;
  std::uint16_t rcode = 0;
  std::vector<Address> addresses;
};

struct NameEvent {
  FlowId id;
  std::uint64_t time_ns = 0;
  std::string_view kind;   // "tls", "http" or "quic"
  std::string_view name;   // as sent; empty if none
  std::string_view state;  // "present", "absent" or "malformed"
  bool ech = false;
  std::string_view method, target;  // http
  std::uint32_t version = 0;        // quic
};

struct UnparsedEvent {
  FlowId id;
  std::uint64_t time_ns = 0;
  std::string_view what;  // "tls", "http", "quic", "dns"
  std::string_view why;
};

struct Alarm {
  FlowId id;
  std::uint64_t time_ns = 0;
  std::string_view reason;  // the word
  std::uint16_t reason_number = 0;
  std::string_view protocol;
  const DomainName* name = nullptr;  // if one was known
  std::string detail;                // for people; the monitor's words and numbers, or escaped text
  bool answered = false;             // the other side sent something back: it was no mere attempt
  Ruling ruling;                     // what the policy says of it
};

class Sink {
 public:
  virtual ~Sink() = default;
  virtual void flow(const FlowEvent&) {}
  virtual void dns(const DnsEvent&) {}
  virtual void name(const NameEvent&) {}
  virtual void unparsed(const UnparsedEvent&) {}
  virtual void alarm(const Alarm&) {}
};

// What of a flow is known when it is held against the policy; null: not known.
struct Question {
  std::uint16_t layer = 0, proto = 0, port = 0;
  const Address* client = nullptr;
  const DomainName* name = nullptr;
  const Address* destination = nullptr;
  bool port_known = true;
  bool later = false;  // what is not known is still to come (the dns layer)
};

class Judge {
 public:
  virtual ~Judge() = default;
  virtual Ruling decide(const Question& question) = 0;
};

}  // namespace sallyport::monitor
