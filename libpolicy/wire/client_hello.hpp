// ClientHelloReader: what a TLS client asks for, read from the first octets of its stream.
//
// Form     TLS records of type handshake that together carry one ClientHello (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2),
//          split over TCP segments and records in any way. Any split of the same octets gives the same outcome.
// Memory   One buffer that grows with what has arrived, to kMaxHandshake at most; nothing is reserved on a peer's
//          word.
// Lifetime Views in hello() are valid while the reader lives and is not reset; moving the reader keeps them.
// Threads  One thread at a time.
// Errors   A Failure that maps to one audit reason. Nothing is repaired. A server name that is not one canonical host
//          name is no failure of the hello: hello().sni_state and sni_fault say what is wrong with it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sallyport::wire {

enum class SniState : std::uint8_t {
  kMalformed = 0,  // unset reads as the strictest
  kAbsent,
  kPresent,  // exactly one host name of host octets, no trailing dot, not an address
};

// Why a server_name extension is kMalformed (RFC 6066 §3).
enum class SniFault : std::uint8_t {
  kNone = 0,
  kLength,     // a length that lies, or octets after the list
  kEmptyList,  // the list or the whole extension is empty
  kEmptyName,
  kNameType,  // not host_name(0)
  kTwoNames,
  kTwoExtensions,
  kTrailingDot,
  kNul,
  kTooLong,  // over 253 octets: no DNS name is
  kOctet,    // anything but letters, digits, '-', '_' and '.'
  kEmptyLabel,
  kAddress,  // a last label that is a number: IPv4 in one of its spellings
};

std::string_view to_string(SniFault fault) noexcept;

struct ClientHello {
  static constexpr std::size_t kMaxAlpn = 8;      // kept; browsers send 2 or 3
  static constexpr std::size_t kMaxVersions = 8;  // kept; GREASE values are left out

  SniState sni_state = SniState::kMalformed;
  SniFault sni_fault = SniFault::kNone;
  std::string_view sni;  // as sent, in the client's case; for kMalformed what there is of it, unescaped, or empty

  // An encrypted_client_hello extension (0xfe0d or an earlier draft's number). GREASE looks the same on the wire.
  bool ech = false;
  bool esni = false;  // encrypted_server_name, 0xffce

  std::uint16_t legacy_version = 0;
  std::array<std::uint16_t, kMaxVersions> versions{};  // supported_versions, in the client's order
  std::size_t version_count = 0;                       // kept in versions
  // The highest version offered: of supported_versions if there is one, else legacy_version. GREASE does not count.
  std::uint16_t highest_version = 0;

  std::array<std::string_view, kMaxAlpn> alpn{};  // protocol names as sent
  std::size_t alpn_count = 0;                     // sent; min(alpn_count, kMaxAlpn) are kept

  bool session_ticket = false;  // a non-empty ticket (RFC 5077)
  bool pre_shared_key = false;
  bool early_data = false;
  std::size_t cipher_suites = 0, extensions = 0;  // how many were sent

  bool offers_alpn(std::string_view protocol) const noexcept;  // among those kept
};

class ClientHelloReader {
 public:
  // The message with its 4-octet header. Real hellos stay below 12 KiB; the format would allow 16 MiB.
  static constexpr std::size_t kMaxHandshake = 64 * 1024;
  // The stream with record headers. Records of one octet make it six times the hello: twice the cap carries the largest
  // hello in records of 5 octets and a post-quantum one in records of 1, and bounds what a caller has to hold back.
  static constexpr std::size_t kMaxStream = 2 * kMaxHandshake;

  enum class State : std::uint8_t { kNeedMore = 0, kDone, kFailed };
  enum class Failure : std::uint8_t {
    kNone = 0,
    kNotTls,     // the first octets are no TLS handshake record
    kMalformed,  // TLS that breaks its format, or another message than a ClientHello
    kTooLarge,   // over kMaxHandshake or kMaxStream
    kSslV2,      // an SSLv2-style hello (RFC 5246 appendix E.2), which has no server name
  };

  // Takes the next octets of the stream and says where it stands. After kDone or kFailed it changes nothing.
  State feed(std::span<const std::uint8_t> octets);
  State feed(std::string_view octets) {
    return feed(std::span(reinterpret_cast<const std::uint8_t*>(octets.data()), octets.size()));
  }

  State state() const noexcept { return state_; }
  Failure failure() const noexcept { return failure_; }
  const char* message() const noexcept { return message_; }  // static; what broke, for a log

  // Only after kDone.
  const ClientHello& hello() const noexcept { return hello_; }

  // Octets of the stream up to the end of the hello, or to where reading stopped. What follows is not looked at: early
  // data and a compatibility change_cipher_spec may come with the hello (RFC 8446 §4.2.10, appendix D.4).
  std::size_t consumed() const noexcept { return consumed_; }

  void reset() noexcept;

  ClientHelloReader() = default;
  ClientHelloReader(ClientHelloReader&&) = default;
  ClientHelloReader& operator=(ClientHelloReader&&) = default;
  ClientHelloReader(const ClientHelloReader&) = delete;  // the views of hello() would point into the other's buffer
  ClientHelloReader& operator=(const ClientHelloReader&) = delete;

 private:
  State fail(Failure failure, const char* message) noexcept;
  State header_octet(std::uint8_t octet) noexcept;
  State finish();

  State state_ = State::kNeedMore;
  Failure failure_ = Failure::kNone;
  const char* message_ = "";
  std::size_t consumed_ = 0;
  std::array<std::uint8_t, 5>
      header_{};  // of the record that is being read; of the first, also the start of an SSLv2 hello
  std::size_t header_size_ = 0;
  std::size_t record_left_ = 0;
  std::size_t message_size_ = 0;         // with its header; 0 until the header is in
  std::vector<std::uint8_t> handshake_;  // payloads of the records so far
  ClientHello hello_;
};

std::string_view to_string(ClientHelloReader::Failure failure) noexcept;

}  // namespace sallyport::wire
