// HttpRequestReader, HttpResponseReader: strict readers of HTTP/1.x heads (RFC 9112), fed as octets arrive.
//
// Form     HTTP/1.0 and HTTP/1.1 alone. Whatever two readers could take differently is a fault: bare CR or LF,
//          obs-fold, white space before a colon, control octets, two Host fields, two lengths. Any split of the same
//          octets gives the same outcome, and each octet is looked at once.
// Memory   One buffer of at most kMaxHttpHead octets and kMaxHttpFields fields, or HttpLimits; kept by reset() for the
//          next head.
// Lifetime Views in head() and raw() are valid until reset() or the reader's end; moving the reader keeps them.
// Threads  One thread at a time.
// Errors   An HttpFault. After one the connection cannot go on: where the next message begins is unknown.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "wire/authority.hpp"

namespace sallyport::wire {

inline constexpr std::size_t kMaxHttpHead = 64 * 1024;  // HAProxy and nginx take 16 to 32 KiB; large cookies need more
inline constexpr std::size_t kMaxHttpFields = 1000;     // real requests have below 60
inline constexpr std::size_t kMaxRequestTarget = 16 * 1024;
inline constexpr std::size_t kMaxMethod = 32;  // the longest registered one has 16

// Bounds of one reader, at most the above, and what its user does with a head.
struct HttpLimits {
  std::size_t head = kMaxHttpHead, fields = kMaxHttpFields, target = kMaxRequestTarget;
  // The head is not passed on as it came but written anew from its parsed fields: Connection may name Host or a length
  // then, since whoever writes the head never leaves those out (ACCEPTANCE HTP-24).
  bool rebuilt = false;
};

enum class HttpState : std::uint8_t { kNeedMore = 0, kDone, kFailed };

enum class HttpFault : std::uint8_t {
  kNone = 0,
  kTooLarge,
  kTooManyFields,
  kTargetTooLong,
  kHttp2Preface,  // "PRI * HTTP/2.0": clear HTTP/2
  kVersion,       // neither HTTP/1.0 nor HTTP/1.1
  kStartLine,     // not "method SP target SP version" or "version SP status SP reason", one space each
  kMethod,
  kTarget,  // none of the four forms, a form that the method does not take, '#', or an octet outside VCHAR
  kBareLf,
  kBareCr,
  kControlOctet,
  kObsFold,  // or white space before the first field
  kSpaceBeforeColon,
  kFieldName,  // empty, or with an octet outside tchar
  kNoColon,
  kHostMissing,  // in HTTP/1.1
  kTwoHosts,
  kHostMalformed,     // empty, a list, with a tab around it, or refused by parse_authority()
  kContentLength,     // empty, a sign, a list, leading zero, over 2^63 - 1, or given twice
  kTransferEncoding,  // anything but one "chunked" (responses: other codings before it), or any in HTTP/1.0
  kLengthAndEncoding,
  kConnection,      // a Connection or Upgrade field that is no list of tokens, or an option that names Host or a length
  kBodyNotAllowed,  // CONNECT with a body
  kChunkSize,       // the rest: ChunkedReader
  kChunkEnd,
  kChunkExtension,
  kTrailer,
};

std::string_view to_string(HttpFault fault) noexcept;  // for logs and audit detail; lower case, no full stop

struct HttpField {
  std::string_view name;   // as sent
  std::string_view value;  // without white space at its ends; octets above 0x7f may occur
};

enum class BodyKind : std::uint8_t {
  kNone = 0,
  kLength,      // content_length octets
  kChunked,     // ChunkedReader says where it ends
  kUntilClose,  // responses only
  kTunnel,      // no more HTTP on this connection: 101, or 2xx to CONNECT. Responses only
};

enum class TargetForm : std::uint8_t { kOrigin = 1, kAbsolute, kAuthority, kAsterisk };  // RFC 9112 §3.2

struct HttpCommonHead {
  int minor_version = 0;  // 0 or 1
  std::vector<HttpField> fields;
  BodyKind body = BodyKind::kNone;
  std::uint64_t content_length = 0;  // if body is kLength

  bool connection_close = false, connection_keep_alive = false, connection_upgrade = false;
  bool keep_alive = false;         // whether another message may follow (RFC 9112 §9.3)
  std::string_view upgrade;        // value of the first Upgrade field, or empty
  bool upgrade_h2c = false;        // any Upgrade token is h2c, or an HTTP2-Settings field is there
  bool upgrade_websocket = false;  // "websocket" is the only Upgrade token

  // The first field of that name in any case; nullptr if there is none.
  const HttpField* find(std::string_view name) const noexcept;
};

struct HttpRequestHead : HttpCommonHead {
  std::string_view method;
  std::string_view target;
  TargetForm form = TargetForm::kOrigin;

  // Absolute form: scheme as sent, and what follows the authority ("" if nothing does). Origin form: path is the
  // target.
  std::string_view scheme, path;
  // Absolute and authority form; the latter always has a port. Only if form says so.
  Authority target_authority;

  bool has_host = false;  // may be missing in HTTP/1.0
  std::string_view host_raw;
  Authority host;  // only if has_host

  std::string_view expect;       // value, or empty
  bool expect_continue = false;  // exactly "100-continue"
};

struct HttpResponseHead : HttpCommonHead {
  unsigned status = 0;  // 100 to 999; readers take an unknown class as x00 (RFC 9110 §15)
  std::string_view reason;
};

namespace detail {

// Splits octets into lines and lines into fields; what a start line and a whole head mean is the derived reader's.
class HttpHeadReader {
 public:
  HttpState state() const noexcept { return state_; }
  HttpFault fault() const noexcept { return fault_; }
  // How many octets of the last feed() belong to the head. What follows them is body or the next message.
  std::size_t consumed() const noexcept { return consumed_; }
  // The head as it was sent, closing empty line included; after kDone.
  std::string_view raw() const noexcept { return {buffer_.data(), buffer_.size()}; }

  HttpHeadReader(HttpHeadReader&&) = default;
  HttpHeadReader& operator=(HttpHeadReader&&) = default;
  HttpHeadReader(const HttpHeadReader&) = delete;  // views would point into the other's buffer
  HttpHeadReader& operator=(const HttpHeadReader&) = delete;

 protected:
  struct Span {
    std::uint32_t begin = 0, size = 0;
  };
  struct FieldSpan {
    Span name, value;
  };

  explicit HttpHeadReader(const HttpLimits& limits) noexcept
      : limits_{std::min(limits.head, kMaxHttpHead), std::min(limits.fields, kMaxHttpFields),
                std::min(limits.target, kMaxRequestTarget), limits.rebuilt} {}
  ~HttpHeadReader() = default;

  // Reads until the closing empty line is in the buffer; then kDone, and the derived reader judges the whole.
  HttpState read(std::string_view octets);
  HttpState fail(HttpFault fault) noexcept;
  void restart() noexcept;

  std::string_view view(Span span) const noexcept { return {buffer_.data() + span.begin, span.size}; }
  std::string_view start_line() const noexcept { return view(start_line_); }
  void fields_into(std::vector<HttpField>& out) const;
  // Content-Length, Transfer-Encoding, Connection and Upgrade, which mean the same in both directions.
  HttpFault common_fields(HttpCommonHead& head, bool response) const noexcept;

  const HttpLimits& limits() const noexcept { return limits_; }
  virtual HttpFault check_start_line(std::string_view line) noexcept = 0;

 private:
  HttpFault end_of_line(std::size_t line_end);
  HttpFault end_of_field_line(std::string_view line);

  HttpLimits limits_;
  HttpState state_ = HttpState::kNeedMore;
  HttpFault fault_ = HttpFault::kNone;
  std::size_t consumed_ = 0;
  std::vector<char> buffer_;
  std::size_t line_begin_ = 0;
  bool have_start_line_ = false;
  bool after_cr_ = false;
  Span start_line_;
  std::vector<FieldSpan> fields_;
};

}  // namespace detail

class HttpRequestReader final : public detail::HttpHeadReader {
 public:
  HttpRequestReader() noexcept : HttpRequestReader(HttpLimits{}) {}
  explicit HttpRequestReader(const HttpLimits& limits) noexcept : HttpHeadReader(limits) {}

  // Takes octets up to the end of the head. After kDone or kFailed it takes nothing until reset().
  HttpState feed(std::string_view octets);
  HttpState feed(std::span<const std::uint8_t> octets) {
    return feed(std::string_view(reinterpret_cast<const char*>(octets.data()), octets.size()));
  }
  const HttpRequestHead& head() const noexcept { return head_; }  // only after kDone
  void reset() noexcept;                                          // for the next request on the connection

 private:
  HttpFault check_start_line(std::string_view line) noexcept override;
  HttpFault finish();

  HttpRequestHead head_;
};

// What the response answers decides whether it has a body (RFC 9112 §6.3).
enum class ResponseTo : std::uint8_t { kOther = 0, kHead, kConnect };

class HttpResponseReader final : public detail::HttpHeadReader {
 public:
  HttpResponseReader() noexcept : HttpResponseReader(HttpLimits{}) {}
  explicit HttpResponseReader(const HttpLimits& limits) noexcept : HttpHeadReader(limits) {}

  HttpState feed(std::string_view octets, ResponseTo request);
  HttpState feed(std::span<const std::uint8_t> octets, ResponseTo request) {
    return feed(std::string_view(reinterpret_cast<const char*>(octets.data()), octets.size()), request);
  }
  // Only after kDone. status 1xx other than 101: another response to the same request follows.
  const HttpResponseHead& head() const noexcept { return head_; }
  void reset() noexcept;

 private:
  HttpFault check_start_line(std::string_view line) noexcept override;
  HttpFault finish(ResponseTo request);

  HttpResponseHead head_;
};

}  // namespace sallyport::wire
