#include "host/worker/ledger_service.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "host/worker/abi_host.hpp"

namespace sallyport {
namespace {

void ring(int fd) noexcept {
  const std::uint64_t one = 1;
  if (fd >= 0) [[maybe_unused]]
    const ssize_t written = ::write(fd, &one, sizeof one);
}

}  // namespace

void LedgerService::recorded() const noexcept {
  if (enforcers_ > 0) ring(descriptors_.recorded);
}

unsigned LedgerService::place_of(policy_host& host) noexcept {
  if (!host.enforcer) host.enforcer = next_enforcer_++;
  return *host.enforcer;
}

void LedgerService::applied(policy_host& host, std::uint64_t seq) noexcept {
  unsigned place;
  {
    const std::lock_guard lock(mutex_);
    place = place_of(host);
  }
  table_.applied(place, seq);
  for (const int fd : descriptors_.applied) ring(fd);
  if (descriptors_.applied.empty()) ring(descriptors_.own_applied);
}

policy_code LedgerService::wait(policy_host* host, std::uint64_t seq, std::uint64_t deadline_ns,
                                policy_applied_fn callback, void* user) noexcept {
  if (enforcers_ == 0 || in_force(seq)) return POLICY_NOT_FOUND;
  std::uint64_t id;
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() >= kMostWaiting) return POLICY_EXHAUSTED;
    id = ++last_id_;
    try {
      waiting_.push_back({host, id, seq, deadline_ns, callback, user});
    } catch (...) {
      return POLICY_EXHAUSTED;
    }
    wake = planned_ns_ == 0 || deadline_ns < planned_ns_;
    if (wake) planned_ns_ = deadline_ns;
  }
  // It may have come in force before anybody could see that somebody waits.
  if (in_force(seq)) {
    const std::lock_guard lock(mutex_);
    const auto mine = std::find_if(waiting_.begin(), waiting_.end(), [id](const Waiting& w) { return w.id == id; });
    if (mine != waiting_.end()) {
      waiting_.erase(mine);
      return POLICY_NOT_FOUND;
    }
    return POLICY_OK;  // is being called
  }
  if (wake) ring(descriptors_.own_applied);
  return POLICY_OK;
}

void LedgerService::subscribe(policy_host& host, policy_recorded_fn callback, void* user) {
  std::erase_if(subscribers_, [&](const Subscriber& s) { return s.host == &host; });
  if (callback == nullptr) return;
  {
    const std::lock_guard lock(mutex_);
    if (!host.enforcer) table_.forget_applied(place_of(host));  // whatever was in force went with the one before
  }
  subscribers_.push_back({&host, callback, user});
}

void LedgerService::forget(policy_host* host) {
  std::erase_if(subscribers_, [&](const Subscriber& s) { return s.host == host; });
  const std::lock_guard lock(mutex_);
  std::erase_if(waiting_, [&](const Waiting& w) { return w.host == host; });
}

void LedgerService::notify_recorded() {
  for (const Subscriber& subscriber : subscribers_) subscriber.callback(subscriber.user);
}

void LedgerService::run_due(std::uint64_t now_ns) {
  const std::uint64_t in_force = table_.applied_by_all(enforcers_);
  std::vector<Waiting> due;
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(waiting_, [&](const Waiting& w) {
      if (w.seq > in_force && w.deadline_ns > now_ns) return false;
      due.push_back(w);
      return true;
    });
  }
  for (const Waiting& w : due) w.callback(w.user, w.seq <= in_force ? POLICY_OK : POLICY_TIMEOUT);
}

std::optional<std::uint64_t> LedgerService::next_due() const noexcept {
  const std::lock_guard lock(mutex_);
  planned_ns_ = 0;
  for (const Waiting& w : waiting_) {
    if (planned_ns_ == 0 || w.deadline_ns < planned_ns_) planned_ns_ = w.deadline_ns;
  }
  if (planned_ns_ == 0) return std::nullopt;
  return planned_ns_;
}

namespace {

policy_code record_asked(policy_thread* thread, const policy_binding* in, size_t stride, size_t n, uint32_t age_ms,
                         uint64_t* seq) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  if (in == nullptr || n == 0 || stride < sizeof(policy_binding)) return POLICY_INVALID;
  LedgerService& ledger = *thread->host->shared->ledger;
  const auto at = [&](std::size_t i) -> const policy_binding& {
    return *reinterpret_cast<const policy_binding*>(reinterpret_cast<const char*>(in) + i * stride);
  };
  // All or nothing, as far as what was passed in goes.
  for (std::size_t i = 0; i < n; ++i) {
    const bool whole = POLICY_HAS(&at(i), name) && name_in(&at(i).name) != nullptr && address_in(&at(i).addr);
    if (!whole || (at(i).client.seal != 0 && !address_in(&at(i).client)) || at(i).client_id == 0) return POLICY_INVALID;
  }
  const std::uint64_t now = clock_ms(CLOCK_BOOTTIME);
  policy_code code = POLICY_OK;
  bool any = false;
  for (std::size_t i = 0; i < n && code == POLICY_OK; ++i) {
    const BindingTable::Binding binding{
        .client_id = at(i).client_id,
        .client = at(i).client.seal != 0 ? address_in(&at(i).client) : std::nullopt,
        .addr = *address_in(&at(i).addr),
        .name = *name_in(&at(i).name),
        .ttl_ms = at(i).ttl_ms,
    };
    const Result<std::uint64_t> made = ledger.table().record(binding, now, now - std::min<std::uint64_t>(age_ms, now));
    if (!made.ok()) {
      code = made.error().code == ErrorCode::kUnsupported ? POLICY_NOT_FOUND : POLICY_EXHAUSTED;
    } else {
      any = true;
      if (seq != nullptr) *seq = *made;
    }
  }
  if (any) ledger.recorded();
  return code;
}

policy_code record(policy_thread* thread, const policy_binding* in, size_t stride, size_t n, uint64_t* seq) noexcept {
  return record_asked(thread, in, stride, n, 0, seq);
}

policy_code forget(policy_thread* thread, const policy_addr* client) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  const std::optional<Address> address = address_in(client);
  if (!address) return POLICY_INVALID;
  thread->host->shared->ledger->table().forget(*address, clock_ms(CLOCK_BOOTTIME));
  return POLICY_OK;
}

policy_code pin(policy_thread* thread, uint64_t client_id, const policy_addr* client, const policy_addr* addr,
                uint32_t for_ms) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  const std::optional<Address> from = address_in(client), to = address_in(addr);
  if (!from || !to) return POLICY_INVALID;
  const std::size_t count =
      thread->host->shared->ledger->table().pin(client_id, *from, *to, clock_ms(CLOCK_BOOTTIME), for_ms);
  return count > 0 ? POLICY_OK : POLICY_NOT_FOUND;
}

void binding_out(const BindingTable::Found& found, std::uint64_t now_ms, policy_binding& out) {
  out = {};
  out.struct_size = sizeof out;
  const std::uint64_t left = found.expires_ms > now_ms ? found.expires_ms - now_ms : 0;  // 0: it is only pinned
  out.ttl_ms = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, UINT32_MAX));
  out.client_id = found.client_id;
  if (found.client) address_out(*found.client, 0, out.client);
  address_out(found.addr, 0, out.addr);
  name_out(*found.name, out.name);
}

constexpr std::size_t kBatch = 32;  // 12 kB of stack

policy_code find(policy_thread* thread, uint64_t client_id, const policy_addr* addr, policy_binding* out, size_t stride,
                 size_t* n) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  const std::optional<Address> address = address_in(addr);
  if (!address || n == nullptr || (*n > 0 && (out == nullptr || stride < sizeof(policy_binding))))
    return POLICY_INVALID;
  std::array<BindingTable::Found, kBatch> found;
  const std::uint64_t now = clock_ms(CLOCK_BOOTTIME);
  const std::size_t room = std::min(*n, kBatch);
  // Asked for one at least: that there is none is an answer of its own.
  const std::size_t count = thread->host->shared->ledger->table().find(
      client_id, *address, now, std::span(found).first(std::max<std::size_t>(room, 1)));
  *n = std::min(room, count);
  for (std::size_t i = 0; i < *n; ++i)
    binding_out(found[i], now, *reinterpret_cast<policy_binding*>(reinterpret_cast<char*>(out) + i * stride));
  return count > 0 ? POLICY_OK : POLICY_NOT_FOUND;
}

policy_code next(policy_thread* thread, uint64_t* cursor, policy_binding* out, size_t stride, size_t* n) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  if (cursor == nullptr || n == nullptr || *n == 0 || out == nullptr || stride < sizeof(policy_binding))
    return POLICY_INVALID;
  std::array<BindingTable::Found, kBatch> found;
  const std::uint64_t now = clock_ms(CLOCK_BOOTTIME);
  const Result<std::size_t> count =
      thread->host->shared->ledger->table().next(*cursor, now, std::span(found).first(std::min(*n, kBatch)));
  *n = count.ok() ? *count : 0;
  if (!count.ok()) return POLICY_EXHAUSTED;
  for (std::size_t i = 0; i < *n; ++i)
    binding_out(found[i], now, *reinterpret_cast<policy_binding*>(reinterpret_cast<char*>(out) + i * stride));
  return POLICY_OK;
}

policy_code applied(policy_thread* thread, uint64_t seq) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  thread->host->shared->ledger->applied(*thread->host, seq);
  return POLICY_OK;
}

policy_code when_applied(policy_thread* thread, uint64_t seq, uint64_t deadline_ns, policy_applied_fn callback,
                         void* user) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  if (callback == nullptr) return POLICY_INVALID;
  return thread->host->shared->ledger->wait(thread->host, seq, std::max<std::uint64_t>(deadline_ns, 1), callback, user);
}

policy_code on_recorded(policy_host* host, policy_recorded_fn callback, void* user) noexcept {
  if (host == nullptr) return POLICY_INVALID;
  if (!host->shared->on_main()) return POLICY_WRONG_THREAD;
  host->shared->ledger->subscribe(*host, callback, user);
  return POLICY_OK;
}

}  // namespace

const policy_ledger_v1& ledger_extension() noexcept {
  static constexpr policy_ledger_v1 kLedger = {
      sizeof(policy_ledger_v1), record, find, next, applied, when_applied, on_recorded, record_asked, forget, pin};
  return kLedger;
}

}  // namespace sallyport
