#include "dns/worker.hpp"

#include "support/mailbox.hpp"

namespace sallyport::dns {
namespace {

using net::awaitable;
using net::Clock;
using net::ResolveResult;

// Beside the deadline that the host was given, in case it says nothing at all.
constexpr std::chrono::milliseconds kHostSlack{200};

}  // namespace

struct Worker::Work {
  Work(Worker& worker, policy::Reader& policy_reader)
      : owner(worker),
        reader(policy_reader),
        ledger(owner.team_.host.get<policy_ledger_v1>(POLICY_LEDGER_ID)),
        resolver(owner.loop_.context(), owner.loop_.tasks(), resolver_config(owner.team_)),
        resolved(owner.loop_.context()),
        applied(owner.loop_.context()),
        responder(services(), owner.team_.config),
        server(owner.loop_, responder, owner.team_.bounds, {}, hand_over()),
        door(std::make_shared<Door>()) {
    door->work = this;
    owner.loop_.tasks().spawn(publish());
  }
  ~Work() {
    const std::lock_guard lock(door->mutex);
    door->work = nullptr;
  }

  // Where an enforcer's word comes in, which may be after the worker has gone.
  struct Door {
    std::mutex mutex;
    Work* work = nullptr;
  };
  struct Call {
    std::shared_ptr<Door> door;
    std::uint64_t ticket;
  };

  // What a resolver holds, the workers divide among them.
  static std::size_t share(const Team& team, std::size_t of_all, std::size_t least) {
    return std::max(least, of_all / std::max<std::size_t>(1, team.workers.size()));
  }
  static net::ResolverConfig resolver_config(const Team& team) {
    net::ResolverConfig out;
    out.upstreams = team.config.upstreams;
    out.max_lookups = share(team, out.max_lookups, 128);
    out.cache_entries = share(team, std::max(out.cache_entries, team.config.cache_entries), 1024);
    return out;
  }

  Services services() {
    const policy::Host& host = owner.team_.host;
    Services out;
    out.edge = host.get<policy_edge_v1>(POLICY_EDGE_ID);
    out.decision = host.get<policy_decision_v1>(POLICY_DECISION_ID);
    out.clients = host.get<policy_clients_v1>(POLICY_CLIENTS_ID);
    out.synthetic = host.get<policy_synthetic_draft1>(POLICY_SYNTHETIC_ID);
    out.ledger = ledger;
    out.limits = host.get<policy_limits_v1>(POLICY_LIMITS_ID);
    out.reader = &reader;
    out.upstreams = net::text_of(owner.team_.config.upstreams);
    out.budgets = owner.team_.budgets.get();
    out.alarm = [this](std::string_view text) {
      owner.team_.host.log(POLICY_LOG_WARNING, "tunnel_suspect: " + std::string(text));
    };
    out.resolve = [this](DomainName name, std::uint16_t type, Clock::time_point deadline) {
      return resolve(this, std::move(name), type, deadline);
    };
    out.applied = [this](std::uint64_t seq) { return wait_applied(this, seq); };
    out.has_ipv6 = [this] {
      const Ipv6 ipv6 = owner.team_.config.ipv6;
      return ipv6 == Ipv6::kOn || (ipv6 == Ipv6::kAuto && route.has_ipv6(Clock::now()));
    };
    return out;
  }

  Server::HandOver hand_over() {
    Team& team = owner.team_;
    if (team.workers.size() < 2) return {};
    return [&team](net::UniqueFd fd, bool is_v6, std::uint64_t listener) {
      Worker& next = *team.workers[team.turn.fetch_add(1, std::memory_order_relaxed) % team.workers.size()];
      team.handing.fetch_add(1);
      next.loop_.post([&team, &next, is_v6, listener, moved = std::move(fd)]() mutable {
        next.work_->server.adopt(std::move(moved), is_v6, listener);
        team.handing.fetch_sub(1);  // after it has been counted there: flows() in between sees it twice, never not
      });
    };
  }

  Worker& home_of(const DomainName& name) const {
    const auto& workers = owner.team_.workers;
    return *workers[workers.size() < 2 ? 0 : name.hash() % workers.size()];
  }

  static awaitable<ResolveResult> resolve(Work* self, DomainName name, std::uint16_t type, Clock::time_point deadline) {
    Worker* const home = &self->home_of(name);
    if (home == &self->owner) {
      ResolveResult own = co_await self->resolver.resolve(name, type, deadline);
      co_return own;
    }
    std::optional<ResolveResult> answer = co_await self->resolved.ask(
        [self, home, name, type, deadline](std::uint64_t ticket) {
          home->loop_.post([self, home, name, type, deadline, ticket] {
            home->loop_.tasks().spawn(resolve_for(home->work_.get(), self, ticket, name, type, deadline));
          });
        },
        deadline);
    if (!answer) co_return ResolveResult{.outcome = net::ResolveOutcome::kTimeout};
    co_return std::move(*answer);
  }
  static awaitable<void> resolve_for(Work* home, Work* asker, std::uint64_t ticket, DomainName name, std::uint16_t type,
                                     Clock::time_point deadline) {
    ResolveResult result = co_await home->resolver.resolve(name, type, deadline);
    asker->owner.loop_.post(
        [asker, ticket, moved = std::move(result)]() mutable { asker->resolved.deliver(ticket, std::move(moved)); });
  }

  static awaitable<bool> wait_applied(Work* self, std::uint64_t seq) {
    const Clock::time_point deadline = Clock::now() + self->owner.team_.config.apply_timeout;
    const std::optional<policy_code> code = co_await self->applied.ask(
        [self, seq, deadline](std::uint64_t ticket) { self->call_when_applied(seq, deadline, ticket); },
        deadline + kHostSlack);
    co_return code == POLICY_OK;
  }
  void call_when_applied(std::uint64_t seq, Clock::time_point deadline, std::uint64_t ticket) {
    const auto at = static_cast<std::uint64_t>(std::chrono::nanoseconds(deadline.time_since_epoch()).count());
    auto call = std::make_unique<Call>(Call{door, ticket});
    const policy_code code = ledger->when_applied(reader.raw(), seq, at, &on_applied, call.get());
    if (code == POLICY_OK) {
      (void)call.release();  // on_applied's now
    } else {
      applied.deliver(ticket, code == POLICY_NOT_FOUND ? POLICY_OK : code);  // there is nothing to wait for
    }
  }
  static void on_applied(void* user, policy_code code) {
    const std::unique_ptr<Call> call(static_cast<Call*>(user));
    const std::lock_guard lock(call->door->mutex);
    Work* const work = call->door->work;
    if (work == nullptr) return;
    work->owner.loop_.post([work, ticket = call->ticket, code] { work->applied.deliver(ticket, code); });
  }

  // health() runs on any thread, and counters are shared memory: both get theirs once a second.
  awaitable<void> publish() {
    net::asio::steady_timer timer(owner.loop_.context());
    for (;;) {
      show();
      timer.expires_after(std::chrono::seconds(1));
      const auto [error] = co_await timer.async_wait(net::kAsResult);
      if (error) co_return;
    }
  }
  void show() {
    Counted now{responder.counters(), server.hits(), server.misses(), resolver.counters(), resolver.durations()};
    owner.team_.metrics.add(now, told);
    told = now;
    const std::lock_guard lock(owner.mutex_);
    owner.shown_ = std::move(now);
  }

  Worker& owner;
  policy::Reader& reader;
  const policy_ledger_v1* ledger;
  net::RouteProbe route;
  net::Resolver resolver;
  net::Mailbox<ResolveResult> resolved;
  net::Mailbox<policy_code> applied;
  Responder responder;
  Server server;
  std::shared_ptr<Door> door;
  Counted told;
};

Worker::Worker(Team& team) : team_(team) {}
Worker::~Worker() { loop_.stop(); }

policy::Status Worker::start() {
  // Takes the loop's own descriptors now: without one this start fails here, and not the process at its first timer.
  const net::asio::steady_timer first(loop_.context());
  return loop_.start(
      team_.host, [this](policy::Reader& reader) { work_ = std::make_unique<Work>(*this, reader); },
      [this] {
        work_->server.close();
        work_->show();
      });
}

void Worker::stop() { loop_.stop(); }

void Worker::drain(net::AllLoops& all) {
  all.post(loop_, [this] { work_->server.drain(); });
}

void Worker::post_listener(net::Listener listener) {
  loop_.post([this, moved = std::move(listener)]() mutable { work_->server.add(std::move(moved)); });
}

void Worker::post_removed(const std::string& name, std::uint64_t client_id) {
  loop_.post([this, name, client_id] { work_->server.remove(name, client_id); });
}

Counted Worker::counted() const {
  const std::lock_guard lock(mutex_);
  return shown_;
}

std::uint64_t Worker::flows() const { return work_ ? work_->server.flows() : 0; }

}  // namespace sallyport::dns
