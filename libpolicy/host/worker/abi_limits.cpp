// policy.limits/1: whose limits a charge counts for, over LimitsTable.
//
// Client   A cell's id; the user, where one was verified; else the one address. Not the group: what one client uses up
// is
//          not taken from another (docs/limits.md).
// Policy   A charge is by the verdict's rule in the version that the thread has at hand. A verdict of an earlier
// version is
//          carried over by a meter, through the rule's name; a charge without a meter follows its own verdict as soon
//          as decide() has given one of the new version.
#include <time.h>

#include <array>
#include <cstring>
#include <memory>

#include "host/worker/abi_host.hpp"

// One connection's: the rule that allowed it, by name, and what that rule says in the version last seen.
struct policy_meter {
  policy_thread* thread = nullptr;
  sallyport::LimitsTable::Key key;
  std::array<char, 96> client{};  // the octets of the key
  std::size_t client_size = 0;
  std::string rule;  // its name; empty for the default, which has no limits
  std::uint64_t generation = 0;
  std::uint32_t index = 0;  // of the rule in that generation
  sallyport::LimitsModel limits;
  sallyport::LimitsTable::Place place;  // once a limit of connections counts it
};

namespace sallyport {
namespace {

constexpr std::uint32_t kMostRuleSeries = 512;  // UX.md section 5: further ones count as _other

LimitsTable::Now now() noexcept {
  timespec wall{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &wall);
  return {monotonic_ns(), wall.tv_sec};
}

// Octets that tell a client from every other, with what kind they are in front.
std::size_t client_octets(const PolicyVersion& version, const policy_query& query, std::array<char, 96>& out) noexcept {
  const auto put = [&out](char kind, const void* data, std::size_t size) {
    out[0] = kind;
    size = std::min(size, out.size() - 1);
    std::memcpy(out.data() + 1, data, size);
    return size + 1;
  };
  const std::string_view user = version.credentials ? view(query.credential) : std::string_view();
  if (!user.empty()) return put('u', user.data(), user.size());
  if (version.cell(query.client_id) == nullptr) {
    // By the address itself, since ids of IPv6 clients are hashes of this run.
    if (const std::optional<Address> address = address_in(query.client))
      return put(address->is_v4() ? '4' : '6', address->octets().data(), address->is_v4() ? 4 : 16);
  }
  return put('c', &query.client_id, sizeof query.client_id);
}

void count_exceeded(policy_thread& thread, std::string_view rule, std::uint32_t index, Limit limit) noexcept {
  std::optional<MetricsTable>& metrics = thread.host->shared->metrics;
  if (!metrics) return;
  try {
    std::string labels = "rule=\"";
    labels += index < kMostRuleSeries ? rule : std::string_view("_other");
    labels.append("\",kind=\"").append(to_string(limit)).append("\"");
    const Result<std::uint32_t> id = metrics->define("sallyport_limit_exceeded_total", labels);
    metrics->add(id.ok() ? *id : MetricsTable::kOverflow, 1);
  } catch (...) {  // out of memory: the refusal stands without its count
  }
}

policy_code answer(policy_thread& thread, std::string_view rule, std::uint32_t index, LimitsTable::Charged charged,
                   policy_charge* out) noexcept {
  // Who has to wait for bandwidth has met it, too.
  const Limit met = !charged.ok() ? charged.exceeded : charged.wait_ns > 0 ? Limit::kBandwidth : Limit::kNone;
  if (met != Limit::kNone) count_exceeded(thread, rule, index, met);
  if (out != nullptr && POLICY_HAS(out, wait_ns)) {
    out->exceeded = static_cast<std::uint32_t>(charged.exceeded);
    out->wait_ns = charged.wait_ns;
  }
  return charged.ok() ? POLICY_OK : POLICY_EXHAUSTED;
}

bool is_kind(std::uint32_t kind) noexcept { return kind >= POLICY_CHARGE_REQUEST && kind <= POLICY_CHARGE_QUESTION; }

void clear(policy_charge* out) noexcept {
  if (out == nullptr || !POLICY_HAS(out, wait_ns)) return;
  out->exceeded = POLICY_LIMIT_NONE;
  out->wait_ns = 0;
}

policy_code charge(policy_thread* thread, const policy_query* query, const policy_verdict* verdict, uint32_t kind,
                   uint64_t amount, policy_charge* out) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  if (query == nullptr || verdict == nullptr || !POLICY_HAS(query, path) || !POLICY_HAS(verdict, generation))
    return POLICY_INVALID;
  return charge_limits(*thread, *query, *verdict, kind, amount, out);
}

// The rule of a meter in another version: at the same place, or wherever its name is. Gone: what it said last goes on.
void carry_over(policy_meter& meter, const PolicyVersion& version) noexcept {
  const Snapshot& snapshot = *version.snapshot;
  meter.generation = snapshot.generation();
  if (meter.rule.empty()) return;
  std::uint32_t index = meter.index;
  if (snapshot.rule_name(index) != meter.rule) {
    const auto rules = static_cast<std::uint32_t>(snapshot.rules());
    for (index = 0; index < rules && snapshot.rule_name(index) != meter.rule; ++index) {
    }
    if (index == rules) return;
  }
  meter.index = index;
  meter.limits = snapshot.rule_limits(index);
  // It is open already, so it is counted, and not refused.
  LimitsTable& table = *meter.thread->host->shared->limits;
  if (meter.limits.connections && !meter.place.valid())
    meter.place = table.enter(meter.key, meter.thread->host->shared->limits_holder, LimitsTable::kAnyNumber, now());
}

policy_code open(policy_thread* thread, const policy_query* query, const policy_verdict* verdict, policy_meter** out,
                 policy_charge* charged) noexcept {
  if (out != nullptr) *out = nullptr;
  clear(charged);
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  if (out == nullptr || query == nullptr || verdict == nullptr || !POLICY_HAS(query, path) ||
      !POLICY_HAS(verdict, generation))
    return POLICY_INVALID;
  const PolicyVersion* version = thread->reader.now();
  if (version == nullptr) return POLICY_UNAVAILABLE;
  WorkerShared& shared = *thread->host->shared;
  LimitsTable& table = *shared.limits;
  try {
    auto meter = std::make_unique<policy_meter>();
    meter->thread = thread;
    meter->client_size = client_octets(*version, *query, meter->client);
    meter->generation = version->snapshot->generation();
    meter->index = verdict->rule;
    if (verdict->generation == meter->generation) {
      meter->rule = version->snapshot->rule_name(verdict->rule);
      meter->limits = version->snapshot->rule_limits(verdict->rule);
    } else {
      // A policy came since: by which rule this one would be allowed, decide() knows.
      Unpacked unpacked;
      if (unpack(shared, *version, *query, unpacked) != POLICY_OK) return POLICY_INVALID;
      const Verdict again = version->snapshot->decide(unpacked.query);
      if (again.effect == Effect::kDeny) return POLICY_DENIED;
      meter->index = again.rule;
      meter->rule = version->snapshot->rule_name(again.rule);
      meter->limits = version->snapshot->rule_limits(again.rule);
    }
    meter->key = table.key(table.rule_hash(meter->rule), {meter->client.data(), meter->client_size});
    if (meter->limits.connections) {
      meter->place = table.enter(meter->key, shared.limits_holder, *meter->limits.connections, now());
      if (!meter->place.valid()) {
        constexpr std::uint64_t kSoon = 1'000'000'000;  // when another ends, nobody knows
        return answer(*thread, meter->rule, meter->index, {Limit::kConnections, kSoon}, charged);
      }
    }
    *out = meter.release();
    return POLICY_OK;
  } catch (...) {
    return POLICY_INTERNAL;
  }
}

// False: nothing is bound.
bool is_bound(policy_meter& meter) noexcept {
  const PolicyVersion* version = meter.thread->reader.now();
  if (version != nullptr && version->snapshot->generation() != meter.generation) carry_over(meter, *version);
  return meter.limits.any();
}

policy_code draw(policy_meter* meter, uint32_t kind, uint64_t amount, policy_charge* out) noexcept {
  clear(out);
  if (meter == nullptr || !is_kind(kind)) return POLICY_INVALID;
  if (!on_own_thread(meter->thread)) return POLICY_WRONG_THREAD;
  if (!is_bound(*meter)) return POLICY_OK;
  const LimitsTable& table = *meter->thread->host->shared->limits;
  return answer(*meter->thread, meter->rule, meter->index,
                table.charge(meter->key, meter->limits, static_cast<Charge>(kind), amount, now()), out);
}

uint64_t room(policy_meter* meter, uint32_t kind) noexcept {
  if (meter == nullptr || !is_kind(kind) || !on_own_thread(meter->thread)) return 1;
  if (!is_bound(*meter)) return UINT64_MAX;
  return meter->thread->host->shared->limits->room(meter->key, meter->limits, static_cast<Charge>(kind), now());
}

void close(policy_meter* meter) noexcept {
  if (meter == nullptr) return;
  if (meter->place.valid()) meter->thread->host->shared->limits->leave(meter->place);
  delete meter;
}

}  // namespace

policy_code charge_limits(policy_thread& thread, const policy_query& query, const policy_verdict& verdict,
                          std::uint32_t kind, std::uint64_t amount, policy_charge* out) noexcept {
  clear(out);
  if (!is_kind(kind)) return POLICY_INVALID;
  const WorkerShared& shared = *thread.host->shared;
  if (!shared.limits) return POLICY_OK;
  const PolicyVersion* version = thread.reader.now();
  if (version == nullptr) return POLICY_UNAVAILABLE;
  std::uint32_t rule = verdict.rule;
  if (verdict.generation != version->snapshot->generation()) {
    Unpacked unpacked;
    if (unpack(shared, *version, query, unpacked) != POLICY_OK) return POLICY_INVALID;
    const Verdict again = version->snapshot->decide(unpacked.query);
    if (again.effect == Effect::kDeny) return POLICY_DENIED;
    rule = again.rule;
  }
  const LimitsModel limits = version->snapshot->rule_limits(rule);
  if (!limits.any()) return POLICY_OK;
  std::array<char, 96> client;
  const std::size_t size = client_octets(*version, query, client);
  const std::string_view name = version->snapshot->rule_name(rule);
  const LimitsTable& table = *shared.limits;
  const LimitsTable::Key key = table.key(table.rule_hash(name), {client.data(), size});
  return answer(thread, name, rule, table.charge(key, limits, static_cast<Charge>(kind), amount, now()), out);
}

const policy_limits_v1& limits_extension() noexcept {
  static constexpr policy_limits_v1 kLimits = {sizeof(policy_limits_v1), charge, open, draw, room, close};
  return kLimits;
}

}  // namespace sallyport
