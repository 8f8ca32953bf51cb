#include "host/worker/flow_table.hpp"

#include <fcntl.h>
#include <policy/ext/log.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "host/worker/abi_host.hpp"

namespace sallyport {
namespace {

constexpr std::size_t kLongestText = 8192;  // of a method or path that a ticket keeps

bool keep(policy_str in, std::string& copy, policy_str& out) {
  if (in.len > kLongestText || (in.len > 0 && in.ptr == nullptr)) return false;
  copy.assign(in.len > 0 ? in.ptr : "", in.len);
  out = {copy.data(), copy.size()};
  return true;
}

// Owns what the query points to from here on.
bool keep_query(const policy_query& in, policy_flow& flow) {
  flow.query = in;
  flow.query.struct_size = sizeof(policy_query);
  if (in.client != nullptr) flow.query.client = &(flow.client = *in.client);
  if (in.dest != nullptr) flow.query.dest = &(flow.dest = *in.dest);
  if (in.name != nullptr) flow.query.name = &(flow.name = *in.name);
  return keep(in.credential, flow.credential, flow.query.credential) &&
         keep(in.method, flow.method, flow.query.method) && keep(in.path, flow.path, flow.query.path);
}

// Would the version have let it through, by the same right? A flow under `tunnel: any` carries any bytes.
bool still_allowed(const WorkerShared& shared, const PolicyVersion& version, const policy_flow& flow) {
  Unpacked unpacked;
  if (unpack(shared, version, flow.query, unpacked) != POLICY_OK) return false;
  const Verdict now = version.snapshot->decide(unpacked.query);
  if ((flow.verdict.flags & ~now.flags & POLICY_FLAG_TUNNEL_ANY) != 0) return false;
  if (now.effect == Effect::kAllow) return true;
  return now.effect == Effect::kContinue && flow.verdict.verdict == POLICY_CONTINUE;
}

void shut(policy_flow& flow) {
  for (const policy_flow::Held& held : flow.attached) {
    if (held.fd >= 0) ::shutdown(held.fd, SHUT_RDWR);
  }
}

void close_copies(const policy_flow& flow) {
  for (const policy_flow::Held& held : flow.attached) {
    if (held.fd >= 0 && !held.lent) ::close(held.fd);
  }
}

policy_flow::Held* free_place(policy_flow& flow) {
  const auto place =
      std::find_if(flow.attached.begin(), flow.attached.end(), [](const auto& one) { return one.fd < 0; });
  return place != flow.attached.end() ? &*place : nullptr;
}

}  // namespace

FlowTable::~FlowTable() {
  for (Shard& shard : shards_) {
    for (policy_flow* flow : shard.flows) {
      close_copies(*flow);
      delete flow;
    }
  }
}

policy_code FlowTable::open(policy_thread& thread, const policy_query& query, const policy_verdict& verdict,
                            policy_revoked_fn revoked, void* user, std::uint64_t now_ns, policy_flow** out) {
  const bool passed = verdict.verdict == POLICY_ALLOW || verdict.verdict == POLICY_CONTINUE;
  if (!passed) return POLICY_DENIED;
  auto flow = std::make_unique<policy_flow>();
  if (!keep_query(query, *flow)) return POLICY_INVALID;
  flow->host = thread.host;
  flow->thread = &thread;
  flow->id = last_id_.fetch_add(1, std::memory_order_relaxed) + 1;
  flow->verdict = verdict_in(verdict);
  flow->revoked = revoked;
  flow->user = user;
  flow->opened_ns = now_ns;

  // Under the lock: a policy that is published from here on finds the ticket, and one before is seen here.
  Shard& shard = shard_of(*flow);
  const std::lock_guard lock(shard.mutex);
  const PolicyVersion* version = thread.reader.now();
  if (version == nullptr) return POLICY_DENIED;
  if (version->snapshot->generation() != verdict.generation) {
    if (!still_allowed(*thread.host->shared, *version, *flow)) return POLICY_DENIED;
  }
  shard.flows.insert(flow.get());
  *out = flow.release();
  return POLICY_OK;
}

policy_code FlowTable::attach(policy_flow& flow, int fd) {
  Shard& shard = shard_of(flow);
  const std::lock_guard lock(shard.mutex);
  policy_flow::Held* const place = free_place(flow);
  if (place == nullptr) return POLICY_EXHAUSTED;
  const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
  if (copy < 0) return errno == EBADF ? POLICY_INVALID : POLICY_EXHAUSTED;
  *place = {.fd = copy, .lent = false};
  if (flow.shut) ::shutdown(copy, SHUT_RDWR);
  return POLICY_OK;
}

policy_code FlowTable::lend(policy_flow& flow, int fd) {
  Shard& shard = shard_of(flow);
  const std::lock_guard lock(shard.mutex);
  policy_flow::Held* const place = free_place(flow);
  if (place == nullptr) return POLICY_EXHAUSTED;
  *place = {.fd = fd, .lent = true};
  if (flow.shut) ::shutdown(fd, SHUT_RDWR);
  return POLICY_OK;
}

void FlowTable::take_back(policy_flow& flow, int fd) {
  Shard& shard = shard_of(flow);
  const std::lock_guard lock(shard.mutex);
  for (policy_flow::Held& held : flow.attached) {
    if (held.lent && held.fd == fd) held = {};
  }
}

void FlowTable::close(policy_flow* flow) {
  Shard& shard = shard_of(*flow);
  {
    std::unique_lock lock(shard.mutex);
    shard.called.wait(lock, [flow] { return !flow->calling; });
    shard.flows.erase(flow);
  }
  close_copies(*flow);
  delete flow;
}

std::size_t FlowTable::decide_again(const WorkerShared& shared, const PolicyVersion& version, std::uint64_t now_ns) {
  std::size_t count = 0;
  std::vector<policy_flow*> revoked;
  for (Shard& shard : shards_) {
    revoked.clear();
    {
      const std::lock_guard lock(shard.mutex);
      for (policy_flow* flow : shard.flows) {
        if (flow->revoked_ns != 0 || still_allowed(shared, version, *flow)) continue;
        flow->revoked_ns = now_ns;
        flow->calling = true;
        flow->live.store(0, std::memory_order_release);
        revoked.push_back(flow);
      }
    }
    count += revoked.size();
    for (policy_flow* flow : revoked) {
      if (flow->revoked != nullptr) flow->revoked(flow->user, flow->id, POLICY_REASON_REVOKED);
      const std::lock_guard lock(shard.mutex);
      flow->calling = false;
      shard.called.notify_all();
    }
  }
  if (count > 0 && next_due_ns_.load(std::memory_order_relaxed) == 0)
    next_due_ns_.store(now_ns + kGraceNs, std::memory_order_relaxed);
  return count;
}

void FlowTable::shut_late(const WorkerShared& shared, std::uint64_t now_ns) {
  const std::uint64_t due = next_due_ns_.load(std::memory_order_relaxed);
  if (due == 0 || now_ns < due) return;
  std::uint64_t next = 0;
  struct Late {
    std::string plugin;
    std::uint64_t flow;
  };
  std::vector<Late> late;
  for (Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    for (policy_flow* flow : shard.flows) {
      if (flow->revoked_ns == 0 || flow->shut) continue;
      const std::uint64_t mine = flow->revoked_ns + kGraceNs;
      if (mine <= now_ns) {
        flow->shut = true;
        shut(*flow);
        late.push_back({flow->host->plugin, flow->id});
      } else if (next == 0 || mine < next) {
        next = mine;
      }
    }
  }
  next_due_ns_.store(next, std::memory_order_relaxed);
  for (const Late& one : late) {
    if (shared.log)
      shared.log(one.plugin, POLICY_LOG_ERROR, "a revoked flow was still open after a second; shut down by the host",
                 "{\"flow\":" + std::to_string(one.flow) + "}");
  }
}

std::size_t FlowTable::size() const {
  std::size_t count = 0;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    count += shard.flows.size();
  }
  return count;
}

namespace {

policy_code open(policy_thread* thread, const policy_query* query, const policy_verdict* verdict,
                 policy_revoked_fn revoked, void* user, policy_flow** out) noexcept {
  if (out != nullptr) *out = nullptr;
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  if (out == nullptr || query == nullptr || verdict == nullptr || !POLICY_HAS(query, path) ||
      !POLICY_HAS(verdict, generation))
    return POLICY_INVALID;
  try {
    return thread->host->shared->flows.open(*thread, *query, *verdict, revoked, user, monotonic_ns(), out);
  } catch (...) {
    return POLICY_EXHAUSTED;
  }
}

policy_code attach(policy_flow* flow, int fd) noexcept {
  return flow != nullptr && fd >= 0 ? flow->host->shared->flows.attach(*flow, fd) : POLICY_INVALID;
}

policy_code lend(policy_flow* flow, int fd) noexcept {
  return flow != nullptr && fd >= 0 ? flow->host->shared->flows.lend(*flow, fd) : POLICY_INVALID;
}

void take_back(policy_flow* flow, int fd) noexcept {
  if (flow != nullptr && fd >= 0) flow->host->shared->flows.take_back(*flow, fd);
}

uint64_t id(const policy_flow* flow) noexcept { return flow != nullptr ? flow->id : 0; }

uint32_t live(const policy_flow* flow) noexcept {
  return flow != nullptr ? flow->live.load(std::memory_order_acquire) : 0;
}

policy_code charge(policy_flow* flow, uint32_t kind, uint64_t amount, policy_charge* out) noexcept {
  if (flow == nullptr) return POLICY_INVALID;
  if (!on_own_thread(flow->thread)) return POLICY_WRONG_THREAD;
  return charge_limits(*flow->thread, flow->query, flow->verdict, kind, amount, out);
}

void close(policy_flow* flow, uint64_t up, uint64_t down, uint16_t reason) noexcept {
  if (flow == nullptr) return;
  policy_verdict verdict = flow->verdict;
  // Whatever the plugin says it was: the policy ended it.
  const bool revoked = flow->live.load(std::memory_order_acquire) == 0;
  verdict.reason = revoked ? static_cast<std::uint16_t>(POLICY_REASON_REVOKED) : reason;
  char detail[160];
  const int length = std::snprintf(detail, sizeof detail,
                                   "{\"bytes\":{\"up\":%llu,\"down\":%llu},\"duration_ms\":%llu,\"flow\":\"%llx\"}",
                                   static_cast<unsigned long long>(up), static_cast<unsigned long long>(down),
                                   static_cast<unsigned long long>((monotonic_ns() - flow->opened_ns) / 1'000'000),
                                   static_cast<unsigned long long>(flow->id));
  write_audit(*flow->host, flow->query, verdict, {detail, static_cast<std::size_t>(length)}, {}, nullptr,
              AuditKind::kClose);
  flow->host->shared->flows.close(flow);
}

}  // namespace

const policy_flow_v1& flow_extension() noexcept {
  static constexpr policy_flow_v1 kFlow = {
      sizeof(policy_flow_v1), open, attach, id, live, close, lend, take_back, charge};
  return kFlow;
}

}  // namespace sallyport
