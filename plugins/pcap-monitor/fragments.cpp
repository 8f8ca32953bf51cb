#include "pcap-monitor/fragments.hpp"

namespace sallyport::monitor {
namespace {

// The first fragment alone knows the protocol behind IPv6 extension headers, so it is no part of the key there.
std::string key_of(const wire::IpPacket& packet) {
  std::string key(reinterpret_cast<const char*>(packet.source.octets.data()), 16);
  key.append(reinterpret_cast<const char*>(packet.destination.octets.data()), 16);
  key.append(reinterpret_cast<const char*>(&packet.fragment_id), sizeof packet.fragment_id);
  key += packet.source.v4 ? static_cast<char>(packet.protocol) : '\0';
  return key;
}

}  // namespace

Fragments::Fragments(std::uint64_t seed) : table_(kMaxPackets, seed) {
  table_.on_evicted = [this](auto& entry) {
    if (!entry.second.refused) ++lost_;
    octets_ -= entry.second.octets;
  };
}

void Fragments::drop(const std::string& key, const Partial& partial) {
  octets_ -= partial.octets;
  if (!partial.refused) ++lost_;
  table_.erase(key);
}

bool Fragments::overlaps(const Partial& partial, std::uint32_t offset, std::size_t size) {
  const auto after = partial.pieces.lower_bound(offset);
  if (after != partial.pieces.end() && after->first < offset + size) return true;
  if (after == partial.pieces.begin()) return false;
  const auto before = std::prev(after);
  return before->first + before->second.size() > offset;
}

void Fragments::expire(std::uint64_t now_ns) {
  // Not in order of age but of use; close enough, since fragments of one packet come together.
  while (auto* oldest = table_.oldest()) {
    if (oldest->second.first_ns + kLifetimeNs > now_ns) return;
    const std::string key = oldest->first;
    drop(key, oldest->second);
  }
}

bool Fragments::add(wire::IpPacket& packet, std::uint64_t now_ns) {
  expire(now_ns);
  const std::string key = key_of(packet);
  Partial& partial = table_.get(key);
  if (partial.first_ns == 0) partial.first_ns = now_ns;
  if (partial.refused) return false;
  const std::size_t size = packet.payload.size(), end = packet.fragment_offset + size;
  const auto same = partial.pieces.find(packet.fragment_offset);
  if (same != partial.pieces.end() && same->second.size() == size &&
      std::equal(same->second.begin(), same->second.end(), packet.payload.begin()))
    return false;  // sent twice on the way
  const bool broken = packet.truncated() || size == 0 || end > kMaxPacket || partial.pieces.size() == kMaxPieces ||
                      (packet.more_fragments && size % 8 != 0) || (partial.total != 0 && end > partial.total) ||
                      (!packet.more_fragments && partial.total != 0 && partial.total != end) ||
                      overlaps(partial, packet.fragment_offset, size);
  if (broken) {
    partial.refused = true;  // remembered, so that later pieces do not start anew
    octets_ -= partial.octets;
    partial.octets = 0;
    partial.pieces.clear();
    ++lost_;
    return false;
  }
  while (octets_ + size > kMaxOctets) {
    auto* oldest = table_.oldest();
    if (oldest->first == key) return false;
    const std::string old = oldest->first;
    drop(old, oldest->second);
  }
  partial.pieces.emplace(packet.fragment_offset,
                         std::vector<std::uint8_t>(packet.payload.begin(), packet.payload.end()));
  partial.octets += size;
  octets_ += size;
  if (packet.fragment_offset == 0) partial.protocol = packet.protocol;
  if (!packet.more_fragments) partial.total = end;
  if (partial.total == 0 || partial.octets != partial.total) {
    if (partial.total != 0 && !partial.pieces.empty() &&
        partial.pieces.rbegin()->first + partial.pieces.rbegin()->second.size() > partial.total) {
      partial.refused = true;  // a piece beyond what the last one said is the end
      octets_ -= partial.octets;
      partial.octets = 0;
      partial.pieces.clear();
      ++lost_;
    }
    return false;
  }
  whole_.clear();
  for (const auto& [offset, octets] : partial.pieces) whole_.insert(whole_.end(), octets.begin(), octets.end());
  packet.protocol = partial.protocol;
  packet.payload = whole_;
  packet.payload_size = whole_.size();
  packet.more_fragments = false;
  packet.fragment_offset = 0;
  octets_ -= partial.octets;
  table_.erase(key);
  return true;
}

}  // namespace sallyport::monitor
