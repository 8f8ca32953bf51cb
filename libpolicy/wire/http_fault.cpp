#include "wire/http_head.hpp"

namespace sallyport::wire {

std::string_view to_string(HttpFault fault) noexcept {
  switch (fault) {
    case HttpFault::kNone:
      return "none";
    case HttpFault::kTooLarge:
      return "a head over 64 KiB";
    case HttpFault::kTooManyFields:
      return "over 1000 fields";
    case HttpFault::kTargetTooLong:
      return "a request target over 16 KiB";
    case HttpFault::kHttp2Preface:
      return "clear HTTP/2";
    case HttpFault::kVersion:
      return "neither HTTP/1.0 nor HTTP/1.1";
    case HttpFault::kStartLine:
      return "a malformed start line";
    case HttpFault::kMethod:
      return "a malformed method";
    case HttpFault::kTarget:
      return "a malformed request target";
    case HttpFault::kBareLf:
      return "a bare LF";
    case HttpFault::kBareCr:
      return "a bare CR";
    case HttpFault::kControlOctet:
      return "a control octet";
    case HttpFault::kObsFold:
      return "a folded line";
    case HttpFault::kSpaceBeforeColon:
      return "white space before a colon";
    case HttpFault::kFieldName:
      return "a malformed field name";
    case HttpFault::kNoColon:
      return "a field without a colon";
    case HttpFault::kHostMissing:
      return "no Host field";
    case HttpFault::kTwoHosts:
      return "two Host fields";
    case HttpFault::kHostMalformed:
      return "a malformed Host field";
    case HttpFault::kContentLength:
      return "a malformed or second Content-Length";
    case HttpFault::kTransferEncoding:
      return "a Transfer-Encoding other than one chunked";
    case HttpFault::kLengthAndEncoding:
      return "both Content-Length and Transfer-Encoding";
    case HttpFault::kConnection:
      return "a malformed Connection or Upgrade field";
    case HttpFault::kBodyNotAllowed:
      return "a body where none is allowed";
    case HttpFault::kChunkSize:
      return "a malformed chunk size";
    case HttpFault::kChunkEnd:
      return "a chunk that does not end with CRLF";
    case HttpFault::kChunkExtension:
      return "a malformed chunk extension";
    case HttpFault::kTrailer:
      return "a malformed trailer";
  }
  return "unknown";
}

}  // namespace sallyport::wire
