// DNS as it is seen: what was asked, what was answered, and what that binds.
#include <policy/abi.h>

#include <algorithm>

#include "names/guard.hpp"
#include "pcap-monitor/reading.hpp"
#include "wire/dns_response.hpp"

namespace sallyport::monitor {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kSettled = 5 * kSecond;  // questions from before the capture have been answered by then
constexpr std::uint64_t kBindingFloor = 30;      // seconds, as the ledger has it
constexpr std::uint64_t kBindingCap = 3600;
constexpr std::uint64_t kTellAgain = 60 * kSecond;
constexpr std::size_t kMaxAddresses = 64;  // of one answer; real ones have below 16

Address address_of(const wire::DnsRecord& record) noexcept {
  if (record.type == wire::kTypeAaaa) {
    std::array<std::uint8_t, 16> octets{};
    std::copy_n(record.rdata.begin(), std::min<std::size_t>(16, record.rdata.size()), octets.begin());
    return Address::v6(octets);
  }
  const auto& o = record.rdata;
  return Address::v4(static_cast<std::uint32_t>(o[0]) << 24 | static_cast<std::uint32_t>(o[1]) << 16 |
                     static_cast<std::uint32_t>(o[2]) << 8 | o[3]);
}

}  // namespace

bool Monitor::binds(const Address& server) const noexcept {
  if (options_.own.empty() && options_.resolvers.empty()) return true;
  return is_own(server) ||
         std::find(options_.resolvers.begin(), options_.resolvers.end(), server) != options_.resolvers.end();
}

void Monitor::dns_message(const FlowId& id, Flow& flow, bool up, std::span<const std::uint8_t> message) {
  const std::optional<wire::DnsHeader> header = wire::DnsHeader::read(message);
  if (up && (!header || header->is_response() || header->qdcount != 1)) {
    if (flow.protocol.empty() || flow.protocol == "dns") flow.protocol = "other";
    unparsed(id, "dns", "not a query");
    return;
  }
  if (flow.protocol.empty()) flow.protocol = "dns";
  if (up) {
    dns_query(id, message);
  } else {
    dns_answer(id, message);
  }
}

void Monitor::dns_query(const FlowId& id, std::span<const std::uint8_t> message) {
  const wire::DnsQuery query = wire::read_query(message);
  if (!query.question) {
    unparsed(id, "dns", "a query that breaks its format");
    return;
  }
  Asked& asked = asked_.get({id.client, id.destination, id.client_port, query.header.id, id.proto});
  asked = {};
  asked.name = query.question->name;
  asked.type = query.question->type;
  asked.time_ns = now_ns_;
  sink_.dns({id, now_ns_, asked.name.text(), asked.type, false, 0, {}});
  asked.server = id.destination;
  // The same question under no server: to know an answer from a server that was not asked.
  asked_.get({id.client, Address(), id.client_port, query.header.id, id.proto}) = asked;
  Asked* kept = asked_.find({id.client, id.destination, id.client_port, query.header.id, id.proto});
  if (const auto shape = shapes_.asked(id.client, kept->name, kept->type, now_ns_)) {
    raise(id, nullptr, POLICY_REASON_TUNNEL_SUSPECT, *shape, {});
  }
  const Result<DomainName> name = DomainName::from_wire(kept->name.octets());
  if (name.ok()) kept->domain = *name;
  if (!binds(id.destination)) return;  // the flow itself is judged: it should not be there
  if (name.ok()) {
    Question question;
    question.layer = POLICY_LAYER_DNS;
    question.proto = id.proto;
    question.client = &id.client;
    question.name = &*kept->domain;
    question.port_known = false;
    question.later = true;
    kept->ruling = judge_.decide(question);
    kept->denied = kept->ruling.verdict == POLICY_DENY;
  } else {
    kept->ruling.reason = POLICY_REASON_NAME_MALFORMED;
    kept->denied = true;
  }
  // The gateway refuses it; anyone else has been told what the name says.
  if (kept->denied && !is_own(id.destination)) name_alarm(id, *kept, false, "asked " + kept->name.text());
}

void Monitor::name_alarm(const FlowId& id, const Asked& asked, bool answered, std::string detail) {
  std::uint64_t& told = told_.get(id.client.text() + " " + id.destination.text() + " " + asked.name.lower().text());
  if (told != 0 && now_ns_ < told + kTellAgain) return;
  told = std::max<std::uint64_t>(now_ns_, 1);
  Flow* flow = flows_.find(id);
  if (flow != nullptr) flow->standing = Standing::kAlarm;
  Flow shown;
  shown.protocol = "dns";
  shown.down_packets = answered ? 1 : 0;
  raise(id, &shown, asked.ruling.reason, std::move(detail), asked.ruling, asked.domain ? &*asked.domain : nullptr);
}

void Monitor::unasked_answer(const FlowId& id, std::string_view why) {
  std::uint64_t& told = told_.get("spoof " + id.client.text() + " " + id.destination.text());
  if (told != 0 && now_ns_ < told + kTellAgain) return;
  told = std::max<std::uint64_t>(now_ns_, 1);
  Flow shown;
  shown.protocol = "dns";
  shown.down_packets = 1;
  raise(id, &shown, POLICY_REASON_SPOOF_SUSPECT, std::string(why), {});
}

// A question to another resolver that the kernel led to the gateway. Where br_netfilter is on, a bridge shows it with
// the gateway's address already, and its answer with the other resolver's. A forged answer looks the same, but the
// gateway's own comes beside it: the first of the two is kept until then. It binds nothing; the ledger knows what the
// gateway said.
bool Monitor::led_to_gateway(const FlowId& id, const wire::DnsResponseReader& reader, const DnsEvent& event) {
  const Asked* any = asked_.find({id.client, Address(), id.client_port, reader.header().id, id.proto});
  if (!options_.live || any == nullptr || !is_own(any->server)) return false;
  Asked* asked = asked_.find({id.client, any->server, id.client_port, reader.header().id, id.proto});
  const bool fits = asked != nullptr && asked->name == reader.question().name && asked->type == reader.question().type;
  if (!fits || asked->answered || asked->elsewhere) return false;
  asked->elsewhere = id.destination;
  sink_.dns(event);
  if (asked->denied && !event.addresses.empty())
    name_alarm(id, *asked, true, "answered with " + event.addresses.front().text());
  return true;
}

void Monitor::dns_answer(const FlowId& id, std::span<const std::uint8_t> message) {
  Result<wire::DnsResponseReader> opened = wire::DnsResponseReader::open(message);
  if (!opened.ok()) {
    unparsed(id, "dns", opened.error().message);
    return;
  }
  wire::DnsResponseReader& reader = *opened;
  DnsEvent event{id, now_ns_, reader.question().name.text(), reader.question().type, true, 0, {}};
  wire::WireName wanted = reader.question().name;
  std::uint64_t ttl = kBindingCap;
  for (wire::DnsRecord record;;) {
    const Result<bool> more = reader.next(record);
    if (!more.ok()) {
      unparsed(id, "dns", more.error().message);
      return;
    }
    if (!*more) break;
    if (record.section != wire::DnsSection::kAnswer || record.klass != wire::kClassIn || !(record.owner == wanted))
      continue;
    if (record.type == wire::kTypeCname) {
      const Result<wire::WireName> target = reader.name_data(record);
      if (target.ok()) wanted = *target;
    }
    if (record.type != wire::kTypeA && record.type != wire::kTypeAaaa) continue;
    ttl = std::min<std::uint64_t>(ttl, record.ttl);
    const Address address = address_of(record);
    if (event.addresses.size() < kMaxAddresses && classify(address) != AddressClass::kUnspecified) {
      event.addresses.push_back(address);  // 0.0.0.0 and :: are how a blocker says no
    }
  }
  event.rcode = reader.rcode();
  Asked* asked = asked_.find({id.client, id.destination, id.client_port, reader.header().id, id.proto});
  if (asked == nullptr && led_to_gateway(id, reader, event)) return;
  if (asked == nullptr || !(asked->name == reader.question().name) || asked->type != reader.question().type) {
    const Asked* elsewhere = asked_.find({id.client, Address(), id.client_port, reader.header().id, id.proto});
    const bool guessed = asked != nullptr || elsewhere != nullptr;
    if (guessed || now_ns_ >= begun_ns_ + kSettled) {
      unasked_answer(id, guessed ? "an answer that was not asked of this server" : "an answer that nobody asked for");
    }
    return;
  }
  if (asked->elsewhere) {
    FlowId other = id;
    other.destination = *asked->elsewhere;
    asked->elsewhere.reset();
    unasked_answer(other, "an answer that was not asked of this server");
  }
  sink_.dns(event);
  if (const auto shape = shapes_.answered(id.client, event.rcode, now_ns_)) {
    raise(id, nullptr, POLICY_REASON_TUNNEL_SUSPECT, *shape, {});
  }
  std::uint64_t hash = event.rcode + 1u;
  for (const Address& address : event.addresses) hash += mix(options_.seed, address.octets().data(), 16);
  if (asked->answered && asked->answer_hash != hash) {
    unasked_answer(id, "two answers to one question, and they differ");
    return;
  }
  asked->answered = true;
  asked->answer_hash = hash;
  if (event.addresses.empty()) return;
  if (asked->denied) {
    name_alarm(id, *asked, true, "answered with " + event.addresses.front().text());
    return;
  }
  if (!asked->domain || !binds(id.destination)) return;
  const std::uint64_t until = now_ns_ + std::clamp(ttl, kBindingFloor, kBindingCap) * kSecond + options_.grace_ns;
  for (const Address& address : event.addresses) bindings_.bind(id.client, address, *asked->domain, until);
}

}  // namespace sallyport::monitor
