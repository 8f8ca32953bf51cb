// first_flight(): which protocol a client speaks, from its first octets. For ports where anything may be spoken.
//
// It errs on the side of TLS and HTTP: what an origin could read as one of them is called so, and the strict readers
// (client_hello.hpp, http_head.hpp) then refuse what is not well-formed.
// Threads  Pure. The same octets plus more never change an answer other than kNeedMore.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sallyport::wire {

enum class FirstFlight : std::uint8_t {
  kNeedMore = 0,
  kTls,    // a TLS handshake record, or an SSLv2-style hello
  kHttp,   // a request line, however sloppy
  kHttp2,  // the HTTP/2 connection preface (RFC 9113 §3.4): clear HTTP/2
  kOther,
};

// A line without its end that could still be a request line is kNeedMore up to this size, then kOther.
inline constexpr std::size_t kFirstLineLimit = 8 * 1024;  // request lines in practice; RFC 9112 §3 recommends as much

FirstFlight first_flight(std::string_view octets) noexcept;

}  // namespace sallyport::wire
