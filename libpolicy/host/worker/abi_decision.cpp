// policy.decision/1: queries of plugins, brought to the one decision function.
#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <utility>

#include "host/worker/abi_host.hpp"

namespace sallyport {
namespace {

static_assert(int{kKnowName} == int{POLICY_KNOW_NAME} && int{kKnowAddress} == int{POLICY_KNOW_ADDRESS} &&
              int{kKnowPort} == int{POLICY_KNOW_PORT} && int{kKnowMethod} == int{POLICY_KNOW_METHOD} &&
              int{kKnowPath} == int{POLICY_KNOW_PATH} && int{kFlagTunnelAny} == int{POLICY_FLAG_TUNNEL_ANY} &&
              int{kFlagObserved} == int{POLICY_FLAG_OBSERVED} && kTrialAllows == POLICY_TRIAL_ALLOWS);
static_assert(static_cast<int>(Effect::kAllow) == POLICY_ALLOW &&
              static_cast<int>(Effect::kContinue) == POLICY_CONTINUE);
static_assert(static_cast<int>(Layer::kDial) == POLICY_LAYER_DIAL && kNoRuleIndex == POLICY_NO_RULE);

constexpr std::size_t kVerdict0 = offsetof(policy_verdict, generation) + sizeof(policy_verdict::generation);  // minor 0

policy_code open_thread(policy_host* host, policy_thread** out) noexcept {
  if (host == nullptr || out == nullptr) return POLICY_INVALID;
  try {
    *out = new policy_thread{host, PolicyVersions::Reader(host->shared->versions), std::this_thread::get_id(),
                             DecisionCache(seal_key())};
  } catch (...) {
    return POLICY_EXHAUSTED;
  }
  return POLICY_OK;
}

void close_thread(policy_thread* thread) noexcept { delete thread; }

policy_code decide_by(policy_thread& thread, const PolicyVersion& version, const policy_query& in,
                      policy_verdict& out) noexcept {
  Unpacked unpacked;
  if (const policy_code code = unpack(*thread.host->shared, version, in, unpacked); code != POLICY_OK) return code;
  const Snapshot& snapshot = *version.snapshot;
  const Verdict verdict = snapshot.rules() >= DecisionCache::kFromRules ? thread.cache.decide(snapshot, unpacked.query)
                                                                        : snapshot.decide(unpacked.query);
  thread.last.client_id = in.client_id;
  thread.last.groups = unpacked.query.groups;
  thread.last.generation = verdict.generation;
  verdict_out(verdict, out);
  return POLICY_OK;
}

policy_code refuse(policy_verdict* out) noexcept {
  if (out == nullptr || !POLICY_HAS(out, generation)) return POLICY_INVALID;
  verdict_out(Verdict{}, *out);
  return POLICY_OK;
}

policy_code decide(policy_thread* thread, const policy_query* in, policy_verdict* out) noexcept {
  if (in == nullptr || refuse(out) != POLICY_OK) return POLICY_INVALID;
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  const PolicyVersion* version = thread->reader.now();
  if (version == nullptr) return POLICY_UNAVAILABLE;
  return decide_by(*thread, *version, *in, *out);
}

// All by one generation.
policy_code decide_n(policy_thread* thread, const policy_query* in, size_t in_stride, policy_verdict* out,
                     size_t out_stride, size_t n) noexcept {
  if (in_stride < sizeof(policy_query) || out_stride < kVerdict0) return POLICY_INVALID;
  if (n > 0 && (in == nullptr || out == nullptr)) return POLICY_INVALID;
  const bool own = on_own_thread(thread);
  const PolicyVersion* version = own ? thread->reader.now() : nullptr;
  policy_code worst = POLICY_OK;
  for (size_t i = 0; i < n; ++i) {
    const auto* query = reinterpret_cast<const policy_query*>(reinterpret_cast<const char*>(in) + i * in_stride);
    auto* verdict = reinterpret_cast<policy_verdict*>(reinterpret_cast<char*>(out) + i * out_stride);
    policy_code code = refuse(verdict);
    if (code == POLICY_OK && !own) code = POLICY_WRONG_THREAD;
    if (code == POLICY_OK && version == nullptr) code = POLICY_UNAVAILABLE;
    if (code == POLICY_OK) code = decide_by(*thread, *version, *query, *verdict);
    if (code != POLICY_OK) worst = code;
  }
  return worst;
}

// Of a verdict by an earlier policy the rule's name is gone with it: none is better than another rule's.
size_t rule_name(policy_thread* thread, const policy_verdict* verdict, char* out, size_t cap) noexcept {
  if (!on_own_thread(thread) || verdict == nullptr || !POLICY_HAS(verdict, generation)) return 0;
  const PolicyVersion* version = thread->reader.held() != nullptr ? thread->reader.held() : thread->reader.now();
  std::string_view name;
  if (version != nullptr && version->snapshot->generation() == verdict->generation)
    name = version->snapshot->rule_name(verdict->rule);
  if (cap > 0 && out != nullptr) {
    const std::size_t copied = std::min(cap - 1, name.size());
    name.copy(out, copied);
    out[copied] = '\0';
  }
  return name.size();
}

// What is known of a client by its id: a cell's, an IPv4 address, or whoever this thread asked about last.
std::uint64_t groups_of_id(const policy_thread& thread, const PolicyVersion& version, std::uint64_t id) noexcept {
  if (thread.last.client_id == id && thread.last.generation == version.snapshot->generation())
    return thread.last.groups;
  if (const CellClient* cell = version.cell(id)) return cell->groups;
  constexpr std::uint64_t kV4 = std::uint64_t{1} << 63;
  if (!thread.host->shared->gate || id >> 32 != kV4 >> 32) return 0;
  return version.snapshot->groups_of_address(Address::v4(static_cast<std::uint32_t>(id)));
}

size_t host_addresses(policy_thread* thread, uint64_t client_id, const policy_name* in, policy_addr* out,
                      size_t cap) noexcept {
  constexpr std::size_t kMost = 32;  // more addresses than that for one service are a mistake
  if (!on_own_thread(thread)) return 0;
  const DomainName* name = name_in(in);
  const PolicyVersion* version = thread->reader.now();
  if (name == nullptr || version == nullptr) return 0;
  const std::uint64_t groups = groups_of_id(*thread, *version, client_id);
  std::array<Address, kMost> found;
  const std::size_t count = std::min(kMost, version->snapshot->host_addresses(*name, groups, found));
  for (std::size_t i = 0; i < std::min(count, cap); ++i) address_out(found[i], 0, out[i]);
  return count;
}

size_t allowed_ports(policy_thread* thread, const policy_query* in, uint16_t (*ranges)[2], size_t cap) noexcept {
  constexpr std::size_t kMost = 128;
  if (!on_own_thread(thread) || in == nullptr) return 0;
  const PolicyVersion* version = thread->reader.now();
  Unpacked unpacked;
  if (version == nullptr || unpack(*thread->host->shared, *version, *in, unpacked) != POLICY_OK) return 0;
  std::array<Snapshot::Ports, kMost> found;
  const std::size_t room = std::min(cap, kMost);
  const std::size_t count = version->snapshot->allowed_ports(unpacked.query, std::span(found).first(room));
  for (std::size_t i = 0; i < std::min(count, room); ++i) {
    ranges[i][0] = found[i].first;
    ranges[i][1] = found[i].last;
  }
  return count;
}

uint32_t listed_labels(policy_thread* thread, const policy_name* in, const policy_verdict* verdict) noexcept {
  if (!on_own_thread(thread) || verdict == nullptr || !POLICY_HAS(verdict, generation)) return 0;
  const DomainName* name = name_in(in);
  const PolicyVersion* version = thread->reader.held() != nullptr ? thread->reader.held() : thread->reader.now();
  if (name == nullptr || version == nullptr || version->snapshot->generation() != verdict->generation) return 0;
  return version->snapshot->listed_labels(*name, verdict->rule);
}

policy_code literals(policy_thread* thread, const policy_addr* network, uint32_t bits, uint16_t proto,
                     policy_literal* out, size_t stride, size_t* n) noexcept {
  if (!on_own_thread(thread)) return POLICY_WRONG_THREAD;
  const std::optional<Address> address = address_in(network);
  if (!address || bits > (address->is_v4() ? 32u : 128u) || n == nullptr ||
      (*n > 0 && (out == nullptr || stride < sizeof(policy_literal))))
    return POLICY_INVALID;
  const std::size_t room = std::exchange(*n, 0);
  const PolicyVersion* version = thread->reader.now();
  if (version == nullptr) return POLICY_UNAVAILABLE;
  try {
    const auto found = version->snapshot->literals(Prefix::of(*address, bits), proto, room);
    if (!found) return POLICY_EXHAUSTED;
    for (const Snapshot::Literal& one : *found) {
      auto& literal = *reinterpret_cast<policy_literal*>(reinterpret_cast<char*>(out) + *n * stride);
      literal = {};
      literal.struct_size = sizeof literal;
      literal.first_port = one.ports.first;
      literal.last_port = one.ports.last;
      address_out(one.client_first, 0, literal.client_first);
      address_out(one.client_last, 0, literal.client_last);
      address_out(one.first, 0, literal.first);
      address_out(one.last, 0, literal.last);
      ++*n;
    }
  } catch (...) {
    *n = 0;
    return POLICY_EXHAUSTED;
  }
  return POLICY_OK;
}

}  // namespace

namespace {

// One form of method and path, or none: then they count as never to be known.
void request_in(const policy_query& in, Unpacked& out) noexcept {
  if ((in.known & POLICY_KNOW_METHOD) != 0) {
    const std::string_view method = view(in.method);
    if (is_canonical_method(method)) out.query.method = method;
  }
  if ((in.known & POLICY_KNOW_PATH) != 0) {
    const Result<std::string_view> path = canonical_path(view(in.path), out.path);
    if (path.ok()) out.query.path = *path;
  }
}

}  // namespace

policy_code unpack(const WorkerShared& shared, const PolicyVersion& version, const policy_query& in,
                   Unpacked& out) noexcept {
  if (!POLICY_HAS(&in, path)) return POLICY_INVALID;
  if (in.layer < POLICY_LAYER_DNS || in.layer > POLICY_LAYER_DIAL) return POLICY_INVALID;
  Query& query = out.query;
  // A user counts only where credentials are verified at all.
  const std::string_view user = version.credentials ? view(in.credential) : std::string_view();
  if (const CellClient* cell = version.cell(in.client_id)) {
    query.groups = cell->groups | version.snapshot->groups_of_user(user);
  } else {
    // By the address itself: ids of IPv6 clients are hashes, and two may share one.
    const std::optional<Address> client = shared.gate ? address_in(in.client) : std::nullopt;
    if (!client || in.client_id >> 62 != (client->is_v4() ? 2u : 3u)) return POLICY_INVALID;
    query.groups = version.snapshot->groups_of_address(*client, user);
  }
  // Only where a later layer will know: nothing is deferred at the last one, and dns needs somebody behind it.
  const bool last = in.layer == POLICY_LAYER_DIAL || (in.layer == POLICY_LAYER_DNS && !shared.flow_layer);
  query.layer = static_cast<Layer>(in.layer);
  query.qtype = in.qtype;
  query.proto = in.proto;
  query.port = in.port;
  query.known = in.known;
  constexpr std::uint32_t kRequest = kKnowMethod | kKnowPath;
  query.deferred = in.deferred & ~in.known & (!last ? ~std::uint32_t{0} : in.layer == POLICY_LAYER_DIAL ? kRequest : 0);
  if (version.snapshot->trials_until() != 0) query.now = trial_clock();
  if (version.snapshot->asks_for_requests()) request_in(in, out);
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

void verdict_out(const Verdict& verdict, policy_verdict& out) noexcept {
  out.verdict = static_cast<std::uint16_t>(verdict.effect);
  out.reason = static_cast<std::uint16_t>(verdict.reason);
  out.rule = verdict.rule;
  out.flags = verdict.flags;
  out.generation = verdict.generation;
  if (POLICY_HAS(&out, trials)) std::copy(verdict.trials.begin(), verdict.trials.end(), out.trials);
}

std::int64_t trial_clock() noexcept {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return now.tv_sec;
}

policy_verdict verdict_in(const policy_verdict& in) noexcept {
  policy_verdict out{};
  std::memcpy(&out, &in, std::min<std::size_t>(in.struct_size, sizeof out));
  return out;
}

const policy_literals_draft1& literals_extension() noexcept {
  static constexpr policy_literals_draft1 kLiterals = {sizeof(policy_literals_draft1), literals};
  return kLiterals;
}

const policy_decision_v1& decision_extension() noexcept {
  static constexpr policy_decision_v1 kDecision = {sizeof(policy_decision_v1),
                                                   open_thread,
                                                   close_thread,
                                                   decide,
                                                   decide_n,
                                                   rule_name,
                                                   host_addresses,
                                                   allowed_ports,
                                                   listed_labels};
  return kDecision;
}

}  // namespace sallyport
