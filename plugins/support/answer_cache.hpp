// AnswerCache: what upstreams said lately, positive and negative, until its TTL ends.
//
// Form     Keyed by (name, type); bounded; the entry used longest ago goes first. Ordered, not hashed: workloads choose
// the
//          names, and no choice makes a lookup slower than the logarithm of the bound.
// Threads  One. Time is passed in.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "names/address.hpp"
#include "support/async.hpp"
#include "support/service_record.hpp"
#include "wire/dns_name.hpp"

namespace sallyport::net {

enum class ResolveOutcome : std::uint8_t {
  kFailed = 0,  // SERVFAIL or the like from every upstream, a broken chain, or too many lookups at once
  kAnswers,
  kNoData,  // the name is there, the type is not
  kNxDomain,
  kTimeout,      // no upstream answered in time
  kUnreachable,  // no upstream could be sent to
  kNoSocket,     // nothing was asked: this process has no descriptor or memory left
};

struct ResolveResult {
  ResolveOutcome outcome = ResolveOutcome::kFailed;
  std::vector<Address> addresses;  // in the upstream's order, each once; empty unless kAnswers
  std::uint32_t ttl = 0;           // s, what is left of it: the least of the chain's, or the negative TTL of the SOA
  std::vector<wire::WireName> chain{};    // targets of the CNAMEs that lead to the addresses, in order
  std::vector<ServiceRecord> services{};  // of a lookup of SVCB or HTTPS; empty with kAnswers: none can be used
};

struct AnswerKey {
  std::string name;  // DomainName::text()
  std::uint16_t type = 0;

  friend auto operator<=>(const AnswerKey&, const AnswerKey&) = default;
};

// Invariant: order_ holds each key of entries_ once, the one used longest ago in front.
class AnswerCache {
 public:
  explicit AnswerCache(std::size_t capacity) : capacity_(capacity) {}

  // With the TTL that is left, rounded up to a second.
  std::optional<ResolveResult> find(const AnswerKey& key, Clock::time_point now);
  // A TTL of 0 is not kept.
  void store(const AnswerKey& key, const ResolveResult& result, Clock::time_point now);
  void clear();
  std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    ResolveResult result;
    Clock::time_point expires;
    std::list<AnswerKey>::iterator place;
  };

  std::size_t capacity_;
  std::map<AnswerKey, Entry> entries_;
  std::list<AnswerKey> order_;
};

}  // namespace sallyport::net
