// Worker: one thread that answers, with its loop, its reader, its resolver and its share of the sockets. Workers share
// nothing but messages: each name has one worker whose resolver asks for it, so that equal queries that come in at
// several are one query outside (DNS-27), and its answer is kept once.
//
// Lifetime Every worker of a team is stopped before the first is destroyed; messages may be under way until then.
// Threads  start(), stop(), drain(), post_*() on [main]; counted() and flows() from any.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <policy/plugin.hpp>
#include <vector>

#include "dns/config.hpp"
#include "dns/metrics.hpp"
#include "dns/server.hpp"
#include "support/all_loops.hpp"
#include "support/event_loop.hpp"
#include "support/listeners.hpp"

namespace sallyport::dns {

class Worker;

// What the workers of one plugin instance have in common; fixed once they run, but for the bounds' counts and the turn.
struct Team {
  Team(const policy::Host& h, const Config& c, const Metrics& m) : host(h), config(c), metrics(m) {}
  const policy::Host& host;
  const Config& config;
  const Metrics& metrics;
  Bounds bounds;
  std::unique_ptr<net::TunnelBudgets> budgets;  // of the clients, whichever worker they come to
  std::vector<std::unique_ptr<Worker>> workers;
  std::atomic<std::size_t> turn{0};     // who serves the next TCP connection
  std::atomic<std::size_t> handing{0};  // connections on their way there
};

class Worker {
 public:
  explicit Worker(Team& team);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  policy::Status start();
  void stop();
  void drain(net::AllLoops& all);
  void post_listener(net::Listener listener);
  void post_removed(const std::string& name, std::uint64_t client_id);

  Counted counted() const;      // as of the last second
  std::uint64_t flows() const;  // lookups at work and connections, now

 private:
  struct Work;  // all that lives on the loop's thread

  Team& team_;
  net::EventLoop loop_;
  std::unique_ptr<Work> work_;  // after loop_, which has stopped before this goes
  mutable std::mutex mutex_;
  Counted shown_;
};

}  // namespace sallyport::dns
