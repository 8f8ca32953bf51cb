// QUIC Initial packets before and after decryption: long headers and frames. No cryptography here.
//
// Form     Versions 1 and 2; other versions are read as far as RFC 8999 fixes them.
// Lifetime Spans point into the datagram.
// Threads  Pure functions; no allocation; work is linear in the packet.
// Errors   nullopt: not such a packet, or malformed.
// Source   RFC 8999, RFC 9000 §17.2 and §12.4, RFC 9369.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace sallyport::wire {

inline constexpr std::uint32_t kQuicVersion1 = 1;
inline constexpr std::uint32_t kQuicVersion2 = 0x6b3343cf;
inline constexpr std::size_t kMaxConnectionId = 20;

enum class QuicPacketKind : std::uint8_t { kOther = 0, kInitial, kVersionNegotiation, kUnknownVersion };

struct QuicLongHeader {
  QuicPacketKind kind = QuicPacketKind::kOther;
  std::uint32_t version = 0;
  std::span<const std::uint8_t> destination_id, source_id;
  std::size_t number_offset = 0;  // kInitial: of the (protected) packet number, in the octets that were given
  std::size_t size = 0;           // of this packet; another may follow in the same datagram. 0: to its end
};

// A packet with a long header at the start of `octets`.
std::optional<QuicLongHeader> read_quic_long_header(std::span<const std::uint8_t> octets) noexcept;

struct QuicCryptoPiece {
  std::uint64_t offset = 0;
  std::span<const std::uint8_t> octets;
};

// The CRYPTO frames of an Initial's plaintext, in their order. At most kMaxCryptoPieces; more is malformed.
inline constexpr std::size_t kMaxCryptoPieces = 256;  // Chrome splits a hello into some 20, shuffled
bool read_quic_crypto(std::span<const std::uint8_t> plaintext, std::vector<QuicCryptoPiece>& pieces);

}  // namespace sallyport::wire
