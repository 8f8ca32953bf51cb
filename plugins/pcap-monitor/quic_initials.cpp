#include "pcap-monitor/quic_initials.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstring>
#include <memory>
#include <string>

namespace sallyport::monitor {
namespace {

using Octets = std::span<const std::uint8_t>;
using Digest = std::array<std::uint8_t, 32>;

constexpr std::uint8_t kSaltV1[] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
                                    0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a};
constexpr std::uint8_t kSaltV2[] = {0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93,
                                    0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9};

bool hmac(Octets key, Octets data, Digest& out) {
  unsigned size = 0;
  return HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), data.data(), data.size(), out.data(), &size) !=
             nullptr &&
         size == out.size();
}

// HKDF-Expand-Label (RFC 8446 §7.1) with an empty context; one block of SHA-256 is enough for every key here.
bool expand(const Digest& secret, std::string_view label, std::span<std::uint8_t> out) {
  const std::string full = "tls13 " + std::string(label);
  std::vector<std::uint8_t> info = {0, static_cast<std::uint8_t>(out.size()), static_cast<std::uint8_t>(full.size())};
  info.insert(info.end(), full.begin(), full.end());
  info.push_back(0);
  info.push_back(1);
  Digest block;
  if (!hmac(secret, info, block)) return false;
  std::memcpy(out.data(), block.data(), out.size());
  return true;
}

struct FreeCipher {
  void operator()(EVP_CIPHER_CTX* context) const noexcept { EVP_CIPHER_CTX_free(context); }
};
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, FreeCipher>;

}  // namespace

std::optional<QuicKeys> derive_quic_keys(std::uint32_t version, Octets connection_id) {
  const bool v2 = version == wire::kQuicVersion2;
  Digest initial, client;
  QuicKeys keys;
  if (!hmac(v2 ? Octets(kSaltV2) : Octets(kSaltV1), connection_id, initial) || !expand(initial, "client in", client) ||
      !expand(client, v2 ? "quicv2 key" : "quic key", keys.key) ||
      !expand(client, v2 ? "quicv2 iv" : "quic iv", keys.iv) ||
      !expand(client, v2 ? "quicv2 hp" : "quic hp", keys.header_protection))
    return std::nullopt;
  return keys;
}

std::optional<std::vector<std::uint8_t>> open_quic_initial(const QuicKeys& keys, Octets packet,
                                                           const wire::QuicLongHeader& header) {
  constexpr std::size_t kTag = 16, kSample = 16;
  const std::size_t number_at = header.number_offset;
  if (header.size > packet.size() || header.size < number_at + 4 + kSample) return std::nullopt;
  // RFC 9001 §5.4: the mask is the sample, 4 octets behind the packet number's start, under AES-ECB.
  std::uint8_t mask[32];
  int got = 0;
  Cipher ecb(EVP_CIPHER_CTX_new());
  if (!ecb || EVP_EncryptInit_ex(ecb.get(), EVP_aes_128_ecb(), nullptr, keys.header_protection.data(), nullptr) != 1 ||
      EVP_EncryptUpdate(ecb.get(), mask, &got, packet.data() + number_at + 4, kSample) != 1)
    return std::nullopt;
  std::vector<std::uint8_t> associated(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(number_at));
  associated[0] ^= mask[0] & 0x0f;
  const std::size_t number_size = (associated[0] & 3u) + 1;
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < number_size; ++i) {
    associated.push_back(packet[number_at + i] ^ mask[1 + i]);
    number = number << 8 | associated.back();
  }
  std::array<std::uint8_t, 12> nonce = keys.iv;
  for (int i = 0; i < 8; ++i) nonce[11 - static_cast<std::size_t>(i)] ^= static_cast<std::uint8_t>(number >> (8 * i));
  const Octets sealed = packet.subspan(number_at + number_size, header.size - number_at - number_size);
  if (sealed.size() < kTag) return std::nullopt;
  std::vector<std::uint8_t> plain(sealed.size() - kTag + 1);
  std::uint8_t tag[kTag];
  std::memcpy(tag, sealed.data() + sealed.size() - kTag, kTag);
  Cipher gcm(EVP_CIPHER_CTX_new());
  int size = 0, last = 0;
  if (!gcm || EVP_DecryptInit_ex(gcm.get(), EVP_aes_128_gcm(), nullptr, keys.key.data(), nonce.data()) != 1 ||
      EVP_DecryptUpdate(gcm.get(), nullptr, &got, associated.data(), static_cast<int>(associated.size())) != 1 ||
      EVP_DecryptUpdate(gcm.get(), plain.data(), &size, sealed.data(), static_cast<int>(sealed.size() - kTag)) != 1 ||
      EVP_CIPHER_CTX_ctrl(gcm.get(), EVP_CTRL_GCM_SET_TAG, kTag, tag) != 1 ||
      EVP_DecryptFinal_ex(gcm.get(), plain.data() + size, &last) != 1)
    return std::nullopt;
  plain.resize(static_cast<std::size_t>(size + last));
  return plain;
}

void QuicInitials::begin(const QuicKeys& keys, std::uint32_t version, Octets id) {
  keys_ = keys;
  version_ = version;
  first_id_.assign(id.begin(), id.end());
  crypto_.clear();
  reader_.reset();
  packets_ = 0;
  done_ = false;
}

QuicInitials::Outcome QuicInitials::add(Octets datagram) {
  Outcome outcome = Outcome::kNotQuic;
  for (int coalesced = 0; coalesced < 8 && !datagram.empty(); ++coalesced) {
    const std::optional<wire::QuicLongHeader> header = wire::read_quic_long_header(datagram);
    if (!header) return outcome;
    if (outcome == Outcome::kNotQuic) outcome = Outcome::kNothingNew;
    if (header->kind == wire::QuicPacketKind::kUnknownVersion) return Outcome::kUnparsed;
    if (header->kind == wire::QuicPacketKind::kInitial) {
      outcome = std::max(outcome, add_initial(datagram.first(header->size), *header));
      if (outcome == Outcome::kHello) return outcome;
    }
    if (header->size == 0) return outcome;
    datagram = datagram.subspan(header->size);
  }
  return outcome;
}

QuicInitials::Outcome QuicInitials::add_initial(Octets packet, const wire::QuicLongHeader& header) {
  const bool other_id =
      !std::equal(first_id_.begin(), first_id_.end(), header.destination_id.begin(), header.destination_id.end());
  // The same ids after the hello: acknowledgements and repeats.
  if (keys_ && !other_id && version_ == header.version && done_) return Outcome::kNothingNew;
  if (++packets_ > kMaxPackets) return Outcome::kUnparsed;
  std::optional<std::vector<std::uint8_t>> plain;
  if (keys_ && version_ == header.version) plain = open_quic_initial(*keys_, packet, header);
  if (plain && done_) return Outcome::kNothingNew;
  if (!plain && (!keys_ || other_id || version_ != header.version)) {
    const std::optional<QuicKeys> keys = derive_quic_keys(header.version, header.destination_id);
    if (keys) plain = open_quic_initial(*keys, packet, header);
    if (plain) begin(*keys, header.version, header.destination_id);  // first, after a Retry, or another connection
  }
  if (!plain || !wire::read_quic_crypto(*plain, pieces_)) return Outcome::kUnparsed;
  bool grown = false;
  for (const wire::QuicCryptoPiece& piece : pieces_) grown = crypto_.add(piece.offset, piece.octets) > 0 || grown;
  if (!grown) return Outcome::kNothingNew;
  // The reader takes TLS records, and QUIC has none: the handshake is put into records of the largest size.
  constexpr std::size_t kRecord = 16384;
  reader_.reset();
  std::string_view left = crypto_.text();
  while (!left.empty() && reader_.state() == wire::ClientHelloReader::State::kNeedMore) {
    const std::string_view part = left.substr(0, kRecord);
    const char record[] = {0x16, 3, 1, static_cast<char>(part.size() >> 8), static_cast<char>(part.size() & 255)};
    reader_.feed(std::string_view(record, sizeof record));
    reader_.feed(part);
    left.remove_prefix(part.size());
  }
  if (reader_.state() == wire::ClientHelloReader::State::kNeedMore) return Outcome::kMore;
  done_ = true;
  crypto_.clear();
  return reader_.state() == wire::ClientHelloReader::State::kDone ? Outcome::kHello : Outcome::kUnparsed;
}

}  // namespace sallyport::monitor
