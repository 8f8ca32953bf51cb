// QuicInitials: the ClientHello of a QUIC connection, read from the client's Initial packets as any observer on the
// path can.
//
// Form     Versions 1 and 2. Packets in any order, coalesced or not; CRYPTO frames in any order over several datagrams.
//          Keys come from the client's first destination connection id (RFC 9001 §5.2, RFC 9369 §3.3.1), or from the
//          one that a Retry made it change to.
// Bounds   kMaxPackets packets are tried for each hello; StreamHead's bounds for what they carry.
// Threads  One at a time.
// Errors   unparsed(): an Initial that could not be read; what it would have said is not known.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "pcap-monitor/stream_head.hpp"
#include "wire/client_hello.hpp"
#include "wire/quic_initial.hpp"

namespace sallyport::monitor {

struct QuicKeys {
  std::array<std::uint8_t, 16> key{}, header_protection{};
  std::array<std::uint8_t, 12> iv{};
};
// The client's Initial keys. nullopt: the library refused.
std::optional<QuicKeys> derive_quic_keys(std::uint32_t version, std::span<const std::uint8_t> connection_id);
// The plaintext of a protected Initial; nullopt if it is not authentic under these keys.
std::optional<std::vector<std::uint8_t>> open_quic_initial(const QuicKeys& keys, std::span<const std::uint8_t> packet,
                                                           const wire::QuicLongHeader& header);

class QuicInitials {
 public:
  static constexpr int kMaxPackets = 64;

  enum class Outcome : std::uint8_t { kNotQuic = 0, kNothingNew, kMore, kHello, kUnparsed };
  // A datagram from the client. kHello: hello() is there; said once for each hello.
  Outcome add(std::span<const std::uint8_t> datagram);

  const wire::ClientHello& hello() const noexcept { return reader_.hello(); }
  std::uint32_t version() const noexcept { return version_; }
  bool done() const noexcept { return done_; }
  std::size_t memory() const noexcept { return crypto_.memory(); }

 private:
  Outcome add_initial(std::span<const std::uint8_t> packet, const wire::QuicLongHeader& header);
  void begin(const QuicKeys& keys, std::uint32_t version, std::span<const std::uint8_t> id);

  std::uint32_t version_ = 0;
  std::vector<std::uint8_t> first_id_;
  std::optional<QuicKeys> keys_;
  StreamHead crypto_;
  wire::ClientHelloReader reader_;
  std::vector<wire::QuicCryptoPiece> pieces_;
  int packets_ = 0;
  bool done_ = false;
};

}  // namespace sallyport::monitor
