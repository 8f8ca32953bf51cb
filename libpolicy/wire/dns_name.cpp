#include "wire/dns_name.hpp"

#include <algorithm>
#include <cstring>

namespace sallyport::wire {
namespace {

// ASCII alone: what locale or Unicode call a letter is no letter in the DNS (RFC 4343 §3).
constexpr bool is_letter(std::uint8_t octet) { return (octet | 0x20) >= 'a' && (octet | 0x20) <= 'z'; }

// Length octets are at most 63 and so never letters: whole names can be compared octet by octet.
constexpr std::uint8_t to_lower(std::uint8_t octet) {
  return octet >= 'A' && octet <= 'Z' ? static_cast<std::uint8_t>(octet | 0x20) : octet;
}

bool equal_but_case(const std::uint8_t* a, const std::uint8_t* b, std::size_t octets) {
  for (std::size_t i = 0; i < octets; ++i)
    if (to_lower(a[i]) != to_lower(b[i])) return false;
  return true;
}

constexpr std::size_t kHeaderOctets = 12;  // no name starts before it

}  // namespace

bool WireName::append_label(std::span<const std::uint8_t> label) noexcept {
  // length_ counts the closing zero octet, whose place the new label takes; it moves behind.
  const std::size_t length = length_ + 1 + label.size();
  if (length > kMaxOctets) return false;
  std::uint8_t* out = octets_.data() + length_ - 1;
  *out++ = static_cast<std::uint8_t>(label.size());
  std::memcpy(out, label.data(), label.size());
  out[label.size()] = 0;
  length_ = static_cast<std::uint8_t>(length);
  ++labels_;
  return true;
}

Result<WireName> WireName::read(std::span<const std::uint8_t> message, std::size_t& offset) noexcept {
  WireName name;
  std::size_t at = offset;
  for (;;) {
    if (at >= message.size()) return Error{ErrorCode::kIncomplete, "name ends early", at};
    const std::uint8_t length = message[at];
    if (length == 0) break;
    if ((length & 0xc0) == 0xc0) return Error{ErrorCode::kMalformed, "compression pointer where none may be", at};
    if (length > kMaxLabelOctets) return Error{ErrorCode::kTooLong, "label over 63 octets", at};
    if (message.size() - at - 1 < length) return Error{ErrorCode::kIncomplete, "label ends early", at};
    if (!name.append_label(message.subspan(at + 1, length)))
      return Error{ErrorCode::kTooLong, "name over 255 octets", at};
    at += 1u + length;
  }
  offset = at + 1;
  return name;
}

Result<WireName> WireName::read_compressed(std::span<const std::uint8_t> message, std::size_t& offset) noexcept {
  WireName name;
  std::size_t at = offset;
  std::size_t after = 0;            // behind the first pointer
  std::size_t part_start = offset;  // a pointer must lead before the part of the name it ends
  bool pointed = false;             // the octet at `at` was reached by a pointer
  for (;;) {
    if (at >= message.size()) return Error{ErrorCode::kIncomplete, "name ends early", at};
    const std::uint8_t length = message[at];
    if (length == 0) break;
    if ((length & 0xc0) == 0xc0) {
      if (message.size() - at < 2) return Error{ErrorCode::kIncomplete, "compression pointer ends early", at};
      const std::size_t target = static_cast<std::size_t>(length & 0x3f) << 8 | message[at + 1];
      // No encoder points at a pointer: it would have copied it. Each pointer thus costs a label, of which there are at
      // most 127.
      if (pointed) return Error{ErrorCode::kMalformed, "compression pointer to a pointer", at};
      if (target < kHeaderOctets || target >= part_start)
        return Error{ErrorCode::kMalformed, "compression pointer that does not lead backwards", at};
      if (after == 0) after = at + 2;
      at = part_start = target;
      pointed = true;
      continue;
    }
    if (length > kMaxLabelOctets) return Error{ErrorCode::kMalformed, "reserved label type", at};
    if (message.size() - at - 1 < length) return Error{ErrorCode::kIncomplete, "label ends early", at};
    if (!name.append_label(message.subspan(at + 1, length)))
      return Error{ErrorCode::kTooLong, "name over 255 octets", at};
    at += 1u + length;
    pointed = false;
  }
  offset = after != 0 ? after : at + 1;
  return name;
}

Result<WireName> WireName::from_wire(std::span<const std::uint8_t> wire) noexcept {
  std::size_t offset = 0;
  Result<WireName> name = read(wire, offset);
  if (name.ok() && offset != wire.size()) return Error{ErrorCode::kMalformed, "octets after the name", offset};
  return name;
}

Result<WireName> WireName::from_text(std::string_view text) noexcept {
  WireName name;
  if (text == ".") return name;
  if (text.empty()) return Error{ErrorCode::kMalformed, "empty name", 0};
  if (text.back() == '.') text.remove_suffix(1);
  for (std::size_t start = 0; start <= text.size();) {
    const std::size_t end = std::min(text.find('.', start), text.size());
    const std::string_view label = text.substr(start, end - start);
    if (label.empty()) return Error{ErrorCode::kMalformed, "empty label", start};
    if (label.size() > kMaxLabelOctets) return Error{ErrorCode::kTooLong, "label over 63 octets", start};
    if (label.find('\\') != label.npos) return Error{ErrorCode::kMalformed, "backslash in a name", start};
    if (!name.append_label({reinterpret_cast<const std::uint8_t*>(label.data()), label.size()}))
      return Error{ErrorCode::kTooLong, "name over 255 octets", start};
    start = end + 1;
  }
  return name;
}

bool WireName::is_within(const WireName& ancestor) const noexcept {
  if (ancestor.labels_ > labels_) return false;
  std::size_t at = 0;
  for (unsigned skip = labels_ - ancestor.labels_; skip > 0; --skip) at += 1u + octets_[at];
  return length_ - at == ancestor.length_ &&
         equal_but_case(octets_.data() + at, ancestor.octets_.data(), ancestor.length_);
}

bool operator==(const WireName& a, const WireName& b) noexcept {
  return a.length_ == b.length_ && equal_but_case(a.octets_.data(), b.octets_.data(), a.length_);
}

bool WireName::has_same_case(const WireName& other) const noexcept {
  return length_ == other.length_ && std::memcmp(octets_.data(), other.octets_.data(), length_) == 0;
}

WireName WireName::with_case(std::span<const std::uint8_t> bits) const noexcept {
  WireName name = *this;
  if (bits.empty()) return name;
  std::size_t bit = 0;
  for (std::size_t i = 0; i < length_; ++i) {
    std::uint8_t& octet = name.octets_[i];
    if (!is_letter(octet)) continue;
    const bool upper = (bits[bit / 8 % bits.size()] >> bit % 8 & 1) != 0;
    octet = static_cast<std::uint8_t>(upper ? octet & ~0x20 : octet | 0x20);
    ++bit;
  }
  return name;
}

WireName WireName::lower() const noexcept {
  WireName name = *this;
  std::transform(name.octets_.begin(), name.octets_.begin() + length_, name.octets_.begin(), to_lower);
  return name;
}

std::string_view WireName::text(TextBuffer& buffer) const noexcept {
  if (is_root()) {
    buffer[0] = '.';
    return {buffer.data(), 1};
  }
  char* out = buffer.data();
  for (std::size_t at = 0; octets_[at] != 0; at += 1u + octets_[at]) {
    if (at != 0) *out++ = '.';
    for (std::size_t i = at + 1; i <= at + octets_[at]; ++i) {
      const std::uint8_t octet = octets_[i];
      if (octet == '.' || octet == '\\') {
        *out++ = '\\';
        *out++ = static_cast<char>(octet);
      } else if (octet > 0x20 && octet < 0x7f && octet != '"') {
        *out++ = static_cast<char>(octet);
      } else {
        *out++ = '\\';
        *out++ = static_cast<char>('0' + octet / 100);
        *out++ = static_cast<char>('0' + octet / 10 % 10);
        *out++ = static_cast<char>('0' + octet % 10);
      }
    }
  }
  return {buffer.data(), static_cast<std::size_t>(out - buffer.data())};
}

std::string WireName::text() const {
  TextBuffer buffer;
  return std::string(text(buffer));
}

}  // namespace sallyport::wire
