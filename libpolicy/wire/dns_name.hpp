// WireName: a domain name as it stands in a DNS message, octets unchanged. What a client asked is echoed from here;
// what policy sees is the DomainName made from octets() (names/domain_name.hpp), which refuses most of what is legal
// here.
//
// Form     Uncompressed wire form, 1 to 255 octets with the closing zero octet; labels of 1 to 63 octets of any value
//          (RFC 1035 §3.1, RFC 2181 §11). The letters keep the case they came in.
// Threads  Plain values, stored in place; nothing here allocates but text().
// Errors   kTooLong (label over 63, name over 255), kMalformed (pointer where none may be, pointer not backwards,
// reserved
//          label type), kIncomplete (input ends inside the name); the offset is into the message.
// Source   RFC 1035 §4.1.4, RFC 4343 (case), RFC 9267 (how others went wrong with compression).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "result/result.hpp"

namespace sallyport::wire {

class WireName {
 public:
  static constexpr std::size_t kMaxOctets = 255;
  static constexpr std::size_t kMaxLabelOctets = 63;
  // Room for any name in presentation form: every octet as \DDD, and the dots.
  using TextBuffer = std::array<char, 1024>;

  WireName() = default;  // the root

  // The span is exactly one uncompressed name; octets after the closing zero are kMalformed.
  static Result<WireName> from_wire(std::span<const std::uint8_t> wire) noexcept;

  // "a.example.test", one trailing dot allowed, "." is the root. No escapes: a backslash is kMalformed.
  static Result<WireName> from_text(std::string_view text) noexcept;

  // Reads the name at offset and moves offset behind it (behind the first pointer, if there is one).
  // read(): a pointer is kMalformed; for the question of a query, where nothing comes before that it could point to.
  static Result<WireName> read(std::span<const std::uint8_t> message, std::size_t& offset) noexcept;
  // read_compressed(): every pointer leads strictly backwards, past the header, and at most one is spent per label, so
  // the work is bounded by the size of a name and not by the message.
  static Result<WireName> read_compressed(std::span<const std::uint8_t> message, std::size_t& offset) noexcept;

  // The whole name with its closing zero octet. Valid while *this lives.
  std::span<const std::uint8_t> octets() const noexcept { return {octets_.data(), length_}; }
  unsigned labels() const noexcept { return labels_; }  // the root has none
  bool is_root() const noexcept { return labels_ == 0; }

  // Whole labels, letters in either case; a name is within itself, and everything within the root.
  bool is_within(const WireName& ancestor) const noexcept;

  // Equal but for the case of ASCII letters (RFC 4343); has_same_case() also compares that.
  friend bool operator==(const WireName& a, const WireName& b) noexcept;
  bool has_same_case(const WireName& other) const noexcept;

  // Every letter's case taken from one bit of `bits`, in turn ("0x20"); bits are used up and start over when too few.
  WireName with_case(std::span<const std::uint8_t> bits) const noexcept;
  // Letters in lower case: the key of a cache.
  WireName lower() const noexcept;

  // Presentation form without the trailing dot ("." for the root), printable ASCII without quote: a dot inside a label
  // is
  // "\.", a backslash "\\", anything else unprintable "\DDD" (RFC 4343 §2.1). The view points into the buffer.
  std::string_view text(TextBuffer& buffer) const noexcept;
  std::string text() const;

 private:
  bool append_label(std::span<const std::uint8_t> label) noexcept;  // false: over 255 octets with the closing zero

  std::uint8_t length_ = 1;
  std::uint8_t labels_ = 0;
  std::array<std::uint8_t, kMaxOctets> octets_{};
};

}  // namespace sallyport::wire
