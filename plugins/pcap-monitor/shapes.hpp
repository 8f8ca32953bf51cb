// Shapes: what tunnels look like from outside, counted in windows of a minute for each client.
//
// DNS      distinct long labels below one parent; TXT and NULL volume; names that do not exist.
// ICMP     octets in echo requests.
// Bounds   kMaxSubjects; the sets of distinct labels hold hashes, kDistinct at most.
// Threads  One at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "pcap-monitor/bounded_map.hpp"
#include "wire/dns_name.hpp"

namespace sallyport::monitor {

class Shapes {
 public:
  static constexpr std::size_t kMaxSubjects = 8192;
  static constexpr std::uint64_t kWindowNs = 60'000'000'000;
  static constexpr std::size_t kLongLabel = 24;  // hosts have below 20; hashes of CDNs come few to a parent
  static constexpr std::size_t kDistinct = 20;   // long labels below one parent in a window
  static constexpr std::size_t kRecords =
      40;                                     // TXT and NULL questions in a window; mail servers do more, agents do not
  static constexpr std::size_t kAbsent = 60;  // NXDOMAIN answers in a window, if they are most
  static constexpr std::size_t kIcmpOctets = 16 * 1024;  // ping sends 56 a second

  explicit Shapes(std::uint64_t seed) : subjects_(kMaxSubjects, seed), hash_{seed} {}

  // Each returns what it looks like, once a window.
  std::optional<std::string> asked(const Address& client, const wire::WireName& name, std::uint16_t type,
                                   std::uint64_t now);
  std::optional<std::string> answered(const Address& client, std::uint16_t rcode, std::uint64_t now);
  std::optional<std::string> echoed(const Address& client, const Address& to, std::size_t octets, std::uint64_t now);
  std::uint64_t lost() const noexcept { return subjects_.evicted(); }

 private:
  struct Subject {
    std::uint64_t begun_ns = 0;
    std::uint64_t count = 0, absent = 0;
    std::unordered_set<std::uint64_t> labels;
    bool told = false;
  };
  Subject& subject(std::string key, std::uint64_t now);

  BoundedMap<std::string, Subject> subjects_;
  HashOf hash_;
};

}  // namespace sallyport::monitor
