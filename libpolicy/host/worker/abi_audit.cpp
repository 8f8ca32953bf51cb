// policy.audit/1: what plugins decided, into the ring.
#include <policy/ext/audit.h>

#include <algorithm>

#include "host/worker/abi_host.hpp"

namespace sallyport {
namespace {

policy_code write_record(policy_thread* thread, const policy_query* query, const policy_verdict* verdict,
                         policy_str detail, policy_str raw, policy_ref* ref, AuditKind kind) noexcept {
  if (ref != nullptr) *ref = {};
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  if (query == nullptr || verdict == nullptr || !POLICY_HAS(query, path) || !POLICY_HAS(verdict, generation))
    return POLICY_INVALID;
  policy_verdict undecided = verdict_in(*verdict);
  if (verdict->generation != 0) return write_audit(*thread->host, *query, undecided, detail, raw, ref, kind);
  // Refused before the policy was asked. The one in force tells whose client it was.
  const PolicyVersion* version = thread->reader.now();
  if (version != nullptr) undecided.generation = version->snapshot->generation();
  return write_audit(*thread->host, *query, undecided, detail, raw, ref, kind, kAuditUndecided);
}

policy_code write_decision(policy_thread* thread, const policy_query* query, const policy_verdict* verdict,
                           policy_str detail, policy_str raw, policy_ref* ref) noexcept {
  return write_record(thread, query, verdict, detail, raw, ref, AuditKind::kDecision);
}

policy_code write_closed(policy_thread* thread, const policy_query* query, const policy_verdict* verdict,
                         policy_str detail) noexcept {
  return write_record(thread, query, verdict, detail, {}, nullptr, AuditKind::kClose);
}

}  // namespace

namespace {

// What rules on trial would have decided, a record each.
void write_trials(policy_host& host, const policy_verdict& verdict, AuditRecord& record) noexcept {
  for (const std::uint32_t trial : verdict.trials) {
    if (trial == 0) return;
    const bool allows = (trial & POLICY_TRIAL_ALLOWS) != 0;
    record.rule = (trial & ~POLICY_TRIAL_ALLOWS) - 1;
    record.mode = AuditMode::kObserve;
    record.verdict = allows ? Effect::kAllow : Effect::kDeny;
    const bool by_name = record.name_size > 0 && (record.flags & kAuditRaw) == 0;
    record.reason = allows ? Reason::kOk : by_name ? Reason::kNameNotAllowed : Reason::kAddressDenied;
    record.ref = audit_ref(record, host.shared->audit->ref_seed());
    host.shared->audit->write(record);
  }
}

}  // namespace

policy_code write_audit(policy_host& host, const policy_query& query, const policy_verdict& verdict, policy_str detail,
                        policy_str raw, policy_ref* ref, AuditKind kind, std::uint8_t flags) noexcept {
  AuditRecord record;
  record.flags = flags;
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  record.realtime_ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
  record.kind = kind;
  record.set_plugin(host.plugin);
  // "continue" was let on by the layer that wrote it; any value that is not known is a refusal, as everywhere.
  const bool passed = verdict.verdict == POLICY_ALLOW || verdict.verdict == POLICY_CONTINUE;
  record.verdict = passed ? static_cast<Effect>(verdict.verdict) : Effect::kDeny;
  record.effective = passed ? Effect::kAllow : Effect::kDeny;
  if (passed && (verdict.flags & POLICY_FLAG_OBSERVED) != 0) {
    record.verdict = Effect::kDeny;
    record.mode = AuditMode::kObserve;
  }
  record.reason = verdict.reason <= static_cast<std::uint16_t>(Reason::kLast) ? static_cast<Reason>(verdict.reason)
                                                                              : Reason::kNoRule;
  record.rule = verdict.rule;
  record.generation = verdict.generation;
  record.layer = static_cast<Layer>(query.layer);
  record.qtype = query.qtype;
  record.proto = query.proto;
  record.port = query.port;
  record.client_id = query.client_id;
  if (const std::optional<Address> client = address_in(query.client)) {
    record.set_client_addr(*client, query.client->port);
  }
  if (query.credential.len > 0) record.set_user(view(query.credential));
  if (const DomainName* name = name_in(query.name)) {
    record.set_name(*name);
  } else if (raw.len > 0 && raw.ptr != nullptr) {
    record.set_raw(view(raw));
  }
  if (const std::optional<Address> address = address_in(query.dest)) record.set_addr(*address);
  record.set_detail(view(detail));
  record.ref = audit_ref(record, host.shared->audit->ref_seed());
  if (ref != nullptr) {
    const auto characters = ref_characters(record.ref);
    std::copy(characters.begin(), characters.end(), ref->text);
  }
  // The data plane goes on: a lost record is counted and reported (ACCEPTANCE section 0, decision 9).
  host.shared->audit->write(record);
  if (kind == AuditKind::kDecision) write_trials(host, verdict, record);
  return POLICY_OK;
}

const policy_audit_v1& audit_extension() noexcept {
  static constexpr policy_audit_v1 kAudit = {sizeof(policy_audit_v1), write_decision, write_closed};
  return kAudit;
}

}  // namespace sallyport
