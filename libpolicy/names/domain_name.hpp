// DomainName: the one canonical form of a name; every layer parses into it at the edge.
//
// Form     ASCII lower case, A-labels, no trailing dot, 1 to 253 octets, labels of 1 to 63 octets
//          (RFC 1035 §2.3.4, RFC 5890 §2.3.2.1). Letters, digits, '-' and '_' only.
// Threads  Immutable, trivially copyable; any thread may read it.
// Errors   kMalformed or kTooLong for anything ambiguous; nothing is repaired.
//
// The hashes of its suffixes are computed once, here: index, cache and ledger all reuse them (PERF.md, conclusion 3).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "result/result.hpp"

namespace sallyport {

class DomainName {
 public:
  static constexpr std::size_t kMaxOctets = 253;
  static constexpr std::size_t kMaxLabels = 127;
  static constexpr std::size_t kStoredSuffixes = 16;  // deeper suffixes are hashed when asked for; few names have them
  static constexpr std::size_t kMeasuredSuffixes = 6;

  // Presentation form as found in a policy, an SNI or a Host field: letters in either case, one trailing dot allowed.
  // U-labels are refused here; patterns (pattern.hpp) map them once, at load. Refused as well, here and in from_wire():
  // - a last label that reads as a number ("1.2.3.4", "127.1", "0x7f.1"; WHATWG URL): somewhere it would be an address;
  // - a label with "xn--" that is no A-label, or that its own decoding is not written as (a_label.hpp; about 1 us a
  // label).
  // '-' at the edge of a label is taken: no host name by RFC 952, but in use, and read in one way by all.
  static Result<DomainName> parse(std::string_view presentation) noexcept;

  // Uncompressed wire form (RFC 1035 §3.1), closing zero octet included. A dot or any other octet outside the form
  // above inside a label is kMalformed: it must never match as text.
  static Result<DomainName> from_wire(std::span<const std::uint8_t> wire) noexcept;

  // Whether text is that of some name, as it stands: parse() takes it and leaves it unchanged. Cheaper than parse(),
  // for those who need no hashes.
  static bool is_canonical(std::string_view text) noexcept;

  // What parse() would compute of a text known to be canonical, without the checks: for names by the million. The 32
  // octets in front of it may be read, whatever they are.
  // hashes[n-1] is suffix_hash(n), lengths[n-1] the octets of suffix(n); what is behind the last label stays as it is.
  // Returns the number of labels.
  using SuffixLengths = std::array<std::uint8_t, kMeasuredSuffixes>;
  static unsigned hash_suffixes(std::string_view canonical, std::span<std::uint64_t, kMaxLabels> hashes,
                                SuffixLengths& lengths) noexcept;
  static unsigned hash_suffixes(std::string_view canonical, std::span<std::uint64_t, kMaxLabels> hashes) noexcept {
    SuffixLengths lengths;
    return hash_suffixes(canonical, hashes, lengths);
  }

  // Valid while *this lives.
  std::string_view text() const noexcept { return {text_.data(), length_}; }
  unsigned labels() const noexcept { return labels_; }

  // The last n labels, 1 <= n <= labels(). Hashes are unkeyed and stable within one build; an index mixes in its own
  // seed.
  std::string_view suffix(unsigned n) const noexcept;
  std::uint64_t suffix_hash(unsigned n) const noexcept;
  std::uint64_t hash() const noexcept { return suffix_hash(labels_); }
  // suffix_hash(n) at n-1, for as many labels as the name has and are stored; 0 behind them.
  std::span<const std::uint64_t, kStoredSuffixes> stored_suffix_hashes() const noexcept { return suffix_hash_; }
  // The octets of suffix(n) at n-1; 0 behind the labels that the name has.
  const SuffixLengths& suffix_lengths() const noexcept { return suffix_length_; }
  // More than text_ in front of the end of the text may be read, not used: loads of a fixed size end there.
  static constexpr std::size_t kReadableBefore = 8 + 8 * kStoredSuffixes + 8;

  // Whole labels: "nottrusted.net" is not within "trusted.net". A name is within itself.
  bool is_within(const DomainName& ancestor) const noexcept;

  friend bool operator==(const DomainName& a, const DomainName& b) noexcept { return a.text() == b.text(); }

 private:
  friend class DomainNameBuilder;
  DomainName() = default;

  // The layout is that of policy_name in policy/abi.h (host/ asserts it): a canonical name crosses the ABI as it is.
  [[maybe_unused]] std::uint64_t seal_ = 0;  // of the host that issued it; names/ leaves it 0
  std::array<std::uint64_t, kStoredSuffixes> suffix_hash_{};
  std::uint8_t length_ = 0;
  std::uint8_t labels_ = 0;
  SuffixLengths suffix_length_{};
  std::array<char, 256> text_{};
};

}  // namespace sallyport
