// Verifier: a thread of its own for passwords that nobody has verified lately. crypt() takes milliseconds by design,
// which the threads that serve do not have: one client that logs in, or guesses, would hold up all the others.
//
// Bounds    Passwords that wait, in all and per client; beyond, the answer is the one for too many failures.
// Threads   start(), stop() on [main]; verify() on a loop's thread, with that loop's own mailbox.
// Lifetime  Stopped before the loops that ask; it outlives them.
#pragma once

#include <policy/ext/clients.h>

#include <atomic>
#include <policy/plugin.hpp>
#include <string>

#include "support/client_counts.hpp"
#include "support/event_loop.hpp"
#include "support/mailbox.hpp"

namespace sallyport::http_proxy {

// Whose password.
struct Login {
  std::uint64_t client = 0;
  policy_addr peer{};
  std::string user, password;
};

class Verifier {
 public:
  policy::Status start(const policy::Host& host, const policy_clients_v1* clients);
  void stop();  // what waits is not verified any more

  // Codes of policy_clients_v1::verify; `home` is the asker's loop, `mailbox` its own. All outlive the call.
  net::awaitable<policy_code> verify(Login login, net::EventLoop* home, net::Mailbox<policy_code>* mailbox);

 private:
  static constexpr std::size_t kMostWaiting = 256, kMostPerClient = 4;  // a second or two of work
  static constexpr std::chrono::seconds kPatience{10};

  net::ClientCounts waiting_{kMostWaiting, kMostPerClient};
  net::EventLoop loop_;
  const policy_clients_v1* clients_ = nullptr;
  std::atomic<bool> stopping_{false};
  policy::Reader* reader_ = nullptr;  // the loop's thread's
};

}  // namespace sallyport::http_proxy
