// A host in static functions that allocates nothing and locks nothing, for counting what the responder does itself.
#pragma once

#include <policy/ext/clients.h>
#include <policy/ext/draft/synthetic.h>
#include <policy/ext/ledger.h>

#include <cstring>
#include <policy/plugin.hpp>
#include <string_view>

#include "dns/responder.hpp"
#include "support/fake_host.hpp"

namespace sallyport::dns {

struct SmallHost {
  static inline std::size_t decisions = 0, records = 0;

  static policy_code open(policy_host*, policy_thread** out) {
    static char thread;
    *out = reinterpret_cast<policy_thread*>(&thread);
    return POLICY_OK;
  }
  static void close(policy_thread*) {}
  // Names below allowed.test.
  static policy_code decide(policy_thread*, const policy_query* query, policy_verdict* out) {
    ++decisions;
    const std::string_view name(query->name->text, query->name->len);
    const bool allowed = name.ends_with(".allowed.test");
    *out = {sizeof *out,
            static_cast<std::uint16_t>(allowed ? POLICY_CONTINUE : POLICY_DENY),
            static_cast<std::uint16_t>(allowed ? POLICY_REASON_OK : POLICY_REASON_NO_RULE),
            allowed ? 0u : POLICY_NO_RULE,
            0,
            1};
    return POLICY_OK;
  }
  static std::size_t host_addresses(policy_thread*, std::uint64_t, const policy_name*, policy_addr*, std::size_t) {
    return 0;
  }
  static policy_code write(policy_thread*, const policy_query*, const policy_verdict*, policy_str, policy_str,
                           policy_ref* ref) {
    ++records;
    std::memcpy(ref->text, "k3f9a\0\0", 8);
    return POLICY_OK;
  }
  static policy_code identify(policy_thread*, std::uint64_t, const policy_addr* peer, std::uint64_t* id) {
    *id = testing_kit::FakeGate::client_id_of(*peer);
    return POLICY_OK;
  }
  static policy_code assign(policy_thread*, std::uint64_t, const policy_name*, std::uint32_t, policy_addr* v4,
                            policy_addr*) {
    *v4 = testing_kit::FakeHost::address("198.18.0.5");
    return POLICY_OK;
  }
  static const void* get(policy_host*, const char* id) {
    static constexpr policy_decision_v1 kDecision{sizeof kDecision, open,    close,          decide,
                                                  nullptr,          nullptr, host_addresses, nullptr};
    static constexpr policy_audit_v1 kAudit{sizeof kAudit, write, nullptr};
    static constexpr policy_clients_v1 kClients{sizeof kClients, identify, nullptr};
    static constexpr policy_synthetic_draft1 kSynthetic{sizeof kSynthetic, assign, nullptr};
    const std::string_view wanted = id;
    if (wanted == POLICY_EDGE_ID) return testing_kit::FakeHost::edge();
    if (wanted == POLICY_DECISION_ID) return &kDecision;
    if (wanted == POLICY_AUDIT_ID) return &kAudit;
    if (wanted == POLICY_CLIENTS_ID) return &kClients;
    if (wanted == POLICY_SYNTHETIC_ID) return &kSynthetic;
    return nullptr;
  }
  static policy::Host host() {
    static constexpr policy_host_api kApi{sizeof kApi, 0, get};
    return {nullptr, &kApi};
  }
};

// A responder on it, whose resolver answers at once.
struct SmallGate {
  explicit SmallGate(Answers answers) : config(config_of(answers)), responder(services(), config) {}

  static Config config_of(Answers answers) {
    Config out;
    out.answers = answers;
    if (answers == Answers::kGateway) out.gateway_addresses = {*Address::parse("172.20.0.3")};
    return out;
  }
  Services services() {
    Services out;
    const policy::Host host = SmallHost::host();
    out.edge = host.get<policy_edge_v1>(POLICY_EDGE_ID);
    out.decision = host.get<policy_decision_v1>(POLICY_DECISION_ID);
    out.clients = host.get<policy_clients_v1>(POLICY_CLIENTS_ID);
    out.synthetic = host.get<policy_synthetic_draft1>(POLICY_SYNTHETIC_ID);
    out.reader = &reader;
    out.resolve = [](DomainName, std::uint16_t, net::Clock::time_point) -> net::awaitable<net::ResolveResult> {
      net::ResolveResult result{net::ResolveOutcome::kAnswers, {*Address::parse("93.184.216.34")}, 60};
      co_return result;
    };
    out.has_ipv6 = [] { return true; };
    return out;
  }

  policy::Reader reader{SmallHost::host()};
  Config config;
  Responder responder;
};

}  // namespace sallyport::dns
