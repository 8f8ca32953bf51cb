// Fragments: IP fragments put together, within bounds. Overlaps make the whole packet refused (RFC 5722, for both
// versions): what two readers could put together differently is not judged by one of them.
//
// Bounds   kMaxPackets at once and kMaxOctets in all; the oldest goes, and is counted as lost. 30 s each (RFC 8200 has
// 60). Threads  One at a time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "pcap-monitor/bounded_map.hpp"
#include "wire/packet.hpp"

namespace sallyport::monitor {

class Fragments {
 public:
  static constexpr std::size_t kMaxPackets = 1024, kMaxOctets = 16u << 20, kMaxPieces = 64, kMaxPacket = 65535;
  static constexpr std::uint64_t kLifetimeNs = 30'000'000'000;

  explicit Fragments(std::uint64_t seed);

  // Takes a fragment. Whole now: true, and packet.payload is the whole, valid until the next call.
  bool add(wire::IpPacket& packet, std::uint64_t now_ns);
  void expire(std::uint64_t now_ns);
  // Packets that never became whole, or were refused.
  std::uint64_t lost() const noexcept { return lost_; }
  std::size_t octets() const noexcept { return octets_; }
  std::size_t waiting() const noexcept { return table_.size(); }

 private:
  struct Partial {
    std::uint64_t first_ns = 0;
    std::map<std::uint32_t, std::vector<std::uint8_t>> pieces;
    std::size_t octets = 0, total = 0;  // total: 0 until the last fragment came
    std::uint8_t protocol = 0;          // of the first fragment
    bool refused = false;
  };
  void drop(const std::string& key, const Partial& partial);
  static bool overlaps(const Partial& partial, std::uint32_t offset, std::size_t size);

  BoundedMap<std::string, Partial> table_;
  std::size_t octets_ = 0;
  std::uint64_t lost_ = 0;
  std::vector<std::uint8_t> whole_;
};

}  // namespace sallyport::monitor
