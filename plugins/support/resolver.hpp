// Resolver: the stub resolver that the plugins share. It answers for names that policy has already allowed; it asks
// nobody for a name by itself, and nothing of a client (option, case, subnet) reaches an upstream.
//
// Asking    A fresh connected UDP socket per try, so that the kernel draws a random source port; id and letter case
// ("0x20")
//           from the system's entropy; RD=1 and a plain OPT record, nothing else. Only a reply from that address and
//           port with that id and question, letter by letter, is read; others are counted and waited past. Truncated:
//           again over TCP. An upstream that changes letters is asked over TCP from then on, where a forged reply
//           cannot be slipped in.
// Believing Records on the CNAME chain that starts at the name (answer_chain.hpp). The rest is not even kept.
// Bounds    Tries, queries and chain per lookup, lookups at once, cache entries, addresses per answer.
// Lifetime  Lookups run as tasks of the scope given, and end with it; the scope and context outlive the Resolver's last
// call. Threads   The loop's thread alone. Errors    An outcome, of which zero is failure; resolve() throws only what
// cancellation of its caller's task throws. Source    RFC 1034 §5.3.1 (stub), RFC 5452 (forgery), RFC 7766 (TCP), RFC
// 2308 (negative answers), RFC 9520 (failures).
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "names/domain_name.hpp"
#include "support/answer_cache.hpp"
#include "support/async.hpp"
#include "support/upstream.hpp"
#include "support/upstream_exchange.hpp"

namespace sallyport::net {

struct ResolverConfig {
  std::vector<Upstream> upstreams;                 // in order of preference; empty: every lookup is kUnreachable
  std::chrono::milliseconds try_timeout{1000};     // doubled in every further round; the last try lasts on
  std::chrono::milliseconds lookup_timeout{4500};  // a client is told by 5 s (DNS-35)
  // Within a try, then every `again`. Slow answers are common and lost datagrams rare, so that patience comes first;
  // but where one was lost lately, that is what it will be again.
  std::chrono::milliseconds resend{1200}, eager_resend{400}, again{800};
  std::chrono::seconds lossy_time{30};
  std::chrono::milliseconds case_grace{100};  // a suspect reply came: the true one may still be on its way
  std::chrono::seconds down_time{30};         // an upstream that was silent is asked last for so long
  std::chrono::seconds folded_time{600};      // and one that changes letters is asked over TCP
  unsigned rounds = 2;                        // over all upstreams; an only one has one, of all the time there is
  std::uint32_t min_ttl = 0, max_ttl = 3600;  // s; every TTL is brought within
  std::uint32_t failure_ttl = 1;              // s; RFC 9520 §3.2 asks for at least one
  std::uint32_t one_type_ttl = 30;            // s; of a timeout where the name's other type was answered
  std::size_t cache_entries = 4096;
  std::size_t max_lookups = 1000;  // at once; a descriptor each
};

// Time, for what is remembered, and randomness come from here, so that tests give their own. Timers are the loop's.
struct ResolverEnvironment {
  std::function<Clock::time_point()> now;
  std::function<void(std::span<std::uint8_t>)> fill_random;

  static ResolverEnvironment system();  // steady clock, getrandom(2)
};

class Resolver {
 public:
  static constexpr unsigned kMaxLinks = 16;    // of a CNAME chain
  static constexpr unsigned kMaxQueries = 16;  // that one lookup sends, tries included

  Resolver(asio::io_context& context, TaskScope& tasks, ResolverConfig config,
           ResolverEnvironment environment = ResolverEnvironment::system());
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  // type is A, AAAA, SVCB or HTTPS (wire::kType…); another is kFailed. Equal lookups at the same time share one. At the
  // deadline the caller gets kTimeout; the lookup goes on to its own, for the cache.
  awaitable<ResolveResult> resolve(DomainName name, std::uint16_t type, Clock::time_point deadline);

  const ResolverCounters& counters() const noexcept;

  // How long replies took, by upstream in the order of the config; least .. most: nanoseconds, the last is the rest.
  static constexpr std::array<std::uint64_t, 6> kDurationBounds{1'000'000,   10'000'000,    50'000'000,
                                                                200'000'000, 1'000'000'000, 5'000'000'000};
  struct Durations {
    std::array<std::uint64_t, kDurationBounds.size() + 1> counts{};
    std::uint64_t total_ns = 0;
  };
  std::vector<Durations> durations() const;
  void forget();  // the cache

 private:
  struct State;  // shared with the lookups at work
  std::shared_ptr<State> state_;
};

}  // namespace sallyport::net
