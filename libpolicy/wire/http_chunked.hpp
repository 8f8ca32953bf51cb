// ChunkedReader: where a chunked body ends (RFC 9112 §7.1), and what its data is, for those who frame it anew.
//
// Form     chunk-size of 1 to 16 hex digits below 2^63, optional ";extension", CRLF; data; CRLF; last chunk; trailer
//          fields; CRLF. No white space after the size, no bare CR or LF, no control octets. Any split gives the same
//          outcome.
// Memory   None beyond itself: trailers and extensions are checked octet by octet and counted.
// Threads  One thread at a time.
// Errors   An HttpFault; the end of the body is then unknown, and the connection cannot go on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "wire/http_head.hpp"

namespace sallyport::wire {

class ChunkedReader {
 public:
  // Octets of all extensions of a body; nobody uses them but attackers.
  static constexpr std::size_t kMaxExtensions = 16 * 1024;
  static constexpr std::size_t kMaxTrailers = 8 * 1024;

  // Takes octets up to the end of the body. After kDone or kFailed it takes nothing until reset().
  HttpState feed(std::string_view octets) noexcept;
  HttpState feed(std::span<const std::uint8_t> octets) noexcept {
    return feed(std::string_view(reinterpret_cast<const char*>(octets.data()), octets.size()));
  }

  // The same up to the end of the next run of data, which becomes `data` (a part of octets; empty: none came). Called
  // again with what is left until all is consumed.
  HttpState next(std::string_view octets, std::string_view& data) noexcept;

  HttpState state() const noexcept { return state_; }
  HttpFault fault() const noexcept { return fault_; }
  std::size_t consumed() const noexcept { return consumed_; }      // octets of the last feed() that belong to the body
  std::uint64_t body_size() const noexcept { return body_size_; }  // data octets so far, framing left out
  void reset() noexcept { *this = ChunkedReader(); }

 private:
  enum class At : std::uint8_t {
    kSize,
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailerStart,
    kTrailerName,
    kTrailerValue,
    kTrailerLf,
    kLastLf
  };

  HttpFault octet(unsigned char c) noexcept;

  HttpState state_ = HttpState::kNeedMore;
  HttpFault fault_ = HttpFault::kNone;
  At at_ = At::kSize;
  std::uint8_t digits_ = 0;
  std::uint64_t left_ = 0;  // of the chunk
  std::uint64_t body_size_ = 0;
  std::size_t consumed_ = 0;
  std::size_t extension_octets_ = 0, trailer_octets_ = 0;
  std::uint8_t name_size_ = 0;
  char name_[24] = {};  // of the trailer field, lower case, as far as it fits: longer than any framing field's
};

}  // namespace sallyport::wire
