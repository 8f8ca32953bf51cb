#include "wire/packet.hpp"

#include <algorithm>
#include <cstring>

namespace sallyport::wire {
namespace {

using Octets = std::span<const std::uint8_t>;

std::uint16_t read16(Octets octets, std::size_t at) noexcept {
  return static_cast<std::uint16_t>(octets[at] << 8 | octets[at + 1]);
}

std::uint32_t read32(Octets octets, std::size_t at) noexcept {
  return static_cast<std::uint32_t>(read16(octets, at)) << 16 | read16(octets, at + 2);
}

PacketAddress address(Octets octets, std::size_t at, std::size_t size) noexcept {
  PacketAddress out;
  out.v4 = size == 4;
  std::memcpy(out.octets.data(), octets.data() + at, size);
  return out;
}

// 802.1Q, 802.1ad, and two older numbers of stacked tags.
bool is_vlan(std::uint16_t type) noexcept {
  return type == 0x8100 || type == 0x88a8 || type == 0x9100 || type == 0x9200;
}

std::optional<Carried> read_tagged(Octets octets, std::size_t type_at) noexcept {
  if (octets.size() < type_at + 2) return std::nullopt;
  std::uint16_t type = read16(octets, type_at);
  std::size_t offset = type_at + 2;
  for (int tags = 0; is_vlan(type); ++tags) {
    if (tags == kMaxVlanTags || octets.size() < offset + 4) return std::nullopt;
    type = read16(octets, offset + 2);
    offset += 4;
  }
  return Carried{type, octets.subspan(offset)};
}

std::optional<Carried> by_version(Octets octets) noexcept {
  if (octets.empty()) return std::nullopt;
  const int version = octets[0] >> 4;
  if (version == 4) return Carried{kEtherIpv4, octets};
  if (version == 6) return Carried{kEtherIpv6, octets};
  return std::nullopt;
}

// Payload: what the header says, or less where the capture ends.
void set_payload(IpPacket& packet, Octets octets, std::size_t begin, std::size_t end) noexcept {
  packet.payload_size = end - begin;
  packet.payload = begin >= octets.size() ? Octets{} : octets.subspan(begin, std::min(octets.size(), end) - begin);
}

std::optional<IpPacket> read_ipv4(Octets octets) noexcept {
  if (octets.size() < 20) return std::nullopt;
  const std::size_t header = static_cast<std::size_t>(octets[0] & 15) * 4;
  std::size_t total = read16(octets, 2);
  if (total == 0) total = octets.size();  // segmentation offload: the card writes it later
  if (header < 20 || total < header || octets.size() < header) return std::nullopt;
  IpPacket packet;
  packet.source = address(octets, 12, 4);
  packet.destination = address(octets, 16, 4);
  packet.protocol = octets[9];
  packet.hop_limit = octets[8];
  const std::uint16_t fragment = read16(octets, 6);
  packet.more_fragments = (fragment & 0x2000) != 0;
  packet.fragment_offset = static_cast<std::uint32_t>(fragment & 0x1fff) * 8;
  packet.fragment_id = read16(octets, 4);
  set_payload(packet, octets, header, total);
  return packet;
}

bool is_extension(std::uint8_t next) noexcept {
  return next == 0 || next == 43 || next == 44 || next == 51 || next == 60 || next == 135 || next == 139 || next == 140;
}

std::optional<IpPacket> read_ipv6(Octets octets) noexcept {
  if (octets.size() < 40) return std::nullopt;
  std::size_t total = 40u + read16(octets, 4);
  if (total == 40) total = octets.size();  // a jumbogram or segmentation offload
  IpPacket packet;
  packet.source = address(octets, 8, 16);
  packet.destination = address(octets, 24, 16);
  packet.hop_limit = octets[7];
  packet.protocol = octets[6];
  std::size_t offset = 40;
  for (int count = 0; is_extension(packet.protocol); ++count) {
    if (count == kMaxExtensionHeaders || offset + 8 > std::min(total, octets.size())) return std::nullopt;
    const std::uint8_t kind = packet.protocol;
    packet.protocol = octets[offset];
    std::size_t size = (static_cast<std::size_t>(octets[offset + 1]) + 1) * 8;
    if (kind == 51) size = (static_cast<std::size_t>(octets[offset + 1]) + 2) * 4;
    if (kind == 44) {
      size = 8;
      const std::uint16_t fragment = read16(octets, offset + 2);
      packet.more_fragments = (fragment & 1) != 0;
      packet.fragment_offset = fragment & 0xfff8u;
      packet.fragment_id = read32(octets, offset + 4);
      offset += size;
      if (packet.is_fragment()) break;  // what follows may be the middle of anything
      continue;
    }
    offset += size;
    if (offset > total) return std::nullopt;
  }
  set_payload(packet, octets, offset, total);
  return packet;
}

}  // namespace

std::optional<Carried> read_link(Octets frame, LinkType type) noexcept {
  switch (type) {
    case LinkType::kEthernet:
      return read_tagged(frame, 12);
    case LinkType::kLinuxCooked:
      return read_tagged(frame, 14);
    case LinkType::kLinuxCooked2: {
      if (frame.size() < 20) return std::nullopt;
      const std::uint16_t ether_type = read16(frame, 0);
      if (!is_vlan(ether_type)) return Carried{ether_type, frame.subspan(20)};
      if (frame.size() < 24) return std::nullopt;
      return read_tagged(frame.subspan(20), 2);
    }
    case LinkType::kLoopback:
      return frame.size() < 4 ? std::nullopt : by_version(frame.subspan(4));
    case LinkType::kRaw:
      return by_version(frame);
  }
  return std::nullopt;
}

std::optional<IpPacket> read_ip(Octets octets) noexcept {
  if (octets.empty()) return std::nullopt;
  if (octets[0] >> 4 == 4) return read_ipv4(octets);
  if (octets[0] >> 4 == 6) return read_ipv6(octets);
  return std::nullopt;
}

std::optional<Carried> read_tunnel(const IpPacket& packet) noexcept {
  const Octets payload = packet.payload;
  if (packet.protocol == kIpIpv4) return Carried{kEtherIpv4, payload};
  if (packet.protocol == kIpIpv6) return Carried{kEtherIpv6, payload};
  if (packet.protocol != kIpGre || payload.size() < 4) return std::nullopt;
  if ((payload[1] & 7) != 0) return std::nullopt;  // PPTP's version 1 carries PPP
  std::size_t offset = 4;
  if (payload[0] & 0x80) offset += 4;                                            // checksum
  if (payload[0] & 0x20) offset += 4;                                            // key
  if (payload[0] & 0x10) offset += 4;                                            // sequence number
  if ((payload[0] & 0x40) != 0 || payload.size() < offset) return std::nullopt;  // RFC 1701's routing: gone
  const std::uint16_t type = read16(payload, 2);
  if (type == kEtherTransparentBridging) return read_link(payload.subspan(offset), LinkType::kEthernet);
  return Carried{type, payload.subspan(offset)};
}

std::optional<TcpSegment> read_tcp(const IpPacket& packet) noexcept {
  const Octets octets = packet.payload;
  if (packet.protocol != kIpTcp || octets.size() < 14) return std::nullopt;  // up to the flags
  const std::size_t header = static_cast<std::size_t>(octets[12] >> 4) * 4;
  if (header < 20 || header > packet.payload_size) return std::nullopt;
  TcpSegment segment;
  segment.source_port = read16(octets, 0);
  segment.destination_port = read16(octets, 2);
  segment.sequence = read32(octets, 4);
  segment.flags = octets[13];
  segment.payload = header < octets.size() ? octets.subspan(header) : Octets{};
  segment.payload_size = packet.payload_size - header;
  return segment;
}

std::optional<UdpDatagram> read_udp(const IpPacket& packet) noexcept {
  const Octets octets = packet.payload;
  if (packet.protocol != kIpUdp || octets.size() < 8) return std::nullopt;
  std::size_t length = read16(octets, 4);
  if (length == 0) length = packet.payload_size;  // a jumbogram or segmentation offload
  if (length < 8 || length > packet.payload_size) return std::nullopt;
  UdpDatagram datagram;
  datagram.source_port = read16(octets, 0);
  datagram.destination_port = read16(octets, 2);
  datagram.payload = octets.subspan(8, std::min(length, octets.size()) - 8);
  datagram.payload_size = length - 8;
  return datagram;
}

std::optional<IcmpMessage> read_icmp(const IpPacket& packet) noexcept {
  const bool icmp = packet.protocol == (packet.source.v4 ? kIpIcmp : kIpIcmp6);
  if (!icmp || packet.payload.size() < 4) return std::nullopt;
  return IcmpMessage{packet.payload[0], packet.payload[1], packet.payload_size < 8 ? 0 : packet.payload_size - 8};
}

}  // namespace sallyport::wire
