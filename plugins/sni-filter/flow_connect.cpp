// Flow's way out: which addresses a name has, which of them the policy permits, and the connection to one of those.
#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include "sni-filter/flow.hpp"
#include "support/admission.hpp"
#include "support/json.hpp"

namespace sallyport::sni {

using namespace boost::asio::experimental::awaitable_operators;
using net::awaitable;

namespace {

constexpr std::size_t kMaxFixed = 16;                      // host addresses of one name
constexpr std::chrono::milliseconds kResolutionDelay{50};  // RFC 8305 §3, recommended

}  // namespace

awaitable<void> Flow::fetch(Family family) {
  const Result<DomainName> name = DomainName::parse(policy::view(name_));
  net::ResolveResult result;
  if (name.ok()) {
    const auto deadline = net::Clock::now() + config_.connect_timeout;
    result = co_await services_.resolve(*name, family == kV6 ? wire::kTypeAaaa : wire::kTypeA, deadline);
  }
  answers_[family] = std::move(result);
  answer_came_.cancel();
}

awaitable<void> Flow::until_enough() {
  const auto has_addresses = [](const auto& answer) { return answer && !answer->addresses.empty(); };
  while (std::none_of(answers_.begin(), answers_.end(), has_addresses)) {
    answer_came_.expires_at(net::Clock::time_point::max());
    (void)co_await answer_came_.async_wait(net::kAsResult);
  }
  answer_came_.expires_after(kResolutionDelay);
  (void)co_await answer_came_.async_wait(net::kAsResult);
}

awaitable<void> Flow::resolve() {
  if (!services_.has_ipv6()) answers_[kV6] = net::ResolveResult{};
  if (answers_[kV6]) {
    co_await fetch(kV4);
  } else {
    (void)co_await ((fetch(kV6) && fetch(kV4)) || until_enough());
  }
}

void Flow::weigh(const policy_addr& address) {
  policy_query asked = query(POLICY_LAYER_DIAL);
  asked.dest = &address;
  asked.known |= POLICY_KNOW_ADDRESS;
  asked.deferred &= net::kKnowRequest;
  const policy_verdict verdict = services_.reader->decide(asked);
  // Dialled before the client has spoken: its requests are decided one by one, or once it is known that there are none.
  const bool later = asked.deferred != 0 && verdict.verdict == POLICY_CONTINUE;
  if (verdict.verdict == POLICY_ALLOW || later) {
    candidates_.push_back({{net::to_asio(address), port_}, verdict});
  } else if (!refusal_) {
    refusal_ = verdict;
    refused_ = address;
  }
}

void Flow::weigh(Family family) {
  if (!answers_[family]) return;
  for (const Address& address : answers_[family]->addresses) {
    const auto canonical = net::canonical(*services_.edge, net::to_asio(address), port_);
    if (canonical) weigh(*canonical);
  }
}

std::vector<net::tcp::endpoint> Flow::endpoints(bool v6) const {
  std::vector<net::tcp::endpoint> out;
  for (const Candidate& candidate : candidates_) {
    if (candidate.endpoint.address().is_v6() == v6) out.push_back(candidate.endpoint);
  }
  return out;
}

// The address that was told, for one name or for several whose server speaks first: each of them has to permit it.
void Flow::weigh_bound() {
  const policy_name said = name_;
  std::optional<policy_verdict> common;
  for (const policy_name& name : bound_) {
    if (inspected_ && policy::view(name) != policy::view(said)) continue;
    name_ = name;
    candidates_.clear();
    weigh(*sought_);
    if (candidates_.empty()) break;  // name_ is what the record says
    const policy_verdict& one = candidates_.front().verdict;
    if (!common) common = one;
    common->flags &= one.flags;
  }
  if (candidates_.empty()) return;
  name_ = said;
  candidates_.front().verdict = *common;
}

bool Flow::is_held_back(const net::TunnelBudgets::Finding& finding, unsigned parent) {
  if (!finding) return false;
  const std::string cause = services_.budgets->words(finding, name_, parent);
  if (finding.first) services_.alarm(cause);
  policy_verdict verdict = verdict_;  // keeps rule and generation: it is the rule's wildcard that is abused
  verdict.reason = POLICY_REASON_TUNNEL_SUSPECT;
  refuse(verdict, "\"cause\":" + net::json_text(cause));
  relay_.fail();
  return true;
}

awaitable<bool> Flow::choose() {
  candidates_.clear();
  refusal_.reset();
  if (dials_bound_) {
    answers_.fill(net::ResolveResult{});
    weigh_bound();
  } else if (!has_name_) {
    weigh(*literal_);
  } else {
    std::array<policy_addr, kMaxFixed> fixed;
    const std::size_t count = services_.decision->host_addresses(services_.reader->raw(), arrival_.client_id, &name_,
                                                                 fixed.data(), fixed.size());
    if (count > 0 || name_.labels < 2) answers_.fill(net::ResolveResult{});  // no upstream is asked for a single label
    for (std::size_t i = 0; i < std::min(count, fixed.size()); ++i) {
      const auto canonical = net::canonical(*services_.edge, net::to_asio(fixed[i]), port_);  // with the port
      if (canonical) weigh(*canonical);
    }
    if (!answered()) {
      net::TunnelBudgets* const budgets = services_.budgets;
      const unsigned parent = budgets == nullptr
                                  ? 0
                                  : net::TunnelBudgets::parent_labels(
                                        name_, net::TunnelBudgets::listed_labels(
                                                   *services_.decision, services_.reader->raw(), name_, verdict_));
      if (budgets && is_held_back(budgets->ask(arrival_.client_id, name_, parent, net::Clock::now()), parent))
        co_return false;
      co_await resolve();
      const bool absent = std::any_of(answers_.begin(), answers_.end(), [](const auto& answer) {
        return answer && answer->outcome == net::ResolveOutcome::kNxDomain;
      });
      if (budgets && absent &&
          is_held_back(budgets->absent(arrival_.client_id, name_, parent, net::Clock::now()), parent))
        co_return false;
    }
    weigh(kV6);
    weigh(kV4);
    for (const Family family : {kV6, kV4}) {  // the one that came first has nothing to dial
      if (!candidates_.empty() || answers_[family] || relay_.failed()) continue;
      co_await fetch(family);
      weigh(family);
    }
  }
  if (relay_.failed()) co_return false;
  if (candidates_.empty() && !refusal_) {
    fail_upstream("no address");
    co_return false;
  }
  if (candidates_.empty()) {
    literal_ = refused_;  // what the record names
    refuse(*refusal_);
    relay_.fail();
    co_return false;
  }
  // What is not looked into may only go where the rule that says so leads.
  const auto looked_into = [](const Candidate& one) { return (one.verdict.flags & POLICY_FLAG_TUNNEL_ANY) == 0; };
  tunnel_any_ = !has_name_ || (!inspected_ && !std::all_of(candidates_.begin(), candidates_.end(), looked_into));
  if (has_name_ && tunnel_any_) std::erase_if(candidates_, looked_into);
  verdict_ = candidates_.front().verdict;
  co_return true;
}

// The family that was not waited for. Never ends by itself: the dial beside it does.
awaitable<void> Flow::feed(std::shared_ptr<net::LateCandidates> late) {
  for (const Family family : {kV6, kV4}) {
    if (!has_name_ || answers_[family]) continue;
    co_await fetch(family);
    candidates_.clear();
    weigh(family);
    if (tunnel_any_)
      std::erase_if(candidates_, [](const Candidate& one) { return !(one.verdict.flags & POLICY_FLAG_TUNNEL_ANY); });
    late->add(endpoints(family == kV6));
  }
  late->close();
  for (;;) {
    answer_came_.expires_at(net::Clock::time_point::max());
    (void)co_await answer_came_.async_wait(net::kAsResult);
  }
}

awaitable<bool> Flow::connect() {
  if (has_name_) literal_.reset();
  auto late = std::make_shared<net::LateCandidates>();
  auto first = co_await (net::dial(net::interleave(endpoints(true), endpoints(false)),
                                   net::Clock::now() + config_.connect_timeout, late) ||
                         feed(late));
  if (relay_.failed() || first.index() != 0) co_return false;
  net::Dialled dialled = std::move(std::get<0>(first));
  if (!dialled.socket) {
    fail_upstream(dialled.error == net::asio::error::timed_out ? "timeout" : dialled.error.message());
    co_return false;
  }
  server_ = std::move(*dialled.socket);
  peer_ = net::canonical(*services_.edge, dialled.peer.address(), dialled.peer.port());
  if (has_name_ && peer_ && !dials_bound_) {  // the record says what permitted this very address
    candidates_.clear();
    weigh(*peer_);
    if (!candidates_.empty()) verdict_ = candidates_.front().verdict;
    const bool within = co_await within_limits();  // of the rule for that address, if it is another
    if (!within) co_return false;
  }
  if (!open_ticket()) {
    reset(POLICY_REASON_REVOKED);
    co_return false;
  }
  policy_verdict told = verdict_;
  if (hidden_ && told.reason == POLICY_REASON_OK) told.reason = POLICY_REASON_ECH_PRESENT;
  if (!services_.reader->audit(query(POLICY_LAYER_TCP), told, detail())) {
    relay_.fail();
    ticket_.close(POLICY_REASON_AUDIT_DROPPED);
    co_return false;
  }
  ++counters_.opened;
  opened_ = true;
  co_return true;
}

}  // namespace sallyport::sni
