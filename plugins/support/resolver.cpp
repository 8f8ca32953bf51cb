#include "support/resolver.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <list>
#include <map>

#include "support/answer_chain.hpp"

namespace sallyport::net {
namespace {

using wire::WireName;

void fill_from_kernel(std::span<std::uint8_t> out) {
  while (!out.empty()) {
    const ssize_t got = ::getrandom(out.data(), out.size(), 0);
    if (got < 0 && errno != EINTR) std::abort();  // a guessable id is worse than no answer
    if (got > 0) out = out.subspan(static_cast<std::size_t>(got));
  }
}

bool is_asked(std::uint16_t type) {
  return type == wire::kTypeA || type == wire::kTypeAaaa || type == wire::kTypeSvcb || type == wire::kTypeHttps;
}

// What a set of tries came to when none was a usable reply: the most telling of them.
ResolveOutcome worse(ResolveOutcome so_far, ResolveOutcome next) {
  const auto rank = [](ResolveOutcome outcome) {
    return outcome == ResolveOutcome::kFailed ? 2 : outcome == ResolveOutcome::kTimeout ? 1 : 0;
  };
  return rank(next) > rank(so_far) ? next : so_far;
}

}  // namespace

ResolverEnvironment ResolverEnvironment::system() {
  return {[] { return Clock::now(); }, fill_from_kernel};
}

struct Resolver::State {
  // One lookup at work. Invariant: waiters holds the timers of exactly those coroutines that wait for `done`.
  struct Lookup {
    AnswerKey key;
    WireName name;
    bool done = false;
    ResolveResult result;
    std::list<asio::steady_timer*> waiters;
  };

  struct Server {
    Upstream upstream;
    Clock::time_point down_until{}, folded_until{}, lossy_until{};
    Durations durations{};
  };

  // What one lookup may still use, whatever upstreams say.
  struct Budget {
    unsigned queries = kMaxQueries;
    unsigned links = kMaxLinks;
  };

  struct Asked {
    ResolveOutcome failure = ResolveOutcome::kFailed;  // where there is no usable reply
    ChainReply reply;                                  // kFailed: none
    bool kept = true;                                  // false: the failure is this process's own, and not remembered
  };

  // Ends a lookup however its task ends, cancellation included.
  struct Finish {
    State& state;
    Lookup& lookup;
    ~Finish() {
      state.lookups.erase(lookup.key);
      lookup.done = true;
      for (asio::steady_timer* timer : lookup.waiters) timer->cancel();
    }
  };

  // In the list of waiters for as long as its coroutine waits, which may be ended from outside.
  struct Waiter {
    Lookup& lookup;
    std::list<asio::steady_timer*>::iterator place;
    Waiter(Lookup& of, asio::steady_timer* timer) : lookup(of), place(of.waiters.insert(of.waiters.end(), timer)) {}
    Waiter(const Waiter&) = delete;
    ~Waiter() { lookup.waiters.erase(place); }
  };

  State(asio::io_context& loop, TaskScope& scope, ResolverConfig c, ResolverEnvironment e)
      : context(loop), tasks(scope), config(std::move(c)), environment(std::move(e)), cache(config.cache_entries) {
    for (const Upstream& upstream : config.upstreams) servers.push_back({upstream});
  }

  static awaitable<ResolveResult> resolve(std::shared_ptr<State> self, DomainName name, std::uint16_t type,
                                          Clock::time_point deadline);
  static awaitable<void> run(std::shared_ptr<State> self, std::shared_ptr<Lookup> lookup);
  awaitable<ResolveResult> look_up(WireName name, std::uint16_t type, Clock::time_point deadline);
  awaitable<Asked> ask(WireName name, std::uint16_t type, Budget* budget, Clock::time_point deadline);
  awaitable<Exchange> ask_server(Server* server, WireName name, std::uint16_t type, Budget* budget,
                                 Clock::duration timeout, Clock::time_point deadline);
  static void note(Server* server, Clock::duration took);
  std::vector<Server*> in_order();
  UpstreamQuestion draw(const WireName& name, std::uint16_t type);

  asio::io_context& context;
  TaskScope& tasks;
  ResolverConfig config;
  ResolverEnvironment environment;
  ResolverCounters counters;
  std::vector<Server> servers;
  std::uint16_t last_port = 0;
  AnswerCache cache;
  std::map<AnswerKey, std::shared_ptr<Lookup>> lookups;
};

awaitable<ResolveResult> Resolver::State::resolve(std::shared_ptr<State> self, DomainName name, std::uint16_t type,
                                                  Clock::time_point deadline) {
  ++self->counters.lookups;
  const Result<WireName> wire_name = WireName::from_text(name.text());
  if (!wire_name.ok() || !is_asked(type)) co_return ResolveResult{};
  const AnswerKey key{std::string(name.text()), type};
  if (std::optional<ResolveResult> known = self->cache.find(key, self->environment.now())) {
    ++self->counters.cache_hits;
    co_return std::move(*known);
  }

  std::shared_ptr<Lookup> lookup;
  if (const auto found = self->lookups.find(key); found != self->lookups.end()) {
    ++self->counters.merged;
    lookup = found->second;
  } else if (self->lookups.size() >= self->config.max_lookups) {
    ++self->counters.overloads;
    co_return ResolveResult{};
  } else {
    lookup = std::make_shared<Lookup>(Lookup{.key = key, .name = *wire_name});
    self->lookups.emplace(key, lookup);
    if (!self->tasks.spawn(run(self, lookup))) {
      self->lookups.erase(key);
      co_return ResolveResult{};
    }
  }

  if (!lookup->done) {
    asio::steady_timer timer(self->context, deadline);
    const Waiter waiter(*lookup, &timer);
    co_await timer.async_wait(kAsResult);
  }
  if (lookup->done) co_return lookup->result;
  co_return ResolveResult{.outcome = ResolveOutcome::kTimeout};
}

awaitable<void> Resolver::State::run(std::shared_ptr<State> self, std::shared_ptr<Lookup> lookup) {
  const Finish finish{*self, *lookup};
  ResolveResult result =
      co_await self->look_up(lookup->name, lookup->key.type, Clock::now() + self->config.lookup_timeout);
  const bool is_answer = result.outcome == ResolveOutcome::kAnswers || result.outcome == ResolveOutcome::kNoData ||
                         result.outcome == ResolveOutcome::kNxDomain;
  if (is_answer) result.ttl = std::clamp(result.ttl, self->config.min_ttl, self->config.max_ttl);
  if (result.outcome == ResolveOutcome::kTimeout) {  // servers there are that answer A and drop AAAA
    const std::uint16_t other = lookup->key.type == wire::kTypeA ? wire::kTypeAaaa : wire::kTypeA;
    const auto known = self->cache.find({lookup->key.name, other}, self->environment.now());
    if (known && known->outcome == ResolveOutcome::kAnswers) result.ttl = self->config.one_type_ttl;
  }
  self->cache.store(lookup->key, result, self->environment.now());
  lookup->result = std::move(result);
}

awaitable<ResolveResult> Resolver::State::look_up(WireName name, std::uint16_t type, Clock::time_point deadline) {
  Budget budget;
  std::uint32_t ttl = UINT32_MAX;
  std::vector<WireName> asked_for, chain;
  for (;;) {
    asked_for.push_back(name);
    Asked asked = co_await ask(name, type, &budget, deadline);
    ttl = std::min(ttl, asked.reply.ttl);
    switch (asked.reply.kind) {
      case ChainKind::kFailed:
        co_return ResolveResult{.outcome = asked.failure, .ttl = asked.kept ? config.failure_ttl : 0};
      case ChainKind::kAnswers:
        chain.insert(chain.end(), asked.reply.targets.begin(), asked.reply.targets.end());
        co_return ResolveResult{ResolveOutcome::kAnswers, std::move(asked.reply.addresses), ttl, std::move(chain),
                                std::move(asked.reply.services)};
      case ChainKind::kNoData:
        co_return ResolveResult{ResolveOutcome::kNoData, {}, ttl};
      case ChainKind::kNxDomain:
        co_return ResolveResult{ResolveOutcome::kNxDomain, {}, ttl};
      case ChainKind::kElsewhere:
        break;
    }
    chain.insert(chain.end(), asked.reply.targets.begin(), asked.reply.targets.end());
    budget.links -= asked.reply.links;  // read_chain() took no more than there were
    name = asked.reply.end;
    if (std::find(asked_for.begin(), asked_for.end(), name) != asked_for.end())  // a loop
      co_return ResolveResult{.ttl = config.failure_ttl};
  }
}

awaitable<Resolver::State::Asked> Resolver::State::ask(WireName name, std::uint16_t type, Budget* budget,
                                                       Clock::time_point deadline) {
  Asked asked;
  asked.failure = ResolveOutcome::kUnreachable;
  std::vector<Server*> order = in_order();
  Clock::duration timeout = config.try_timeout;
  for (unsigned round = 0; round < config.rounds && !order.empty(); ++round, timeout *= 2) {
    for (std::size_t i = 0; i < order.size();) {
      Server* const server = order[i];
      const Clock::time_point now = Clock::now();
      if (now >= deadline) {
        asked.failure = worse(asked.failure, ResolveOutcome::kTimeout);
        co_return asked;
      }
      // An only upstream is waited for to the end: asked anew, it would have less time and not know more.
      const bool last = servers.size() == 1 || (round + 1 == config.rounds && i + 1 == order.size());
      const Clock::duration patience = last ? std::max(timeout, deadline - now) : timeout;
      Exchange exchange = co_await ask_server(server, name, type, budget, patience, deadline);
      bool give_up_on_it = false;
      if (exchange.outcome == ExchangeOutcome::kReply) {
        server->down_until = {};
        asked.reply = read_chain(exchange.message, name, type, budget->links);
        if (asked.reply.kind != ChainKind::kFailed) co_return asked;
        asked.failure = ResolveOutcome::kFailed;
        give_up_on_it = true;  // it would say the same again
      } else if (exchange.outcome == ExchangeOutcome::kNoSocket) {
        asked.failure = ResolveOutcome::kNoSocket;
        asked.kept = false;
        co_return asked;  // another upstream would need a socket too
      } else {
        server->down_until = environment.now() + config.down_time;
        const bool unreachable = exchange.outcome == ExchangeOutcome::kUnreachable;
        asked.failure = worse(asked.failure, unreachable ? ResolveOutcome::kUnreachable : ResolveOutcome::kTimeout);
      }
      if (budget->queries == 0) {
        asked.failure = ResolveOutcome::kFailed;
        co_return asked;
      }
      if (give_up_on_it)
        order.erase(order.begin() + static_cast<std::ptrdiff_t>(i));
      else
        ++i;
    }
  }
  co_return asked;
}

// timeout is for each of the two transports; nothing goes on after the deadline.
awaitable<Exchange> Resolver::State::ask_server(Server* server, WireName name, std::uint16_t type, Budget* budget,
                                                Clock::duration timeout, Clock::time_point deadline) {
  bool suspect = false;
  if (server->folded_until <= environment.now()) {
    if (budget->queries == 0) co_return Exchange{};
    const Clock::time_point began = Clock::now();
    const Clock::time_point udp_deadline = std::min(deadline, began + timeout);
    const bool lossy = server->lossy_until > environment.now();
    const UdpManners manners{lossy ? config.eager_resend : config.resend, config.again, config.case_grace,
                             &budget->queries, &last_port};
    Exchange exchange = co_await exchange_udp(server->upstream, draw(name, type), udp_deadline, manners, &counters);
    if (exchange.outcome == ExchangeOutcome::kReply) note(server, Clock::now() - began);
    if (exchange.sent > 1 || exchange.outcome == ExchangeOutcome::kTimeout)
      server->lossy_until = environment.now() + config.lossy_time;
    suspect = exchange.outcome == ExchangeOutcome::kSuspect;
    if (!suspect && exchange.outcome != ExchangeOutcome::kTruncated) co_return exchange;
  }
  if (budget->queries == 0) co_return Exchange{};
  --budget->queries;
  const Clock::time_point began = Clock::now();
  const Clock::time_point tcp_deadline = std::min(deadline, began + timeout);
  Exchange exchange = co_await exchange_tcp(server->upstream, draw(name, type), tcp_deadline, &counters);
  if (exchange.outcome == ExchangeOutcome::kReply) note(server, Clock::now() - began);
  if (suspect && exchange.outcome == ExchangeOutcome::kReply)
    server->folded_until = environment.now() + config.folded_time;
  co_return exchange;
}

void Resolver::State::note(Server* server, Clock::duration took) {
  const auto ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(took).count());
  const auto bound = std::lower_bound(kDurationBounds.begin(), kDurationBounds.end(), ns);
  ++server->durations.counts[static_cast<std::size_t>(bound - kDurationBounds.begin())];
  server->durations.total_ns += ns;
}

// As configured, but those that were silent lately come last.
std::vector<Resolver::State::Server*> Resolver::State::in_order() {
  std::vector<Server*> order;
  order.reserve(servers.size());
  const Clock::time_point now = environment.now();
  for (const bool down : {false, true})
    for (Server& server : servers)
      if ((server.down_until > now) == down) order.push_back(&server);
  return order;
}

UpstreamQuestion Resolver::State::draw(const WireName& name, std::uint16_t type) {
  std::array<std::uint8_t, 2 + 32> random;  // the id, and a bit for each letter there can be
  environment.fill_random(random);
  return {name.with_case(std::span(random).subspan<2>()), type, static_cast<std::uint16_t>(random[0] << 8 | random[1])};
}

Resolver::Resolver(asio::io_context& context, TaskScope& tasks, ResolverConfig config, ResolverEnvironment environment)
    : state_(std::make_shared<State>(context, tasks, std::move(config), std::move(environment))) {}

Resolver::~Resolver() = default;

awaitable<ResolveResult> Resolver::resolve(DomainName name, std::uint16_t type, Clock::time_point deadline) {
  return State::resolve(state_, std::move(name), type, deadline);
}

const ResolverCounters& Resolver::counters() const noexcept { return state_->counters; }

std::vector<Resolver::Durations> Resolver::durations() const {
  std::vector<Durations> out;
  for (const State::Server& server : state_->servers) out.push_back(server.durations);
  return out;
}

void Resolver::forget() { state_->cache.clear(); }

}  // namespace sallyport::net
