// WireCache: whole answers as they went out, for one thread: a hit is a look, a copy and a few octets changed.
//
// Form     Four ways a set; the way that ends first gives place. An entry belongs to one client, name and type, and to
// one
//          generation of the policy: what was decided under another is never found. The verdict on the client and name
//          comes before the look, for every query (the order of policy and cache is what CoreDNS got wrong).
// Lifetime A Hit is valid until the next store().
// Threads  One. Time is passed in.
// Errors   None: what cannot be kept is not kept.
#pragma once

#include <policy/abi.h>

#include <cstdint>
#include <span>
#include <string_view>

#include "support/async.hpp"
#include "wire/dns_message.hpp"

namespace sallyport::dns {

class WireCache {
 public:
  explicit WireCache(std::size_t entries);  // rounded up to a power of two; 0: nothing is kept
  ~WireCache();
  WireCache(const WireCache&) = delete;
  WireCache& operator=(const WireCache&) = delete;

  struct Key {
    const policy_name* name = nullptr;
    const policy_addr* client = nullptr;  // nullptr: a cell's, known by its id alone
    std::uint64_t client_id = 0;
    std::uint64_t generation = 0;
    std::uint16_t type = 0;
    bool has_edns = false, dnssec_ok = false;
  };

  struct Hit {
    std::span<const std::uint8_t> reply;
    std::span<const std::uint8_t> ttl_offsets;  // pairs of octets, most significant first
    std::span<const policy_addr> bindings;      // that the answer stands on; empty unless addresses are real
    std::uint32_t ttl = 0;                      // s, what is left of it; at least 1
    bool found() const noexcept { return !reply.empty(); }
  };
  Hit find(const Key& key, net::Clock::time_point now) const noexcept;

  // Into a buffer with room for it: the query's id, RD, CD and letters, and what is left of the TTLs.
  static std::span<const std::uint8_t> write(const Hit& hit, const wire::DnsQuery& query,
                                             std::span<std::uint8_t> buffer) noexcept;

  // reply: an answer to a query of that key, not truncated. It lives until `expires`.
  void store(const Key& key, std::span<const std::uint8_t> reply, std::span<const policy_addr> bindings,
             net::Clock::time_point now, net::Clock::time_point expires);

 private:
  struct Entry;
  static std::uint64_t hash_of(const Key& key) noexcept;
  static bool is_of(const Entry& entry, const Key& key, std::uint64_t hash) noexcept;

  std::size_t mask_ = 0;      // over sets
  Entry* entries_ = nullptr;  // zeroed pages that the kernel gives as they are touched
};

}  // namespace sallyport::dns
