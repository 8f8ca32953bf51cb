#include "http-proxy/route.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include "support/admission.hpp"
#include "support/dialler.hpp"
#include "support/sockets.hpp"

namespace sallyport::http_proxy {
namespace {

using net::awaitable;
using net::ResolveOutcome;

constexpr std::size_t kMaxFixed = 16;                      // host addresses of one name
constexpr std::chrono::milliseconds kResolutionDelay{50};  // RFC 8305 §3, recommended

struct Candidate {
  net::tcp::endpoint endpoint;
  policy_addr address;
  policy_verdict verdict;
};

// Both families' lookups, shared with the tasks that make them: those outlive a request that has ended.
struct Lookups {
  enum Family : std::size_t { kV6 = 0, kV4 = 1 };
  explicit Lookups(const net::asio::any_io_executor& executor) : came(executor) {}

  std::array<std::optional<net::ResolveResult>, 2> answers;
  std::array<bool, 2> weighed{};
  net::asio::steady_timer came;

  bool all() const { return answers[kV6] && answers[kV4]; }
  bool any_address() const {
    return std::any_of(answers.begin(), answers.end(), [](const auto& a) { return a && !a->addresses.empty(); });
  }
};

awaitable<void> fetch(const Services* services, std::shared_ptr<Lookups> lookups, DomainName name,
                      Lookups::Family family, net::Clock::time_point deadline) {
  net::ResolveResult result =
      co_await services->resolve(name, family == Lookups::kV6 ? wire::kTypeAaaa : wire::kTypeA, deadline);
  lookups->answers[family] = std::move(result);
  lookups->came.cancel();
}

// Until both are there, or one has addresses and the other had a moment more.
awaitable<void> wait_for(std::shared_ptr<Lookups> lookups, net::Clock::time_point deadline, bool both) {
  while (!lookups->all() && (both || !lookups->any_address()) && net::Clock::now() < deadline) {
    lookups->came.expires_at(deadline);
    (void)co_await lookups->came.async_wait(net::kAsResult);
  }
  if (lookups->all()) co_return;
  lookups->came.expires_after(kResolutionDelay);
  (void)co_await lookups->came.async_wait(net::kAsResult);
}

class Finder {
 public:
  Finder(const Services& services, const Config& config, const policy_query& query, const Target& target)
      : services_(services), config_(config), query_(query), target_(target) {}

  void consider(const policy_addr& address) {
    const policy_verdict verdict = weigh(services_, query_, address);
    // What is left to the requests inside the tunnel is decided with each of them, or once it carries none.
    const bool later = (query_.deferred & net::kKnowRequest) != 0 && verdict.verdict == POLICY_CONTINUE;
    if (verdict.verdict == POLICY_ALLOW || later) {
      candidates_.push_back({{net::to_asio(address), target_.port}, address, verdict});
    } else if (!refusal_) {
      refusal_ = verdict;
      refused_ = address;
    }
  }
  void consider(Lookups& lookups) {
    for (const Lookups::Family family : {Lookups::kV6, Lookups::kV4}) {
      if (!lookups.answers[family] || std::exchange(lookups.weighed[family], true)) continue;
      for (const Address& address : lookups.answers[family]->addresses) {
        const auto canonical = net::canonical(*services_.edge, net::to_asio(address), target_.port);
        if (canonical) consider(*canonical);
      }
    }
  }
  bool consider_fixed() {
    std::array<policy_addr, kMaxFixed> fixed;
    const std::size_t count = services_.decision->host_addresses(services_.reader->raw(), query_.client_id,
                                                                 &target_.name, fixed.data(), fixed.size());
    for (std::size_t i = 0; i < std::min(count, fixed.size()); ++i) {
      const auto canonical = net::canonical(*services_.edge, net::to_asio(fixed[i]), target_.port);
      if (canonical) consider(*canonical);
    }
    return count > 0;
  }

  // What is not looked into may only go where the rule that says so leads.
  void settle_inspection() {
    if (settled_ || candidates_.empty()) return;
    settled_ = true;
    const auto looked_into = [](const Candidate& one) { return (one.verdict.flags & POLICY_FLAG_TUNNEL_ANY) == 0; };
    tunnel_any_ = !target_.is_name || !std::all_of(candidates_.begin(), candidates_.end(), looked_into);
  }
  void keep_to_it() {
    settle_inspection();
    if (!target_.is_name || !tunnel_any_) return;
    std::erase_if(candidates_, [](const Candidate& one) { return !(one.verdict.flags & POLICY_FLAG_TUNNEL_ANY); });
  }

  awaitable<bool> dial(Route* out) {
    keep_to_it();
    if (candidates_.empty()) co_return false;
    std::vector<net::tcp::endpoint> v6, v4;
    for (const Candidate& one : candidates_) (one.endpoint.address().is_v6() ? v6 : v4).push_back(one.endpoint);
    net::Dialled dialled;
    const auto deadline = net::Clock::now() + config_.connect_timeout;
    if (candidates_.size() == 1) {
      dialled = co_await net::dial_one(candidates_.front().endpoint, deadline);
    } else {
      dialled = co_await net::dial(net::interleave(std::move(v6), std::move(v4)), deadline);
    }
    dial_error_ = dialled.error;
    if (dialled.socket) {
      for (const Candidate& one : candidates_) {
        if (one.endpoint != dialled.peer) continue;
        out->socket = std::move(dialled.socket);
        out->peer = one.address;
        out->has_peer = true;
        out->verdict = one.verdict;
        out->tunnel_any = tunnel_any_;
        break;
      }
    }
    candidates_.clear();
    co_return out->socket.has_value();
  }

  // Why there is no socket.
  void explain(const Lookups* lookups, Route* out) const {
    if (dial_error_) {
      const bool timeout = dial_error_ == net::asio::error::timed_out;
      const bool starved = dial_error_ == net::asio::error::no_descriptors ||
                           dial_error_ == net::asio::error::no_buffer_space ||
                           dial_error_ == net::asio::error::no_memory || dial_error_.value() == ENFILE;
      out->status = timeout ? 504 : starved ? 503 : 502;
      out->error = timeout                                               ? "connection_timeout"
                   : starved                                             ? "connection_limit_reached"
                   : dial_error_ == net::asio::error::connection_refused ? "connection_refused"
                                                                         : "destination_unavailable";
      out->cause = "connect: " + (timeout ? std::string("timeout") : dial_error_.message());
      return;
    }
    if (refusal_) {
      out->status = 403;
      out->verdict = *refusal_;
      out->peer = refused_;
      out->has_peer = true;
      return;
    }
    // The most telling of both families' outcomes.
    bool timeout = false, missing = false, failed = false, starved = false;
    for (const auto& answer : lookups ? lookups->answers : decltype(lookups->answers){}) {
      if (!answer) continue;
      timeout |= answer->outcome == ResolveOutcome::kTimeout || answer->outcome == ResolveOutcome::kUnreachable;
      failed |= answer->outcome == ResolveOutcome::kFailed;
      starved |= answer->outcome == ResolveOutcome::kNoSocket;
      missing |= answer->outcome == ResolveOutcome::kNxDomain || answer->outcome == ResolveOutcome::kNoData;
    }
    if (starved) {  // of ours, so it says nothing about the name
      out->status = 503;
      out->error = "connection_limit_reached";
      out->cause = "dns: no socket is left";
      return;
    }
    out->status = 502;
    out->error = timeout && !missing && !failed ? "dns_timeout" : "dns_error";
    out->cause = timeout && !missing && !failed ? "dns: no answer" : failed ? "dns: failure" : "dns: no address";
  }

 private:
  const Services& services_;
  const Config& config_;
  const policy_query& query_;
  const Target& target_;
  std::vector<Candidate> candidates_;
  std::optional<policy_verdict> refusal_;  // of the first address that may not be dialled
  policy_addr refused_{};
  bool tunnel_any_ = false, settled_ = false;
  net::error_code dial_error_;
};

// A name below a wildcard is text of the client's choice, and a lookup carries it outside: dns, asked for it, would
// count it. Something: the refusal.
class Budgeted {
 public:
  Budgeted(const Services& services, policy_query query, const policy_name& name)
      : services_(services), query_(query), name_(name) {
    if (services_.budgets == nullptr) return;
    query_.deferred |= POLICY_KNOW_ADDRESS;
    verdict_ = services_.reader->decide(query_);
    parent_ = net::TunnelBudgets::parent_labels(
        name_, net::TunnelBudgets::listed_labels(*services_.decision, services_.reader->raw(), name_, verdict_));
  }
  bool refuses_to_ask(Route& out) {
    return services_.budgets != nullptr &&
           refuses(services_.budgets->ask(query_.client_id, name_, parent_, net::Clock::now()), out);
  }
  bool refuses_after(const Lookups& lookups, Route& out) {
    const bool absent = std::any_of(lookups.answers.begin(), lookups.answers.end(), [](const auto& answer) {
      return answer && answer->outcome == ResolveOutcome::kNxDomain;
    });
    return services_.budgets != nullptr && absent &&
           refuses(services_.budgets->absent(query_.client_id, name_, parent_, net::Clock::now()), out);
  }

 private:
  bool refuses(const net::TunnelBudgets::Finding& finding, Route& out) {
    if (!finding) return false;
    out.status = 403;
    out.verdict = verdict_;  // keeps rule and generation: it is the rule's wildcard that is abused
    out.verdict.reason = POLICY_REASON_TUNNEL_SUSPECT;
    out.cause = services_.budgets->words(finding, name_, parent_);
    if (finding.first) services_.alarm(out.cause);
    return true;
  }

  const Services& services_;
  policy_query query_;
  const policy_name& name_;
  policy_verdict verdict_{};
  unsigned parent_ = 0;
};

}  // namespace

policy_verdict weigh(const Services& services, policy_query query, const policy_addr& address) {
  query.layer = POLICY_LAYER_DIAL;
  query.dest = &address;
  query.known |= POLICY_KNOW_ADDRESS;
  query.deferred &= net::kKnowRequest;
  return services.reader->decide(query);
}

awaitable<Route> find_route(const Services& services, const Config& config, net::TaskScope& scope, policy_query query,
                            const Target& target) {
  Route out;
  Finder finder(services, config, query, target);
  if (!target.is_name) {
    finder.consider(target.literal);
    (void)co_await finder.dial(&out);
    if (!out.socket) finder.explain(nullptr, &out);
    co_return out;
  }
  if (finder.consider_fixed() || target.name.labels < 2) {  // no upstream is asked for a single label
    (void)co_await finder.dial(&out);
    if (!out.socket) finder.explain(nullptr, &out);
    co_return out;
  }
  Budgeted budgeted(services, query, target.name);
  if (budgeted.refuses_to_ask(out)) co_return out;
  const Result<DomainName> name = DomainName::parse(policy::view(target.name));
  const auto deadline = net::Clock::now() + config.connect_timeout;
  const auto executor = co_await net::asio::this_coro::executor;
  const auto lookups = std::make_shared<Lookups>(executor);
  if (name.ok() && !services.has_ipv6()) {
    lookups->answers[Lookups::kV6] = net::ResolveResult{.outcome = ResolveOutcome::kAnswers};  // not asked
    co_await fetch(&services, lookups, *name, Lookups::kV4, deadline);
  } else if (name.ok()) {
    scope.spawn(fetch(&services, lookups, *name, Lookups::kV6, deadline));
    scope.spawn(fetch(&services, lookups, *name, Lookups::kV4, deadline));
    co_await wait_for(lookups, deadline, false);
  }
  finder.consider(*lookups);
  bool connected = co_await finder.dial(&out);
  if (!connected && name.ok() && !lookups->all()) {  // the family that was not waited for
    co_await wait_for(lookups, deadline, true);
    finder.consider(*lookups);
    connected = co_await finder.dial(&out);
  }
  if (!connected && !budgeted.refuses_after(*lookups, out)) finder.explain(lookups.get(), &out);
  co_return out;
}

}  // namespace sallyport::http_proxy
