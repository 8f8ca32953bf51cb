// Flow's way in: where the connection was going, what name that stands for, and whether the policy has anything for it.
#include <algorithm>
#include <utility>

#include "sni-filter/flow.hpp"
#include "support/admission.hpp"

namespace sallyport::sni {

namespace {

constexpr std::uint16_t kHttp = 80, kHttps = 443;
constexpr std::size_t kMaxBound = 64;  // names of one address that are looked at; a client's share of a large front end

bool passes(const policy_verdict& verdict) {
  return verdict.verdict == POLICY_ALLOW || verdict.verdict == POLICY_CONTINUE;
}

bool same_address(const policy_addr& a, const policy_addr& b) {
  return a.family == b.family && std::memcmp(a.ip, b.ip, sizeof a.ip) == 0;
}

}  // namespace

bool Flow::admit() {
  switch (arrival_.destination) {
    case Destination::kOriginal:
      return admit_original();
    case Destination::kName:
      return admit_by_name();
    default:
      return admit_synthetic();
  }
}

std::optional<net::tcp::endpoint> Flow::destination() {
  const int fd = client_.native_handle();
  std::optional<net::tcp::endpoint> out =
      arrival_.transparent ? net::local_endpoint(fd) : services_.original_destination(fd);
  if (!out) return out;
  out = net::tcp::endpoint(net::unmapped(out->address()), out->port());
  if (const auto address = net::canonical(*services_.edge, out->address(), out->port())) {
    literal_ = address;
    port_ = out->port();
    has_port_ = true;
    return out;
  }
  return std::nullopt;
}

bool Flow::admit_synthetic() {
  const std::optional<net::tcp::endpoint> to = destination();
  // It came straight to the listener, or the workload's own servers are meant, which are not reached through here.
  if (!to || to->address().is_loopback() || !services_.synthetic) {
    reset(POLICY_REASON_DST_NOT_BOUND);
    return false;
  }
  const policy_code code = services_.synthetic->find(services_.reader->raw(), arrival_.client_id, &*literal_, &name_);
  if (code == POLICY_OK) {
    has_name_ = true;
    literal_.reset();
  } else if (code != POLICY_INVALID) {
    reset(POLICY_REASON_DST_NOT_BOUND);
    return false;
  }
  if (!has_name_) return decide_literal();
  verdict_ = services_.reader->decide(query(POLICY_LAYER_TCP));
  if (passes(verdict_)) return true;
  refuse(verdict_);
  relay_.fail();
  return false;
}

// Nothing is left to learn about it.
bool Flow::decide_literal() {
  verdict_ = services_.reader->decide(query(POLICY_LAYER_TCP));
  if (verdict_.verdict == POLICY_ALLOW) return true;
  refuse(verdict_);
  relay_.fail();
  return false;
}

// The address is the gateway's own, or has no say.
bool Flow::admit_by_name() {
  const int fd = client_.native_handle();
  if (!destination()) {
    const auto local = net::local_endpoint(fd);
    if (!local) {
      relay_.fail();
      return false;
    }
    port_ = local->port();
    has_port_ = true;
  }
  literal_.reset();
  named_by_client_ = true;
  return true;
}

bool Flow::find_bound() {
  std::vector<policy_binding> found(kMaxBound);
  for (policy_binding& binding : found) binding.struct_size = sizeof binding;
  std::size_t count = found.size();
  if (!services_.ledger || services_.ledger->find(services_.reader->raw(), arrival_.client_id, &*literal_, found.data(),
                                                  sizeof found[0], &count) != POLICY_OK) {
    return false;
  }
  found.resize(count);
  for (const policy_binding& binding : found) {
    // An id of an IPv6 address is a hash: the address itself decides.
    if (binding.client.family != 0 && (!arrival_.client || !same_address(binding.client, *arrival_.client))) continue;
    if (!is_bound(binding.name)) bound_.push_back(binding.name);
  }
  return !bound_.empty();
}

bool Flow::is_bound(const policy_name& name) const {
  return std::any_of(bound_.begin(), bound_.end(),
                     [&](const policy_name& one) { return policy::view(one) == policy::view(name); });
}

bool Flow::admit_original() {
  const std::optional<net::tcp::endpoint> to = destination();
  const auto local = net::local_endpoint(client_.native_handle());
  // Straight to the listener that the kernel alone sends to: connection tracking has an entry for that too.
  const bool straight =
      !arrival_.transparent && to && local && net::tcp::endpoint(net::unmapped(local->address()), local->port()) == *to;
  if (!to || straight || to->address().is_loopback()) {
    reset(POLICY_REASON_DST_NOT_BOUND);
    return false;
  }
  verdict_ = services_.reader->decide(query(POLICY_LAYER_TCP));
  // A rule for addresses needs no name. What a trial alone lets pass had better have one: the audit learns from it.
  const bool observed = (verdict_.flags & POLICY_FLAG_OBSERVED) != 0;
  if (verdict_.verdict == POLICY_ALLOW && !observed) return true;
  if (find_bound()) return admit_bound();
  if (observed && (config_.strict || (port_ != kHttp && port_ != kHttps))) return true;
  if (config_.strict) {
    reset(POLICY_REASON_DST_NOT_BOUND);
    return false;
  }
  if (port_ != kHttp && port_ != kHttps) {  // a server may speak first, but nobody knows which
    refuse(verdict_);
    relay_.fail();
    return false;
  }
  verdict_ = {};
  sought_ = std::exchange(literal_, std::nullopt);
  named_by_client_ = true;
  return true;
}

bool Flow::admit_bound() {
  sought_ = literal_;
  const bool client_speaks = port_ == kHttp || port_ == kHttps;
  dials_bound_ = config_.strict || (bound_.size() > 1 && !client_speaks);
  std::optional<policy_verdict> common;
  literal_.reset();
  has_name_ = true;
  for (const policy_name& name : bound_) {
    name_ = name;
    const policy_verdict one = services_.reader->decide(query(POLICY_LAYER_TCP));
    if (!passes(one) && !client_speaks) {  // which of them is meant cannot be told
      refuse(one);
      relay_.fail();
      return false;
    }
    if (!common) common = one;
    common->flags &= passes(one) ? one.flags : 0;
  }
  verdict_ = *common;
  const bool uninspected = passes(verdict_) && (verdict_.flags & POLICY_FLAG_TUNNEL_ANY) != 0;
  if (client_speaks && !(uninspected && (bound_.size() == 1 || config_.strict))) {
    has_name_ = false;  // the client says which
    name_ = {};
    verdict_ = {};
    named_by_client_ = true;
    return true;
  }
  name_ = bound_.front();
  return true;
}

std::uint16_t Flow::adopt(const policy_name& claimed) {
  name_ = claimed;
  has_name_ = true;
  if (opened_) return POLICY_REASON_OK;  // one of several names whose address this is, each decided before
  verdict_ = services_.reader->decide(query(POLICY_LAYER_TLS));
  if (!passes(verdict_)) return verdict_.reason;
  if (!config_.strict || arrival_.destination != Destination::kOriginal) return POLICY_REASON_OK;
  if (is_bound(claimed)) return POLICY_REASON_OK;
  literal_ = sought_;  // what the record names
  return POLICY_REASON_DST_NOT_BOUND;
}

std::uint16_t Flow::check_http(const wire::HttpRequestHead& head) {
  const bool may_say = named_by_client_ ? !has_name_ : bound_.size() > 1 && http_->requests() == 0;
  if (may_say && head.has_host && head.host.kind == wire::HostKind::kName) {
    policy_name claimed{};
    policy_error error{};
    error.struct_size = sizeof error;
    const bool read =
        services_.edge->name(policy::str(head.host.host), POLICY_FORM_HOST, &claimed, &error) == POLICY_OK;
    if (read && (named_by_client_ || is_bound(claimed))) {
      describe(head);
      const std::uint16_t reason = adopt(claimed);
      if (reason != POLICY_REASON_OK) return reason;
    }
  }
  if (!has_name_) {
    return head.has_host && head.host.kind != wire::HostKind::kName ? POLICY_REASON_IP_LITERAL_DENIED
                                                                    : POLICY_REASON_HOST_MISMATCH;
  }
  const std::uint16_t reason = net::check_request(*services_.edge, head, name_, port_);
  if (reason != POLICY_REASON_OK) return reason;
  describe(head);
  const policy_verdict verdict = services_.reader->decide(query(opened_ ? POLICY_LAYER_DIAL : POLICY_LAYER_HTTP));
  if (opened_ ? verdict.verdict != POLICY_ALLOW : !passes(verdict)) {
    request_refusal_ = verdict;
    return verdict.reason == POLICY_REASON_OK ? std::uint16_t{POLICY_REASON_NO_RULE} : verdict.reason;
  }
  // What a trial lets pass, or would stop, is told of each request; of the first by the flow's own record.
  const bool trial = (verdict.flags & POLICY_FLAG_OBSERVED) != 0 || verdict.trials[0] != 0;
  if (opened_ && trial && !services_.reader->audit(query(POLICY_LAYER_HTTP), verdict, detail()))
    return POLICY_REASON_AUDIT_DROPPED;
  if (http_->requests() == 0) return POLICY_REASON_OK;  // the connection is charged as the first
  const policy::Charged charged = meter_.charge(POLICY_CHARGE_REQUEST, 1);
  if (charged) return POLICY_REASON_OK;
  http_->retry_after(net::retry_after(charged.wait_ns));
  return POLICY_REASON_LIMIT_EXCEEDED;
}

void Flow::describe(const wire::HttpRequestHead& head) {
  policy_query request{};
  net::describe_request(head, request);
  method_ = policy::view(request.method);
  path_ = policy::view(request.path);
  request_known_ = request.known;
  requests_seen_ = true;
}

}  // namespace sallyport::sni
