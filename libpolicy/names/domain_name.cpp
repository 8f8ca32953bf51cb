// One pass to the right copies, folds case and checks; one pass to the left hashes label by label, so that suffix n is
// suffix n-1 plus one label and the whole costs as much as hashing the name once.
//
// Road not taken: hashing each suffix on its own (quadratic in a name of 127 labels that a client chooses), and hashing
// octet by octet (FNV; 40 of the 60 ns of a lookup at 1,000 names). A label is read in words of eight octets and mixed
// by a 64x64 to 128 bit multiplication, as wyhash and rapidhash do.
#include "names/domain_name.hpp"

#include <array>
#include <cassert>
#include <cstring>
#include <type_traits>

#include "names/a_label.hpp"

namespace sallyport {
namespace {

static_assert(std::is_trivially_copyable_v<DomainName> && std::is_standard_layout_v<DomainName>);
static_assert(sizeof(DomainName) == 8 + 8 * DomainName::kStoredSuffixes + 8 + 256, "the layout of policy_name");

constexpr std::size_t kMaxLabel = 63;  // RFC 1035 §2.3.4
constexpr std::size_t kMaxWire = 255;  // RFC 1035 §2.3.4, length octets and the root included

// Lower-case form of each octet that a label may hold, 0 for every other. '_' is legal in DNS (RFC 2181 §11) and common
// below wildcard rules; '-' at the edge of a label breaks the rule for host names (RFC 952) but names in use have it,
// and it cannot be read in two ways.
constexpr std::array<std::uint8_t, 256> kFolded = [] {
  std::array<std::uint8_t, 256> table{};
  for (unsigned c = 'a'; c <= 'z'; ++c) table[c] = table[c - 'a' + 'A'] = static_cast<std::uint8_t>(c);
  for (unsigned c = '0'; c <= '9'; ++c) table[c] = static_cast<std::uint8_t>(c);
  table['-'] = '-';
  table['_'] = '_';
  return table;
}();

// Odd constants without structure: the fractional digits of pi, as Blowfish takes them.
constexpr std::uint64_t kStart = 0x243f6a8885a308d3;
constexpr std::uint64_t kFirst = 0x13198a2e03707345;
constexpr std::uint64_t kSecond = 0xa4093822299f31d1;
constexpr std::uint64_t kLength = 0x082efa98ec4e6c89;

std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t read8(const char* p) noexcept {
  std::uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

std::uint64_t read4(const char* p) noexcept {
  std::uint32_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

// The hash of "label.rest" from that of "rest". The label's length goes in, so "ab.c" and "a.bc" differ.
std::uint64_t extend(std::uint64_t rest, const char* label, std::size_t length) noexcept {
  std::uint64_t state = rest ^ kStart;
  const char* p = label;
  std::size_t left = length;
  while (left > 16) {
    state = mix(read8(p) ^ kFirst, read8(p + 8) ^ state);
    p += 16;
    left -= 16;
  }
  std::uint64_t a = 0;
  std::uint64_t b = 0;
  if (left >= 8) {  // both words overlap, which costs nothing and spares a loop over the tail
    a = read8(p);
    b = read8(p + left - 8);
  } else if (left >= 4) {
    a = read4(p);
    b = read4(p + left - 4);
  } else {
    a = static_cast<std::uint8_t>(p[0]) | std::uint64_t{static_cast<std::uint8_t>(p[left / 2])} << 8 |
        std::uint64_t{static_cast<std::uint8_t>(p[left - 1])} << 16;
  }
  return mix(mix(a ^ kFirst, b ^ state) ^ kSecond, length ^ kLength);
}

// The hashes of the shortest suffixes, as many as out holds. Returns how many.
unsigned hash_from_the_right(const char* text, std::size_t length, std::span<std::uint64_t> out) noexcept {
  std::uint64_t hash = 0;
  std::size_t end = length;
  for (unsigned n = 0; n < out.size();) {
    std::size_t start = end;
    while (start > 0 && text[start - 1] != '.') --start;
    hash = extend(hash, text + start, end - start);
    out[n++] = hash;
    if (start == 0) return n;
    end = start - 1;
  }
  return static_cast<unsigned>(out.size());
}

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool is_hex(char c) noexcept { return is_digit(c) || (c >= 'a' && c <= 'f'); }

// WHATWG URL, "ends in a number": what some program down the line would dial as an IPv4 address.
bool reads_as_number(std::string_view label) noexcept {
  if (label.starts_with("0x")) {
    label.remove_prefix(2);
    for (const char c : label) {
      if (!is_hex(c)) return false;
    }
    return true;
  }
  for (const char c : label) {
    if (!is_digit(c)) return false;
  }
  return true;
}

}  // namespace

// Takes labels from the left, each already delimited, and checks the whole at the end.
class DomainNameBuilder {
 public:
  // text_ holds the folded octets [start, end) as the next label, or fails.
  bool add_label(const char* octets, std::size_t length, std::size_t offset) noexcept {
    const std::size_t start = name_.labels_ == 0 ? 0 : name_.length_ + 1U;
    if (length > kMaxLabel) return fail(ErrorCode::kTooLong, "a label has more than 63 octets", offset);
    if (start + length > DomainName::kMaxOctets) {
      return fail(ErrorCode::kTooLong, "a name has more than 253 octets", offset);
    }
    if (start != 0) name_.text_[start - 1] = '.';
    for (std::size_t i = 0; i < length; ++i) {
      const std::uint8_t folded = kFolded[static_cast<std::uint8_t>(octets[i])];
      if (folded == 0) return fail(ErrorCode::kMalformed, "an octet that no name may hold", offset + i);
      name_.text_[start + i] = static_cast<char>(folded);
    }
    const std::string_view label(name_.text_.data() + start, length);
    if (label.starts_with("xn--")) {
      if (const char* why = why_not_an_a_label(label)) return fail(ErrorCode::kMalformed, why, offset);
    }
    name_.length_ = static_cast<std::uint8_t>(start + length);
    ++name_.labels_;
    last_label_ = label;
    last_offset_ = offset;
    return true;
  }

  Result<DomainName> finish() noexcept {
    if (reads_as_number(last_label_)) {
      fail(ErrorCode::kMalformed, "the last label is a number, so this reads as an address", last_offset_);
      return error_;
    }
    hash_from_the_right(name_.text_.data(), name_.length_, name_.suffix_hash_);
    return name_;
  }

  bool fail(ErrorCode code, const char* message, std::size_t offset) noexcept {
    error_ = Error{code, message, offset};
    return false;
  }

  const Error& error() const noexcept { return error_; }

 private:
  DomainName name_;
  std::string_view last_label_;
  std::size_t last_offset_ = 0;
  Error error_;
};

Result<DomainName> DomainName::parse(std::string_view presentation) noexcept {
  std::string_view text = presentation;
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.empty()) return Error{ErrorCode::kMalformed, "the name is empty", 0};
  DomainNameBuilder builder;
  std::size_t start = 0;
  while (true) {
    std::size_t end = start;
    while (end < text.size() && text[end] != '.') ++end;  // labels are too short for memchr to pay
    if (end == start) return Error{ErrorCode::kMalformed, "a label is empty", start};
    if (!builder.add_label(text.data() + start, end - start, start)) return builder.error();
    if (end == text.size()) return builder.finish();
    start = end + 1;
  }
}

unsigned DomainName::hash_suffixes(std::string_view canonical, std::span<std::uint64_t, kMaxLabels> out) noexcept {
  return hash_from_the_right(canonical.data(), canonical.size(), out);
}

bool DomainName::is_canonical(std::string_view text) noexcept {
  if (text.empty() || text.size() > kMaxOctets) return false;
  std::size_t start = 0;
  for (std::size_t at = 0; at <= text.size(); ++at) {
    if (at < text.size() && text[at] != '.') {
      const std::uint8_t folded = kFolded[static_cast<std::uint8_t>(text[at])];
      if (folded == 0 || folded != static_cast<std::uint8_t>(text[at])) return false;
      continue;
    }
    const std::string_view label = text.substr(start, at - start);
    if (label.empty() || label.size() > kMaxLabel) return false;
    if (label.starts_with("xn--") && why_not_an_a_label(label) != nullptr) return false;
    start = at + 1;
    if (at == text.size()) return !reads_as_number(label);
  }
  return false;
}

Result<DomainName> DomainName::from_wire(std::span<const std::uint8_t> wire) noexcept {
  DomainNameBuilder builder;
  std::size_t at = 0;
  while (true) {
    if (at >= wire.size()) return Error{ErrorCode::kIncomplete, "the name ends without a root label", at};
    const std::size_t length = wire[at];
    if (length == 0) break;
    if (length > kMaxLabel) return Error{ErrorCode::kMalformed, "a label is a pointer or of a reserved type", at};
    if (at + 1 + length >= kMaxWire) return Error{ErrorCode::kTooLong, "a name has more than 255 octets", at};
    if (length > wire.size() - at - 1) return Error{ErrorCode::kIncomplete, "a label runs past the end", at};
    if (!builder.add_label(reinterpret_cast<const char*>(wire.data() + at + 1), length, at + 1)) {
      return builder.error();
    }
    at += 1 + length;
  }
  if (at == 0) return Error{ErrorCode::kMalformed, "the root is no host", 0};
  if (at + 1 != wire.size()) return Error{ErrorCode::kMalformed, "octets after the root label", at + 1};
  return builder.finish();
}

std::string_view DomainName::suffix(unsigned n) const noexcept {
  assert(n >= 1 && n <= labels_);
  const std::string_view whole = text();
  if (n >= labels_) return whole;
  std::size_t dot = whole.size();
  for (; n > 0; --n) dot = whole.rfind('.', dot - 1);
  return whole.substr(dot + 1);
}

std::uint64_t DomainName::suffix_hash(unsigned n) const noexcept {
  assert(n >= 1 && n <= labels_);
  if (n <= kStoredSuffixes) return suffix_hash_[n - 1];
  const std::string_view deepest = suffix(n);
  std::size_t end = deepest.size() - suffix(kStoredSuffixes).size() - 1;  // the dot left of the stored part
  std::uint64_t hash = suffix_hash_[kStoredSuffixes - 1];
  while (true) {
    const std::size_t dot = deepest.substr(0, end).rfind('.');
    const std::size_t start = dot == std::string_view::npos ? 0 : dot + 1;
    hash = extend(hash, deepest.data() + start, end - start);
    if (start == 0) return hash;
    end = dot;
  }
}

bool DomainName::is_within(const DomainName& ancestor) const noexcept {
  if (length_ < ancestor.length_) return false;
  const std::size_t start = static_cast<std::size_t>(length_ - ancestor.length_);
  if (std::memcmp(text_.data() + start, ancestor.text_.data(), ancestor.length_) != 0) return false;
  return start == 0 || text_[start - 1] == '.';
}

}  // namespace sallyport
