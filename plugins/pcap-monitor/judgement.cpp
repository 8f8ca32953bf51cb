// What a flow is held against: the policy, what the client was told, and what the enforcers decided.
#include <policy/abi.h>

#include <algorithm>

#include "names/guard.hpp"
#include "pcap-monitor/reading.hpp"
#include "support/reason.hpp"

namespace sallyport::monitor {

void Monitor::raise(const FlowId& id, const Flow* flow, std::uint16_t reason, std::string detail, const Ruling& ruling,
                    const DomainName* name) {
  ++counters_.alarms;
  Alarm alarm;
  alarm.id = id;
  alarm.time_ns = now_ns_;
  alarm.reason = net::reason_word(reason);
  alarm.reason_number = reason;
  alarm.protocol = flow != nullptr ? flow->protocol : std::string_view{};
  alarm.name = name;
  alarm.detail = std::move(detail);
  alarm.answered = flow != nullptr && flow->down_packets > 0;
  alarm.ruling = ruling;
  sink_.alarm(alarm);
}

Ruling Monitor::ask(const FlowId& id, const DomainName* name, const Address* destination, std::uint16_t port) {
  Question question;
  question.layer = destination == nullptr ? POLICY_LAYER_TLS : POLICY_LAYER_DIAL;
  question.proto = id.proto;
  question.port = port;
  question.client = &id.client;
  question.name = name;
  question.destination = destination;
  question.later = destination == nullptr;
  return judge_.decide(question);
}

void Monitor::judge(const FlowId& id, Flow& flow) {
  flow.judged = true;
  if (flow.standing == Standing::kUnwatched || flow.standing == Standing::kAlarm) return;
  if (is_internal(id)) {
    flow.standing = Standing::kAllowed;
    return;
  }
  if (id.port == 53 && (id.proto == wire::kIpUdp || id.proto == wire::kIpTcp) && binds(id.destination)) {
    flow.standing = Standing::kAllowed;  // each question is judged by its name
    judge_protocol(id, flow, 0);
    return;
  }
  if (is_own(id.destination)) {
    judge_at_gateway(id, flow);
  } else {
    judge_outside(id, flow);
  }
}

// Whether the gateway let a flow through, by the first octets of what came back: a ServerHello, or no error.
bool Monitor::passed(const Flow& flow) const noexcept {
  const std::string_view first = flow.down_first;
  if (flow.protocol == "tls") return first.size() >= 6 && first[0] == 0x16 && first[5] == 2;
  if (flow.protocol == "http") return first.starts_with("HTTP/1.") && first.size() >= 10 && first[9] < '4';
  return false;
}

void Monitor::judge_at_gateway(const FlowId& id, Flow& flow) {
  flow.standing = Standing::kAllowed;
  if (!flow.name) return;  // the gateway sees to it: it lets nothing through that has no name
  const Ruling ruling = ask(id, &*flow.name, nullptr, flow.name_port != 0 ? flow.name_port : id.port);
  const bool denied = ruling.verdict == POLICY_DENY;
  if (denied) flow.standing = Standing::kRefused;
  if (!passed(flow)) return;
  const bool undecided =
      options_.live && decisions_.find(id, std::string(flow.name->text()), flow.first_ns) == Decisions::Found::kNone;
  if (!denied && !undecided) return;
  flow.standing = Standing::kAlarm;
  raise(id, &flow, denied ? ruling.reason : std::uint16_t{POLICY_REASON_NO_DECISION},
        denied ? "the gateway let it through" : "let through, and no enforcer says that it decided so", ruling,
        &*flow.name);
}

void Monitor::judge_outside(const FlowId& id, Flow& flow) {
  const Ruling by_address = ask(id, nullptr, &id.destination, id.port);
  const std::vector<DomainName> bound = bindings_.names(id.client, id.destination, flow.first_ns);
  Ruling ruling = by_address;
  std::uint16_t reason = POLICY_REASON_OK;
  std::string detail;
  bool by_binding = false;
  if (flow.name && flow.name_state == NameState::kPresent) {
    ruling = ask(id, &*flow.name, &id.destination, flow.name_port != 0 ? flow.name_port : id.port);
    by_binding = std::find(bound.begin(), bound.end(), *flow.name) != bound.end();
    if (ruling.verdict != POLICY_ALLOW) {
      reason = ruling.reason;
    } else if (options_.bindings && !by_binding && by_address.verdict != POLICY_ALLOW) {
      reason = POLICY_REASON_DST_NOT_BOUND;
      detail = "no answer gave this client the address for this name";
    }
  } else if (by_address.verdict != POLICY_ALLOW) {
    if (flow.name_state == NameState::kMalformed && flow.protocol != "http") {
      reason = POLICY_REASON_SNI_MALFORMED;
    } else if (flow.name_state == NameState::kMalformed) {
      reason = POLICY_REASON_AUTHORITY_MALFORMED;
    } else if (flow.name_state == NameState::kAddress) {
      reason = by_address.reason;
    } else {
      for (const DomainName& name : bound) {
        const Ruling by_name = ask(id, &name, &id.destination, id.port);
        if (by_name.verdict == POLICY_ALLOW || !by_binding) ruling = by_name;
        by_binding = by_binding || by_name.verdict == POLICY_ALLOW;
      }
      // An address that nobody was told, and that no rule lists: that is what is wrong with it, unless the policy has a
      // sharper word (guarded, metadata, a deny rule, a port).
      const bool plain =
          !is_guarded(classify(id.destination)) &&
          (by_address.reason == POLICY_REASON_IP_LITERAL_DENIED || by_address.reason == POLICY_REASON_NO_RULE);
      const bool ports = id.proto == wire::kIpTcp || id.proto == wire::kIpUdp;
      if (!by_binding) {
        reason = ruling.reason;
        if (bound.empty() && plain && ports && options_.bindings) reason = POLICY_REASON_DST_NOT_BOUND;
      }
    }
  }
  if (reason != POLICY_REASON_OK && id.proto == wire::kIpUdp && flow.protocol == "quic" &&
      ruling.verdict != POLICY_ALLOW)
    reason = POLICY_REASON_QUIC_DENIED;
  const Decisions::Found found =
      options_.live ? decisions_.find(id, flow.name ? std::string(flow.name->text()) : "", flow.first_ns)
                    : Decisions::Found::kAllowed;
  if (reason != POLICY_REASON_OK && options_.live && found == Decisions::Found::kDenied) {
    flow.standing = Standing::kRefused;  // an enforcer saw it and said no
    return;
  }
  const bool by_the_kernel =
      by_address.verdict == POLICY_ALLOW &&
      ((id.proto == wire::kIpUdp && options_.udp_by_address) || (id.proto == wire::kIpTcp && options_.tcp_by_address));
  if (reason == POLICY_REASON_OK && found == Decisions::Found::kNone && !by_binding && !by_the_kernel) {
    reason = POLICY_REASON_NO_DECISION;
    detail = "the policy allows it, and no enforcer says that it decided so";
  }
  if (reason == POLICY_REASON_OK) {
    flow.standing = Standing::kAllowed;
    judge_protocol(id, flow, ruling.flags);
    return;
  }
  flow.standing = Standing::kAlarm;
  raise(id, &flow, reason, std::move(detail), ruling, flow.name ? &*flow.name : nullptr);
}

// Ports whose protocol everyone knows, and something else is spoken there.
void Monitor::judge_protocol(const FlowId& id, Flow& flow, std::uint32_t flags) {
  constexpr std::uint32_t kTunnelAny = POLICY_FLAG_TUNNEL_ANY;
  if (flow.protocol.empty() || (flags & kTunnelAny) != 0) return;
  std::string_view expected;
  if (id.port == 53 && flow.protocol != "dns") expected = "dns";
  if ((id.port == 443 || id.port == 853) && flow.protocol != "tls" && flow.protocol != "quic") expected = "tls";
  if (id.port == 80 && flow.protocol != "http") expected = "http";
  if (expected.empty()) return;
  flow.standing = Standing::kAlarm;
  raise(id, &flow, POLICY_REASON_TUNNEL_SUSPECT,
        std::string(flow.protocol) + " where " + std::string(expected) + " is spoken", {},
        flow.name ? &*flow.name : nullptr);
}

}  // namespace sallyport::monitor
