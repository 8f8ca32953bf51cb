#include "host/worker/abi_host.hpp"

#include <fcntl.h>
#include <policy/ext/audit.h>
#include <policy/ext/decision.h>
#include <policy/ext/draft/synthetic.h>
#include <policy/ext/log.h>
#include <policy/ext/sockets.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

using sallyport::Address;
using sallyport::DomainName;
using sallyport::WorkerShared;

// One thread of one plugin.
struct policy_thread {
  policy_host* host;
  sallyport::Reader reader;
  std::thread::id owner;
};

namespace sallyport {
namespace {

static_assert(static_cast<int>(Reason::kLast) == POLICY_REASON_TIMED_OUT &&
              static_cast<int>(Reason::kEchPresent) == POLICY_REASON_ECH_PRESENT &&
              static_cast<int>(Reason::kDstNotBound) == POLICY_REASON_DST_NOT_BOUND &&
              static_cast<int>(Reason::kHostMismatch) == POLICY_REASON_HOST_MISMATCH);
static_assert(int{kKnowName} == int{POLICY_KNOW_NAME} && int{kKnowAddress} == int{POLICY_KNOW_ADDRESS} &&
              int{kKnowPort} == int{POLICY_KNOW_PORT} && int{kKnowMethod} == int{POLICY_KNOW_METHOD} &&
              int{kKnowPath} == int{POLICY_KNOW_PATH} && int{kFlagTunnelAny} == int{POLICY_FLAG_TUNNEL_ANY});
static_assert(static_cast<int>(Effect::kAllow) == POLICY_ALLOW &&
              static_cast<int>(Effect::kContinue) == POLICY_CONTINUE);
static_assert(static_cast<int>(Layer::kDial) == POLICY_LAYER_DIAL && kNoRuleIndex == POLICY_NO_RULE);

std::string_view view(policy_str text) { return {text.ptr, text.len}; }

std::uint64_t now_ms(clockid_t clock) {
  timespec now;
  ::clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 + static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

bool on_own_thread(const policy_thread* thread) {
  return thread != nullptr && thread->owner == std::this_thread::get_id();
}

// ---- policy.decision/1

policy_code open_thread(policy_host* host, policy_thread** out) noexcept {
  if (host == nullptr || out == nullptr) return POLICY_INVALID;
  *out = new (std::nothrow) policy_thread{host, Reader(host->shared->snapshot), std::this_thread::get_id()};
  return *out != nullptr ? POLICY_OK : POLICY_EXHAUSTED;
}

void close_thread(policy_thread* thread) noexcept { delete thread; }

// The parts of a C query that the engine's query points to.
struct Unpacked {
  Query query;
  Address address;
};

policy_code unpack(const policy_thread& thread, const policy_query& in, Unpacked& out) {
  if (!POLICY_HAS(&in, path)) return POLICY_INVALID;
  const WorkerClient* client = thread.host->shared->client(in.client_id);
  if (client == nullptr || in.layer < POLICY_LAYER_DNS || in.layer > POLICY_LAYER_DIAL) return POLICY_INVALID;
  // Only where a later layer will know: nothing is deferred at the last one, and dns needs somebody behind it.
  const bool last = in.layer == POLICY_LAYER_DIAL || (in.layer == POLICY_LAYER_DNS && !thread.host->shared->flow_layer);
  Query& query = out.query;
  query.layer = static_cast<Layer>(in.layer);
  query.qtype = in.qtype;
  query.proto = in.proto;
  query.port = in.port;
  query.known = in.known;
  query.deferred = last ? 0 : in.deferred & ~in.known;
  query.groups = client->groups;
  if ((in.known & POLICY_KNOW_NAME) != 0) {
    query.name = name_in(in.name);
    if (query.name == nullptr) return POLICY_INVALID;
  }
  if ((in.known & POLICY_KNOW_ADDRESS) != 0) {
    const std::optional<Address> address = address_in(in.dest);
    if (!address) return POLICY_INVALID;
    out.address = *address;
    query.address = &out.address;
  }
  return POLICY_OK;
}

policy_code decide(policy_thread* thread, const policy_query* in, policy_verdict* out) noexcept {
  if (in == nullptr || out == nullptr || !POLICY_HAS(out, generation)) return POLICY_INVALID;
  out->verdict = POLICY_DENY;
  out->reason = POLICY_REASON_NO_RULE;
  out->rule = POLICY_NO_RULE;
  out->flags = 0;
  out->generation = 0;
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  Unpacked unpacked;
  if (const policy_code code = unpack(*thread, *in, unpacked); code != POLICY_OK) return code;
  const Verdict verdict = thread->reader.decide(unpacked.query);
  out->verdict = static_cast<std::uint16_t>(verdict.effect);
  out->reason = static_cast<std::uint16_t>(verdict.reason);
  out->rule = verdict.rule;
  out->flags = verdict.flags;
  out->generation = verdict.generation;
  return POLICY_OK;
}

policy_code decide_n(policy_thread* thread, const policy_query* in, size_t in_stride, policy_verdict* out,
                     size_t out_stride, size_t n) noexcept {
  if (in_stride < sizeof(policy_query) || out_stride < sizeof(policy_verdict)) return POLICY_INVALID;
  policy_code worst = POLICY_OK;
  for (size_t i = 0; i < n; ++i) {
    const auto* query = reinterpret_cast<const policy_query*>(reinterpret_cast<const char*>(in) + i * in_stride);
    auto* verdict = reinterpret_cast<policy_verdict*>(reinterpret_cast<char*>(out) + i * out_stride);
    if (const policy_code code = decide(thread, query, verdict); code != POLICY_OK) worst = code;
  }
  return worst;
}

size_t rule_name(policy_thread* thread, const policy_verdict* verdict, char* out, size_t cap) noexcept {
  if (thread == nullptr || verdict == nullptr) return 0;
  const std::string_view name = thread->reader.snapshot().rule_name(verdict->rule);
  if (cap > 0) {
    const std::size_t copied = std::min(cap - 1, name.size());
    std::memcpy(out, name.data(), copied);
    out[copied] = '\0';
  }
  return name.size();
}

size_t host_addresses(policy_thread* thread, uint64_t client_id, const policy_name* in, policy_addr* out,
                      size_t cap) noexcept {
  constexpr std::size_t kMost = 32;  // more addresses than that for one service are a mistake
  if (!on_own_thread(thread)) return 0;
  const DomainName* name = name_in(in);
  const WorkerClient* client = thread->host->shared->client(client_id);
  if (name == nullptr || client == nullptr) return 0;
  std::array<Address, kMost> found;
  const std::size_t count = std::min(kMost, thread->reader.snapshot().host_addresses(*name, client->groups, found));
  for (std::size_t i = 0; i < std::min(count, cap); ++i) address_out(found[i], 0, out[i]);
  return count;
}

constexpr policy_decision_v1 kDecision = {
    sizeof(policy_decision_v1), open_thread, close_thread, decide, decide_n, rule_name, host_addresses};

// ---- policy.synthetic/draft1

policy_code assign(policy_thread* thread, uint64_t client_id, const policy_name* in, uint32_t ttl_ms, policy_addr* v4,
                   policy_addr* v6) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  WorkerShared& shared = *thread->host->shared;
  const DomainName* name = name_in(in);
  if (name == nullptr || shared.client(client_id) == nullptr) return POLICY_INVALID;
  const Result<std::uint32_t> index = shared.synthetic->assign(client_id, *name, now_ms(CLOCK_BOOTTIME), ttl_ms);
  if (!index.ok()) return POLICY_EXHAUSTED;
  if (v4 != nullptr) address_out(shared.synthetic->v4(*index), 0, *v4);
  if (v6 != nullptr) address_out(shared.synthetic->v6(*index), 0, *v6);
  return POLICY_OK;
}

policy_code find(policy_thread* thread, uint64_t client_id, const policy_addr* in, policy_name* out) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  const std::optional<Address> address = address_in(in);
  if (!address) return POLICY_INVALID;
  const SyntheticTable& table = *thread->host->shared->synthetic;
  if (!table.contains(*address)) return POLICY_INVALID;
  const std::optional<std::uint32_t> index = table.index_of(*address);
  if (!index) return POLICY_NOT_FOUND;
  const SyntheticTable::Found found = table.find(client_id, *index, now_ms(CLOCK_BOOTTIME));
  if (found.state != SyntheticTable::State::kFound) return POLICY_NOT_FOUND;
  name_out(*found.name, *out);
  return POLICY_OK;
}

constexpr policy_synthetic_draft1 kSynthetic = {sizeof(policy_synthetic_draft1), assign, find};

// ---- policy.audit/1

policy_code write_record(policy_thread* thread, const policy_query* query, const policy_verdict* verdict,
                         policy_str detail, policy_str raw, policy_ref* ref, AuditKind kind) noexcept {
  if (ref != nullptr) *ref = {};
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  if (query == nullptr || verdict == nullptr || !POLICY_HAS(query, path) || !POLICY_HAS(verdict, generation))
    return POLICY_INVALID;
  AuditRecord record;
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  record.realtime_ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
  record.kind = kind;
  record.set_plugin(thread->host->plugin);
  // "continue" was let on by the layer that wrote it; any value that is not known is a refusal, as everywhere.
  const bool passed = verdict->verdict == POLICY_ALLOW || verdict->verdict == POLICY_CONTINUE;
  record.verdict = passed ? static_cast<Effect>(verdict->verdict) : Effect::kDeny;
  record.effective = passed ? Effect::kAllow : Effect::kDeny;
  record.reason = verdict->reason <= static_cast<std::uint16_t>(Reason::kLast) ? static_cast<Reason>(verdict->reason)
                                                                               : Reason::kNoRule;
  record.rule = verdict->rule;
  record.generation = verdict->generation;
  record.layer = static_cast<Layer>(query->layer);
  record.qtype = query->qtype;
  record.proto = query->proto;
  record.port = query->port;
  record.client_id = query->client_id;
  if (const DomainName* name = name_in(query->name)) {
    record.set_name(*name);
  } else if (raw.len > 0 && raw.ptr != nullptr) {
    record.set_raw(view(raw));
  }
  if (const std::optional<Address> address = address_in(query->dest)) record.set_addr(*address);
  record.set_detail(view(detail));
  record.ref = audit_ref(record, thread->host->shared->audit->ref_seed());
  if (ref != nullptr) {
    const auto characters = ref_characters(record.ref);
    std::copy(characters.begin(), characters.end(), ref->text);
  }
  // The data plane goes on: a lost record is counted and reported (ACCEPTANCE section 0, decision 9).
  thread->host->shared->audit->write(record);
  return POLICY_OK;
}

policy_code write_decision(policy_thread* thread, const policy_query* query, const policy_verdict* verdict,
                           policy_str detail, policy_str raw, policy_ref* ref) noexcept {
  return write_record(thread, query, verdict, detail, raw, ref, AuditKind::kDecision);
}

policy_code write_closed(policy_thread* thread, const policy_query* query, const policy_verdict* verdict,
                         policy_str detail) noexcept {
  return write_record(thread, query, verdict, detail, {}, nullptr, AuditKind::kClose);
}

constexpr policy_audit_v1 kAudit = {sizeof(policy_audit_v1), write_decision, write_closed};

// ---- policy.log/1: the threshold is one for all, set before any plugin runs

std::int32_t log_threshold = POLICY_LOG_WARNING;

void write_log(policy_host* host, int32_t level, policy_str text, policy_str fields) noexcept {
  if (level > log_threshold || !host->shared->log) return;
  try {
    host->shared->log(host->plugin, level, view(text), view(fields));
  } catch (...) {  // out of memory: a log line is not worth more
  }
}

constexpr policy_log_v1 kLog = {sizeof(policy_log_v1), &log_threshold, write_log};

// ---- policy.sockets/1

policy_code on_listener(policy_host* host, policy_str name, policy_listener_fn callback, void* user) noexcept {
  if (callback == nullptr) return POLICY_INVALID;
  bool found = false;
  for (const WorkerListener& listener : host->shared->listeners) {
    if (listener.name != view(name)) continue;
    const int fd = ::fcntl(listener.fd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) return POLICY_EXHAUSTED;
    found = true;
    callback(user, 1, name, fd, listener.client_id);
  }
  return found ? POLICY_OK : POLICY_NOT_FOUND;
}

constexpr policy_sockets_v1 kSockets = {sizeof(policy_sockets_v1), on_listener};

const void* get_extension(policy_host* host, const char* id) noexcept {
  if (host == nullptr || id == nullptr) return nullptr;
  const std::string_view wanted(id);
  if (wanted == POLICY_EDGE_ID) return &edge_extension();
  if (wanted == POLICY_DECISION_ID) return &kDecision;
  if (wanted == POLICY_AUDIT_ID) return &kAudit;
  if (wanted == POLICY_LOG_ID) return &kLog;
  if (wanted == POLICY_SOCKETS_ID) return &kSockets;
  if (wanted == POLICY_SYNTHETIC_ID && host->shared->synthetic) return &kSynthetic;
  return nullptr;
}

}  // namespace

const WorkerClient* WorkerShared::client(std::uint64_t id) const noexcept {
  const auto found = std::find_if(clients.begin(), clients.end(), [id](const WorkerClient& c) { return c.id == id; });
  return found == clients.end() ? nullptr : &*found;
}

void set_log_threshold(std::int32_t level) noexcept { log_threshold = level; }

const policy_host_api& host_api() noexcept {
  static constexpr policy_host_api kApi = {sizeof(policy_host_api), POLICY_ABI_LEVEL, get_extension};
  return kApi;
}

}  // namespace sallyport
