// One pass to the right copies, folds case and checks; one pass to the left hashes label by label, so that suffix n is
// suffix n-1 plus one label and the whole costs as much as hashing the name once.
//
// Road not taken: hashing each suffix on its own (quadratic in a name of 127 labels that a client chooses), and hashing
// octet by octet (FNV; 40 of the 60 ns of a lookup at 1,000 names). A label is found and read in words of eight octets
// and mixed by a 64x64 to 128 bit multiplication, as wyhash and rapidhash do; most labels are one word.
#include "names/domain_name.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <array>
#include <bit>
#include <cassert>
#include <cstring>
#include <type_traits>

#include "names/a_label.hpp"

namespace sallyport {
namespace {

static_assert(std::is_trivially_copyable_v<DomainName> && std::is_standard_layout_v<DomainName>);
static_assert(DomainName::kReadableBefore >= 32);
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

// Words are read that end where a label ends: what is in front of it, up to kReadableBefore octets, is shifted out.
static_assert(std::endian::native == std::endian::little, "the first octet of a word is its lowest");

// The hash of "label.rest" from that of "rest". The label's length goes in, so "ab.c" and "a.bc" differ; and a word
// that is not the last is mixed with another constant, so that a long label is not two short ones.
std::uint64_t extend(std::uint64_t rest, const char* label, std::size_t length) noexcept {
  std::uint64_t state = rest ^ (kStart + length * kLength);
  std::size_t left = length;
  for (; left > 8; left -= 8, label += 8) state = mix(read8(label) ^ kSecond, state);
  return mix(read8(label + left - 8) >> (64 - 8 * left) ^ kFirst, state);
}

#if defined(__SSE2__)

// A bit for each of the 16 octets in front of end that is a dot; the highest is the last octet.
constexpr std::size_t kDotsAtOnce = 16;
std::uint64_t dots(const char* end) noexcept {
  const __m128i octets = _mm_loadu_si128(reinterpret_cast<const __m128i*>(end - kDotsAtOnce));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(octets, _mm_set1_epi8('.'))));
}

#else

// Of 8 octets. Exact as far as canonical text goes: only '/' right behind a dot would be taken for one.
constexpr std::size_t kDotsAtOnce = 8;
std::uint64_t dots(const char* end) noexcept {
  constexpr std::uint64_t kOnes = 0x0101010101010101;
  const std::uint64_t zero_if_dot = read8(end - kDotsAtOnce) ^ kOnes * '.';
  const std::uint64_t high = (zero_if_dot - kOnes) & ~zero_if_dot & kOnes * 0x80;
  return high * 0x0002040810204081 >> 56;  // gathers the bits 7, 15, ...
}

#endif

// Where labels end in front, seen from the right: bit 63-n for a dot n octets before end, for the last 64 octets of a
// text, and for its start if that is nearer.
std::uint64_t edges_before(const char* end, std::size_t octets) noexcept {
  std::uint64_t all = 0;
  for (std::size_t read = 0; read < octets && read < 64; read += kDotsAtOnce) {
    all |= dots(end - read) << (64 - kDotsAtOnce - read);
  }
  if (octets >= 64) return all;
  const std::uint64_t start = std::uint64_t{1} << (63 - octets);
  return (all & (0 - start)) | start;
}

// Hashes and lengths of the shortest suffixes, as many as there is room for. Returns the hashes. All dots are found
// first: label by label, each would wait for the one before it.
unsigned hash_from_the_right(const char* text, std::size_t length, std::span<std::uint64_t> hashes,
                             DomainName::SuffixLengths& lengths) noexcept {
  std::uint64_t hash = 0;
  std::size_t left = length;
  for (unsigned n = 0;;) {
    std::uint64_t edges = edges_before(text + left, left);  // never 0: no label is longer than 63 octets
    do {
      const auto label = static_cast<std::size_t>(std::countl_zero(edges));
      left -= label;
      hash = extend(hash, text + left, label);
      if (n < lengths.size()) lengths[n] = static_cast<std::uint8_t>(length - left);
      hashes[n++] = hash;
      if (left == 0 || n == hashes.size()) return n;
      --left;
      edges = edges << label << 1;
    } while (edges != 0);
  }
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
    hash_from_the_right(name_.text_.data(), name_.length_, name_.suffix_hash_, name_.suffix_length_);
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

unsigned DomainName::hash_suffixes(std::string_view canonical, std::span<std::uint64_t, kMaxLabels> hashes,
                                   SuffixLengths& lengths) noexcept {
  return hash_from_the_right(canonical.data(), canonical.size(), hashes, lengths);
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
