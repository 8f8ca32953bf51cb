// Readers of captured packets: link layer, IPv4 and IPv6, tunnels, TCP, UDP and ICMP. For observers; nothing is
// repaired.
//
// Form     What a capture holds may be cut (snaplen): sizes come from the headers, octets from what was captured, and
//          IpPacket::truncated() says that they differ.
// Lifetime Spans point into the octets that were given.
// Threads  Pure functions; no allocation; work is linear in the headers, and extension headers are at most
//          kMaxExtensionHeaders.
// Errors   nullopt: not this protocol, malformed, or cut before the header ended.
// Source   IEEE 802.1Q, RFC 791, RFC 8200, RFC 2784 and 2890 (GRE), RFC 2003 and 2473 (IP in IP), tcpdump's LINKTYPE
// list.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

namespace sallyport::wire {

// Values are those of libpcap's DLT_*, but kRaw, which has several there.
enum class LinkType : std::uint16_t {
  kLoopback = 0,
  kEthernet = 1,
  kRaw = 101,
  kLinuxCooked = 113,
  kLinuxCooked2 = 276
};

inline constexpr std::uint16_t kEtherIpv4 = 0x0800, kEtherIpv6 = 0x86dd, kEtherTransparentBridging = 0x6558;
inline constexpr std::uint8_t kIpIcmp = 1, kIpIpv4 = 4, kIpTcp = 6, kIpUdp = 17, kIpIpv6 = 41, kIpGre = 47,
                              kIpIcmp6 = 58;
inline constexpr int kMaxExtensionHeaders = 8;  // real packets have 0 to 2
inline constexpr int kMaxVlanTags = 4;          // QinQ has 2

struct PacketAddress {
  std::array<std::uint8_t, 16> octets{};  // network order; IPv4 in the first four, the rest 0
  bool v4 = true;
  friend auto operator<=>(const PacketAddress&, const PacketAddress&) = default;
};

// What a frame or a tunnel carries.
struct Carried {
  std::uint16_t ether_type = 0;
  std::span<const std::uint8_t> octets;
};

// The network packet in a frame; VLAN tags are passed over. The EtherType is that of what follows them, whatever it is.
std::optional<Carried> read_link(std::span<const std::uint8_t> frame, LinkType type) noexcept;

struct IpPacket {
  PacketAddress source, destination;
  std::uint8_t protocol = 0;  // of the payload, behind extension headers
  std::uint8_t hop_limit = 0;
  bool more_fragments = false;
  std::uint32_t fragment_offset = 0;  // octets
  std::uint32_t fragment_id = 0;
  std::span<const std::uint8_t> payload;  // what was captured of it, without link padding
  std::size_t payload_size = 0;           // as the header has it

  bool is_fragment() const noexcept { return more_fragments || fragment_offset != 0; }
  bool truncated() const noexcept { return payload.size() < payload_size; }
};

std::optional<IpPacket> read_ip(std::span<const std::uint8_t> octets) noexcept;  // by its version field

// What is inside a GRE, 4in4, 4in6, 6in4 or 6in6 packet that is no fragment. nullopt: no tunnel that is known here.
std::optional<Carried> read_tunnel(const IpPacket& packet) noexcept;

struct TcpSegment {
  static constexpr std::uint8_t kFin = 1, kSyn = 2, kRst = 4, kAck = 16;
  std::uint16_t source_port = 0, destination_port = 0;
  std::uint32_t sequence = 0;
  std::uint8_t flags = 0;
  std::span<const std::uint8_t> payload;
  std::size_t payload_size = 0;  // sent, captured or not
};
std::optional<TcpSegment> read_tcp(const IpPacket& packet) noexcept;

struct UdpDatagram {
  std::uint16_t source_port = 0, destination_port = 0;
  std::span<const std::uint8_t> payload;
  std::size_t payload_size = 0;
};
std::optional<UdpDatagram> read_udp(const IpPacket& packet) noexcept;

struct IcmpMessage {
  std::uint8_t type = 0, code = 0;
  std::size_t payload_size = 0;  // behind the 8 octets of the header

  bool is_echo_request(bool v4) const noexcept { return type == (v4 ? 8 : 128); }
};
std::optional<IcmpMessage> read_icmp(const IpPacket& packet) noexcept;

}  // namespace sallyport::wire
