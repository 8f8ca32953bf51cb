#include "wire/client_hello.hpp"

#include <algorithm>

#include "wire/authority.hpp"

namespace sallyport::wire {
namespace {

constexpr std::uint8_t kHandshakeRecord = 22;
constexpr std::uint8_t kClientHelloType = 1;
constexpr std::size_t kMaxRecord = 16384;  // plaintext records, RFC 8446 §5.1
constexpr std::size_t kMaxDnsName = 253;   // presentation form, RFC 1035 §2.3.4

enum ExtensionType : std::uint16_t {
  kServerName = 0,
  kAlpn = 16,
  kSessionTicket = 35,
  kPreSharedKey = 41,
  kEarlyData = 42,
  kSupportedVersions = 43,
  kEncryptedServerName = 0xffce,
};

// 0xfe0d is RFC 9849's number and that of drafts 13 on; 0xfe08 to 0xfe0c were those of drafts 8 to 12.
bool is_ech(std::uint16_t type) { return type >= 0xfe08 && type <= 0xfe0d; }

// RFC 8701: 0x0a0a, 0x1a1a, ... 0xfafa.
bool is_grease(std::uint16_t value) { return (value & 0x0f0f) == 0x0a0a && (value >> 8) == (value & 0xff); }

// Reads big-endian vectors. After a read past the end every later read fails too.
class Cursor {
 public:
  explicit Cursor(std::span<const std::uint8_t> octets) : octets_(octets) {}

  bool ok() const { return ok_; }
  bool empty() const { return octets_.empty(); }
  std::size_t left() const { return octets_.size(); }

  std::span<const std::uint8_t> take(std::size_t size) {
    if (size > octets_.size()) {
      ok_ = false;
      octets_ = {};
      return {};
    }
    const auto taken = octets_.first(size);
    octets_ = octets_.subspan(size);
    return taken;
  }
  std::uint8_t u8() {
    const auto octet = take(1);
    return octet.empty() ? std::uint8_t{0} : octet[0];
  }
  std::uint16_t u16() {
    const auto octets = take(2);
    return octets.empty() ? std::uint16_t{0} : static_cast<std::uint16_t>(octets[0] << 8 | octets[1]);
  }
  Cursor vector8() { return nested(take(u8())); }
  Cursor vector16() { return nested(take(u16())); }

 private:
  Cursor nested(std::span<const std::uint8_t> octets) const {
    Cursor inner(octets);
    inner.ok_ = ok_;
    return inner;
  }

  std::span<const std::uint8_t> octets_;
  bool ok_ = true;
};

std::string_view as_text(std::span<const std::uint8_t> octets) {
  return {reinterpret_cast<const char*>(octets.data()), octets.size()};
}

// Which extension types were seen. Hellos have fewer than 30; the bitmap is for those that have thousands, so that the
// cost stays linear.
class SeenTypes {
 public:
  // False if it was there.
  bool insert(std::uint16_t type) {
    if (size_ < few_.size()) {
      const auto end = few_.begin() + static_cast<std::ptrdiff_t>(size_);
      if (std::find(few_.begin(), end, type) != end) return false;
      few_[size_++] = type;
      return true;
    }
    if (many_.empty()) {
      many_.resize(65536);
      for (const std::uint16_t seen : few_) many_[seen] = true;
    }
    if (many_[type]) return false;
    many_[type] = true;
    return true;
  }

 private:
  std::array<std::uint16_t, 40> few_{};
  std::size_t size_ = 0;
  std::vector<bool> many_;
};

SniFault judge_name(std::string_view name) {
  if (name.empty()) return SniFault::kEmptyName;
  if (name.size() > kMaxDnsName) return SniFault::kTooLong;
  bool label_is_empty = true;
  for (const char c : name) {
    if (c == '\0') return SniFault::kNul;
    if (c == '.') {
      if (label_is_empty) return SniFault::kEmptyLabel;
      label_is_empty = true;
      continue;
    }
    const bool host_octet =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (!host_octet) return SniFault::kOctet;
    label_is_empty = false;
  }
  if (name.back() == '.') return SniFault::kTrailingDot;
  if (ends_in_number(name)) return SniFault::kAddress;
  return SniFault::kNone;
}

// RFC 6066 §3. A fault here is the name's, not the hello's: the caller refuses it with a reason of its own.
void read_server_name(std::span<const std::uint8_t> extension, ClientHello& hello) {
  hello.sni_state = SniState::kMalformed;
  Cursor data(extension);
  if (data.empty()) {
    hello.sni_fault = SniFault::kEmptyList;
    return;
  }
  Cursor list = data.vector16();
  if (!list.ok() || !data.empty()) {
    hello.sni_fault = SniFault::kLength;
    return;
  }
  if (list.empty()) {
    hello.sni_fault = SniFault::kEmptyList;
    return;
  }
  const std::uint8_t type = list.u8();
  if (type != 0) {
    hello.sni_fault = SniFault::kNameType;
    return;
  }
  const std::uint16_t size = list.u16();
  const auto name = list.take(size);
  if (!list.ok()) {
    hello.sni_fault = SniFault::kLength;
    return;
  }
  hello.sni = as_text(name);
  hello.sni_fault = list.empty() ? judge_name(hello.sni) : SniFault::kTwoNames;
  if (hello.sni_fault == SniFault::kNone) hello.sni_state = SniState::kPresent;
}

// Null if fine, else what is wrong.
const char* read_alpn(std::span<const std::uint8_t> extension, ClientHello& hello) {
  Cursor data(extension);
  Cursor list = data.vector16();
  if (!list.ok() || !data.empty() || list.empty()) return "application_layer_protocol_negotiation has a wrong length";
  while (!list.empty()) {
    const std::uint8_t size = list.u8();
    const auto protocol = list.take(size);
    if (!list.ok() || protocol.empty())
      return "application_layer_protocol_negotiation has an empty or cut protocol name";
    if (hello.alpn_count < ClientHello::kMaxAlpn) hello.alpn[hello.alpn_count] = as_text(protocol);
    ++hello.alpn_count;
  }
  return nullptr;
}

const char* read_versions(std::span<const std::uint8_t> extension, ClientHello& hello) {
  Cursor data(extension);
  Cursor list = data.vector8();
  if (!list.ok() || !data.empty() || list.empty() || list.left() % 2 != 0)
    return "supported_versions has a wrong length";
  hello.highest_version = 0;
  while (!list.empty()) {
    const std::uint16_t version = list.u16();
    if (is_grease(version)) continue;
    hello.highest_version = std::max(hello.highest_version, version);
    if (hello.version_count < ClientHello::kMaxVersions) hello.versions[hello.version_count++] = version;
  }
  return nullptr;
}

const char* read_extensions(Cursor list, ClientHello& hello) {
  SeenTypes seen;
  bool two_server_names = false;
  while (!list.empty()) {
    const std::uint16_t type = list.u16();
    const std::uint16_t size = list.u16();
    const auto data = list.take(size);
    if (!list.ok()) return "an extension is longer than the list";
    if (hello.pre_shared_key) return "pre_shared_key is not the last extension";
    ++hello.extensions;
    if (!seen.insert(type)) {
      if (type != kServerName) return "an extension is there twice";
      two_server_names = true;
      continue;
    }
    const char* wrong = nullptr;
    if (type == kServerName) {
      read_server_name(data, hello);
    } else if (type == kAlpn) {
      wrong = read_alpn(data, hello);
    } else if (type == kSupportedVersions) {
      wrong = read_versions(data, hello);
    } else if (type == kSessionTicket) {
      hello.session_ticket = !data.empty();
    } else if (type == kPreSharedKey) {
      hello.pre_shared_key = true;
    } else if (type == kEarlyData) {
      hello.early_data = true;
    } else if (type == kEncryptedServerName) {
      hello.esni = true;
    } else if (is_ech(type)) {
      hello.ech = true;
    }
    if (wrong != nullptr) return wrong;
  }
  if (two_server_names) {
    hello.sni_state = SniState::kMalformed;
    hello.sni_fault = SniFault::kTwoExtensions;
  }
  return nullptr;
}

const char* read_hello(std::span<const std::uint8_t> body, ClientHello& hello) {
  Cursor cursor(body);
  hello.legacy_version = cursor.u16();
  hello.highest_version = hello.legacy_version;
  cursor.take(32);  // random
  if (!cursor.ok() || hello.legacy_version >> 8 != 3) return "the version is none of SSL 3 or TLS";
  const Cursor session = cursor.vector8();
  if (!session.ok() || session.left() > 32) return "the session id has a wrong length";
  const Cursor ciphers = cursor.vector16();
  if (!ciphers.ok() || ciphers.empty() || ciphers.left() % 2 != 0) return "the cipher suites have a wrong length";
  hello.cipher_suites = ciphers.left() / 2;
  Cursor compression = cursor.vector8();
  if (!compression.ok() || compression.empty()) return "the compression methods have a wrong length";
  bool null_method = false;
  while (!compression.empty()) null_method |= compression.u8() == 0;
  if (!null_method) return "the null compression method is missing";
  hello.sni_state = SniState::kAbsent;
  if (cursor.empty()) return nullptr;  // TLS 1.2 and older may have no extensions at all
  const Cursor extensions = cursor.vector16();
  if (!extensions.ok() || !cursor.empty()) return "the extensions have a wrong length";
  return read_extensions(extensions, hello);
}

}  // namespace

bool ClientHello::offers_alpn(std::string_view protocol) const noexcept {
  const auto end = alpn.begin() + static_cast<std::ptrdiff_t>(std::min(alpn_count, kMaxAlpn));
  return std::find(alpn.begin(), end, protocol) != end;
}

ClientHelloReader::State ClientHelloReader::feed(std::span<const std::uint8_t> octets) {
  while (state_ == State::kNeedMore && !octets.empty()) {
    if (consumed_ == kMaxStream) return fail(Failure::kTooLarge, "too many small records");
    if (record_left_ == 0) {
      ++consumed_;
      header_octet(octets.front());
      octets = octets.subspan(1);
      continue;
    }
    // The first four octets say how long the message is; they are taken one by one, so that a refusal comes at the same
    // octet for every split.
    const bool in_header = message_size_ == 0;
    const std::size_t wanted = in_header ? 1 : message_size_ - handshake_.size();
    const std::size_t size = std::min({wanted, record_left_, octets.size(), kMaxStream - consumed_});
    handshake_.insert(handshake_.end(), octets.begin(), octets.begin() + static_cast<std::ptrdiff_t>(size));
    octets = octets.subspan(size);
    consumed_ += size;
    record_left_ -= size;
    if (in_header) {
      if (handshake_[0] != kClientHelloType) return fail(Failure::kMalformed, "the first message is no ClientHello");
      if (handshake_.size() < 4) continue;
      message_size_ = 4 + (std::size_t{handshake_[1]} << 16 | std::size_t{handshake_[2]} << 8 | handshake_[3]);
      if (message_size_ > kMaxHandshake) return fail(Failure::kTooLarge, "the hello is over 64 KiB");
    }
    if (handshake_.size() == message_size_) return finish();
  }
  return state_;
}

ClientHelloReader::State ClientHelloReader::header_octet(std::uint8_t octet) noexcept {
  const bool first = handshake_.empty();
  const std::size_t at = header_size_;
  header_[at] = octet;
  ++header_size_;
  if (at == 0) {
    // The high bit is that of an SSLv2 record of two header octets; the next four tell.
    if (octet == kHandshakeRecord || (first && (octet & 0x80) != 0)) return state_;
    return first ? fail(Failure::kNotTls, "the first octet starts no TLS handshake")
                 : fail(Failure::kMalformed, "another record in the middle of the hello");
  }
  if (header_[0] != kHandshakeRecord) {
    if (at == 2 && octet != kClientHelloType) return fail(Failure::kNotTls, "the first octets start no TLS handshake");
    if (at == 3 && octet != 0 && octet != 3) return fail(Failure::kNotTls, "the first octets start no TLS handshake");
    if (at < 4) return state_;
    if (header_[3] == 0 && octet != 2) return fail(Failure::kNotTls, "the first octets start no TLS handshake");
    return fail(Failure::kSslV2, "an SSLv2-style hello");
  }
  if (at == 1 && octet != 3) {
    return first ? fail(Failure::kNotTls, "the record version is none of SSL 3 or TLS")
                 : fail(Failure::kMalformed, "the record version is none of SSL 3 or TLS");
  }
  if (at < 4) return state_;
  header_size_ = 0;
  record_left_ = std::size_t{header_[3]} << 8 | header_[4];
  if (record_left_ == 0) return fail(Failure::kMalformed, "an empty handshake record");
  if (record_left_ > kMaxRecord) return fail(Failure::kMalformed, "a record over 16384 octets");
  return state_;
}

ClientHelloReader::State ClientHelloReader::finish() {
  // A client has nothing more to say in the clear before the server answers (RFC 8446 §5.1 forbids it across a key
  // change).
  if (record_left_ != 0) return fail(Failure::kMalformed, "octets after the hello in its record");
  const char* wrong = read_hello(std::span(handshake_).subspan(4), hello_);
  if (wrong != nullptr) {
    hello_ = ClientHello();
    return fail(Failure::kMalformed, wrong);
  }
  return state_ = State::kDone;
}

ClientHelloReader::State ClientHelloReader::fail(Failure failure, const char* message) noexcept {
  failure_ = failure;
  message_ = message;
  return state_ = State::kFailed;
}

void ClientHelloReader::reset() noexcept {
  handshake_.clear();
  hello_ = ClientHello();
  state_ = State::kNeedMore;
  failure_ = Failure::kNone;
  message_ = "";
  consumed_ = header_size_ = record_left_ = message_size_ = 0;
}

std::string_view to_string(SniFault fault) noexcept {
  switch (fault) {
    case SniFault::kNone:
      return "none";
    case SniFault::kLength:
      return "a length that lies";
    case SniFault::kEmptyList:
      return "an empty list";
    case SniFault::kEmptyName:
      return "an empty name";
    case SniFault::kNameType:
      return "another name type than host_name";
    case SniFault::kTwoNames:
      return "two names";
    case SniFault::kTwoExtensions:
      return "two server_name extensions";
    case SniFault::kTrailingDot:
      return "a trailing dot";
    case SniFault::kNul:
      return "a NUL octet";
    case SniFault::kTooLong:
      return "over 253 octets";
    case SniFault::kOctet:
      return "an octet that no host name has";
    case SniFault::kEmptyLabel:
      return "an empty label";
    case SniFault::kAddress:
      return "an address";
  }
  return "unknown";
}

std::string_view to_string(ClientHelloReader::Failure failure) noexcept {
  switch (failure) {
    case ClientHelloReader::Failure::kNone:
      return "none";
    case ClientHelloReader::Failure::kNotTls:
      return "not TLS";
    case ClientHelloReader::Failure::kMalformed:
      return "malformed";
    case ClientHelloReader::Failure::kTooLarge:
      return "too large";
    case ClientHelloReader::Failure::kSslV2:
      return "SSLv2-style hello";
  }
  return "unknown";
}

}  // namespace sallyport::wire
