#include "wire/quic_initial.hpp"

namespace sallyport::wire {
namespace {

using Octets = std::span<const std::uint8_t>;

class Cursor {
 public:
  explicit Cursor(Octets octets) noexcept : octets_(octets) {}

  bool failed() const noexcept { return failed_; }
  bool at_end() const noexcept { return failed_ || offset_ == octets_.size(); }
  std::size_t offset() const noexcept { return offset_; }

  std::uint8_t octet() noexcept {
    const Octets one = take(1);
    return one.empty() ? 0 : one[0];
  }
  Octets take(std::uint64_t size) noexcept {
    if (failed_ || size > octets_.size() - offset_) {
      failed_ = true;
      return {};
    }
    const Octets out = octets_.subspan(offset_, static_cast<std::size_t>(size));
    offset_ += static_cast<std::size_t>(size);
    return out;
  }
  // RFC 9000 §16.
  std::uint64_t variable() noexcept {
    const std::uint8_t first = octet();
    std::uint64_t value = first & 0x3f;
    for (int left = (1 << (first >> 6)) - 1; left > 0 && !failed_; --left) value = value << 8 | octet();
    return value;
  }

 private:
  Octets octets_;
  std::size_t offset_ = 0;
  bool failed_ = false;
};

}  // namespace

std::optional<QuicLongHeader> read_quic_long_header(Octets octets) noexcept {
  Cursor cursor(octets);
  const std::uint8_t first = cursor.octet();
  if ((first & 0x80) == 0) return std::nullopt;
  QuicLongHeader header;
  for (int i = 0; i < 4; ++i) header.version = header.version << 8 | cursor.octet();
  header.destination_id = cursor.take(cursor.octet());
  header.source_id = cursor.take(cursor.octet());
  if (cursor.failed()) return std::nullopt;
  if (header.version == 0) {
    header.kind = QuicPacketKind::kVersionNegotiation;
    return header;
  }
  if (header.version != kQuicVersion1 && header.version != kQuicVersion2) {
    header.kind = QuicPacketKind::kUnknownVersion;
    return header;
  }
  if ((first & 0x40) == 0 || header.destination_id.size() > kMaxConnectionId ||
      header.source_id.size() > kMaxConnectionId)
    return std::nullopt;
  const unsigned type = first >> 4 & 3;
  const unsigned initial = header.version == kQuicVersion2 ? 1 : 0, retry = header.version == kQuicVersion2 ? 0 : 3;
  if (type == retry) return header;                     // to the end of the datagram
  if (type == initial) cursor.take(cursor.variable());  // the token
  const std::uint64_t length = cursor.variable();
  const std::size_t number_offset = cursor.offset();
  cursor.take(length);
  if (cursor.failed()) return std::nullopt;
  header.size = cursor.offset();
  if (type == initial) {
    header.kind = QuicPacketKind::kInitial;
    header.number_offset = number_offset;
  }
  return header;
}

bool read_quic_crypto(Octets plaintext, std::vector<QuicCryptoPiece>& pieces) {
  pieces.clear();
  Cursor cursor(plaintext);
  while (!cursor.at_end()) {
    const std::uint64_t type = cursor.variable();
    if (type == 0 || type == 1) continue;  // PADDING, PING
    if (type == 2 || type == 3) {          // ACK
      cursor.variable();
      cursor.variable();
      const std::uint64_t ranges = cursor.variable();
      cursor.variable();
      for (std::uint64_t i = 0; i < ranges && !cursor.failed(); ++i) {
        cursor.variable();
        cursor.variable();
      }
      for (int i = 0; type == 3 && i < 3; ++i) cursor.variable();
    } else if (type == 6) {
      QuicCryptoPiece piece;
      piece.offset = cursor.variable();
      piece.octets = cursor.take(cursor.variable());
      if (cursor.failed() || pieces.size() == kMaxCryptoPieces) return false;
      pieces.push_back(piece);
    } else if (type == 0x1c) {  // CONNECTION_CLOSE
      cursor.variable();
      cursor.variable();
      cursor.take(cursor.variable());
    } else {
      return false;  // no other frame may be in an Initial (RFC 9000 §12.4)
    }
  }
  return !cursor.failed();
}

}  // namespace sallyport::wire
