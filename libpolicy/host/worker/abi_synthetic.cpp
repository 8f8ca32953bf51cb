// policy.synthetic/draft1 over the warden's table.
#include "host/worker/abi_host.hpp"

namespace sallyport {
namespace {

policy_code assign(policy_thread* thread, uint64_t client_id, const policy_name* in, uint32_t ttl_ms, policy_addr* v4,
                   policy_addr* v6) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  WorkerShared& shared = *thread->host->shared;
  const DomainName* name = name_in(in);
  const PolicyVersion* version = thread->reader.now();
  const bool known = version != nullptr && (version->cell(client_id) != nullptr || (shared.gate && client_id >> 63));
  if (name == nullptr || !known) return POLICY_INVALID;
  const Result<std::uint32_t> index = shared.synthetic->assign(client_id, *name, clock_ms(CLOCK_BOOTTIME), ttl_ms);
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
  const SyntheticTable::Found found = table.find(client_id, *index, clock_ms(CLOCK_BOOTTIME));
  if (found.state != SyntheticTable::State::kFound) return POLICY_NOT_FOUND;
  name_out(*found.name, *out);
  return POLICY_OK;
}

}  // namespace

const policy_synthetic_draft1& synthetic_extension() noexcept {
  static constexpr policy_synthetic_draft1 kSynthetic = {sizeof(policy_synthetic_draft1), assign, find};
  return kSynthetic;
}

}  // namespace sallyport
