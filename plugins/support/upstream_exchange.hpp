// One question to one upstream and its reply, over UDP or TCP.
//
// A reply is one from the address and port asked, with the id and the question sent. Over UDP the question must agree
// letter by letter (0x20): everything else is counted and waited past, since the true reply may still be on its way
// (RFC 5452 §9).
//
// Threads  The loop's. Sockets live for one exchange, so each UDP query has a source port the kernel has just drawn.
// Errors   An ExchangeOutcome. Nothing is thrown but the cancellation of the calling task.
#pragma once

#include <cstdint>
#include <vector>

#include "support/async.hpp"
#include "support/upstream.hpp"
#include "wire/dns_message.hpp"

namespace sallyport::net {

struct ResolverCounters {
  std::uint64_t lookups = 0, cache_hits = 0, merged = 0, overloads = 0;
  std::uint64_t no_sockets = 0;
  std::uint64_t udp_queries = 0, tcp_queries = 0, timeouts = 0;
  std::uint64_t spoof_suspects = 0;  // replies with another id, question or case
  std::uint64_t malformed = 0;       // replies that came from the right place and could not be read
};

struct UpstreamQuestion {
  wire::WireName name;  // in the case to be sent
  std::uint16_t type = 0;
  std::uint16_t id = 0;
};

enum class ExchangeOutcome : std::uint8_t {
  kTimeout = 0,
  kUnreachable,  // refused, no route, or the connection broke
  kNoSocket,     // this process has no descriptor or memory left; nothing is said about the upstream
  kReply,
  kTruncated,  // UDP alone: ask again over TCP
  kSuspect,    // UDP alone: only replies whose letters or octets were off came; TCP will tell
};

struct Exchange {
  ExchangeOutcome outcome = ExchangeOutcome::kTimeout;
  std::vector<std::uint8_t> message;  // with kReply
  unsigned sent = 0;                  // datagrams
};

// The same question is sent again after `resend`, and then after twice that and so on, from the same socket and with
// the same id: whoever guesses has no more to aim at. Takes each from *queries, and none more once that is 0. After a
// suspect reply the true one has `grace` left. *last_port: the source port of the query before this one, which this one
// does not use.
struct UdpManners {
  Clock::duration resend, again, grace;
  unsigned* queries;
  std::uint16_t* last_port;
};
awaitable<Exchange> exchange_udp(Upstream upstream, UpstreamQuestion question, Clock::time_point deadline,
                                 UdpManners manners, ResolverCounters* counters);
awaitable<Exchange> exchange_tcp(Upstream upstream, UpstreamQuestion question, Clock::time_point deadline,
                                 ResolverCounters* counters);

}  // namespace sallyport::net
