// What only a gate offers, and is one call into what lies below: policy.clients/1, policy.metrics/1,
// policy.topology/draft1, policy.decisions/draft1.
#include <algorithm>
#include <array>
#include <cstring>

#include "host/worker/abi_host.hpp"
#include "names/sip_hash.hpp"

namespace sallyport {
namespace {

// ---- policy.clients/1

policy_code identify(policy_thread* thread, uint64_t listener, const policy_addr* peer, uint64_t* client_id) noexcept {
  if (client_id == nullptr) return POLICY_INVALID;
  *client_id = 0;
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  if (listener != 0) {
    *client_id = listener;
    return POLICY_OK;
  }
  const std::optional<Address> address = address_in(peer);
  if (!address) return POLICY_INVALID;
  *client_id = client_id_of(*address, thread->host->shared->client_key);
  const PolicyVersion* version = thread->reader.now();
  if (version == nullptr) return POLICY_DENIED;
  thread->last.client_id = *client_id;
  thread->last.groups = version->snapshot->groups_of_address(*address);
  thread->last.generation = version->snapshot->generation();
  const bool held = version->sources.empty() || std::any_of(version->sources.begin(), version->sources.end(),
                                                            [&](const Prefix& p) { return p.contains(*address); });
  return held ? POLICY_OK : POLICY_DENIED;
}

template <typename Check>
policy_code credentials_say(policy_thread* thread, const policy_addr* peer, policy_str user, Check check) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  const std::optional<Address> address = address_in(peer);
  if (!address) return POLICY_INVALID;
  WorkerShared& shared = *thread->host->shared;
  const PolicyVersion* version = thread->reader.now();
  if (version == nullptr || !version->credentials || !shared.credential_checks) return POLICY_UNAVAILABLE;
  try {
    switch (check(*shared.credential_checks, *version->credentials, *address)) {
      case CredentialChecks::Outcome::kVerified:
        return version->snapshot->user_may_send_from(view(user), *address) ? POLICY_OK : POLICY_DENIED;
      case CredentialChecks::Outcome::kWrong:
        return POLICY_DENIED;
      case CredentialChecks::Outcome::kTooMany:
        return POLICY_EXHAUSTED;
      case CredentialChecks::Outcome::kUnknown:
        return POLICY_NOT_FOUND;
    }
  } catch (...) {  // out of memory
  }
  return POLICY_DENIED;
}

policy_code verify(policy_thread* thread, const policy_addr* peer, policy_str user, policy_str password) noexcept {
  return credentials_say(thread, peer, user,
                         [=](CredentialChecks& checks, const CredentialSet& users, const Address& from) {
                           return checks.check(users, from, view(user), view(password), clock_ms(CLOCK_MONOTONIC));
                         });
}

policy_code recall(policy_thread* thread, const policy_addr* peer, policy_str user, policy_str password) noexcept {
  return credentials_say(thread, peer, user, [=](CredentialChecks& checks, const CredentialSet&, const Address& from) {
    return checks.recall(from, view(user), view(password), clock_ms(CLOCK_MONOTONIC));
  });
}

// ---- policy.metrics/1

policy_code define(policy_host* host, policy_str name, policy_str labels, uint32_t* id) noexcept {
  if (host == nullptr || id == nullptr) return POLICY_INVALID;
  *id = MetricsTable::kOverflow;
  if (!host->shared->on_main()) return POLICY_WRONG_THREAD;
  const Result<std::uint32_t> made = host->shared->metrics->define(view(name), view(labels));
  if (!made.ok()) return made.error().code == ErrorCode::kExhausted ? POLICY_EXHAUSTED : POLICY_INVALID;
  *id = *made;
  return POLICY_OK;
}

void add(policy_host* host, uint32_t id, uint64_t amount) noexcept { host->shared->metrics->add(id, amount); }
void set(policy_host* host, uint32_t id, uint64_t value) noexcept { host->shared->metrics->set(id, value); }

// ---- policy.topology/draft1

size_t topology_json(policy_host* host, char* out, size_t cap) noexcept {
  if (host == nullptr) return 0;
  const std::string& text = host->shared->topology;
  if (cap > 0 && out != nullptr) {
    const std::size_t copied = std::min(cap - 1, text.size());
    std::memcpy(out, text.data(), copied);
    out[copied] = '\0';
  }
  return text.size();
}

// ---- policy.decisions/draft1

void decision_out(const DecisionRecord& in, policy_decision_record& out) noexcept {
  out = {};
  out.struct_size = sizeof out;
  out.layer = static_cast<std::uint16_t>(in.layer);
  out.verdict = static_cast<std::uint16_t>(in.verdict);
  out.reason = static_cast<std::uint16_t>(in.reason);
  out.proto = in.proto;
  out.realtime_ns = in.realtime_ns;
  out.client_id = in.client_id;
  if (in.client) address_out(*in.client, in.client_port, out.client);
  if (in.dest) address_out(*in.dest, in.dest_port, out.dest);
  out.name_len = in.name_size;
  std::copy_n(in.name.begin(), std::min<std::size_t>(in.name_size, sizeof out.name), out.name);
}

policy_code next_decisions(policy_thread* thread, uint64_t* cursor, policy_decision_record* out, size_t stride,
                           size_t* n) noexcept {
  constexpr std::size_t kBatch = 32, kRounds = 64;  // of nothing but its own; what is left comes with the next call
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  if (cursor == nullptr || n == nullptr || *n == 0 || out == nullptr || stride < sizeof(policy_decision_record))
    return POLICY_INVALID;
  std::array<DecisionRecord, kBatch> found;
  const std::span wanted = std::span(found).first(std::min(*n, kBatch));
  const std::string_view own = std::string_view(thread->host->plugin).substr(0, AuditRecord::kMaxPlugin);
  *n = 0;
  // What the caller said itself is left out: an alarm is nobody's decision about the next flow.
  for (std::size_t round = 0; round < kRounds && *n == 0; ++round) {
    const Result<std::size_t> count = thread->host->shared->journal->next(*cursor, wanted);
    if (!count.ok()) return POLICY_EXHAUSTED;
    if (*count == 0) break;
    for (const DecisionRecord& record : wanted.first(*count)) {
      if (record.plugin_text() == own) continue;
      decision_out(record, *reinterpret_cast<policy_decision_record*>(reinterpret_cast<char*>(out) + *n * stride));
      ++*n;
    }
  }
  return POLICY_OK;
}

}  // namespace

std::uint64_t client_id_of(const Address& peer, const std::array<std::uint64_t, 2>& key) noexcept {
  const auto& octets = peer.octets();
  if (peer.is_v4()) {
    return std::uint64_t{1} << 63 | static_cast<std::uint64_t>(octets[0]) << 24 |
           static_cast<std::uint64_t>(octets[1]) << 16 | static_cast<std::uint64_t>(octets[2]) << 8 | octets[3];
  }
  const std::string_view data(reinterpret_cast<const char*>(octets.data()), octets.size());
  return std::uint64_t{3} << 62 | sip_hash(key, data) >> 2;
}

const policy_clients_v1& clients_extension() noexcept {
  static constexpr policy_clients_v1 kClients = {sizeof(policy_clients_v1), identify, verify, recall};
  return kClients;
}

const policy_metrics_v1& metrics_extension() noexcept {
  static constexpr policy_metrics_v1 kMetrics = {sizeof(policy_metrics_v1), define, add, set};
  return kMetrics;
}

const policy_topology_draft1& topology_extension() noexcept {
  static constexpr policy_topology_draft1 kTopology = {sizeof(policy_topology_draft1), topology_json};
  return kTopology;
}

const policy_decisions_draft1& decisions_extension() noexcept {
  static constexpr policy_decisions_draft1 kDecisions = {sizeof(policy_decisions_draft1), next_decisions};
  return kDecisions;
}

}  // namespace sallyport
