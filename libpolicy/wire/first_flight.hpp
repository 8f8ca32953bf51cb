// first_flight(): which protocol a client speaks, from its first octets. For ports where anything may be spoken.
//
// It errs on the side of TLS and HTTP: what any origin could read as one of them is called so, and the strict readers
// (client_hello.hpp, http_head.hpp) then refuse what is not well-formed. So every record type and version that some
// server takes before a ClientHello is TLS, and every octet outside 0x21 to 0x7e that some server takes for a blank is
// one. The price: a protocol whose first octets are 0x14 to 0x18 and 0x00 to 0x0f is taken for TLS. Length prefixes in
// network order start with 0x00; MongoDB's little-endian one can fall there (a hello of 276 to 280 octets). Threads
// Pure. The same octets plus more never change an answer other than kNeedMore and kOtherSoFar.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sallyport::wire {

enum class FirstFlight : std::uint8_t {
  kNeedMore = 0,
  kTls,    // a TLS record of any type and version, or an SSLv2-style hello
  kHttp,   // a request line, however sloppy
  kHttp2,  // the HTTP/2 connection preface (RFC 9113 §3.4): clear HTTP/2
  kOther,
  // Octets that no text holds, in a line that has not ended: what has come may be sent on at once, but a lenient HTTP
  // server may still see a request line here, so it is to be asked again with each octet that follows, before that is
  // sent on.
  kOtherSoFar,
};

// A line without its end that could still be a request line is undecided up to this size.
inline constexpr std::size_t kFirstLineLimit = 8 * 1024;  // request lines in practice; RFC 9112 §3 recommends as much

FirstFlight first_flight(std::string_view octets) noexcept;

}  // namespace sallyport::wire
