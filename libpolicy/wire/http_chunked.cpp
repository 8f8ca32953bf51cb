#include "wire/http_chunked.hpp"

#include <algorithm>

namespace sallyport::wire {
namespace {

int hex_value(unsigned char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_token_octet(unsigned char c) {
  if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
  return c != 0 && std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
}

bool is_control(unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; }

// A trailer that a lenient reader merges into the head must not change where a message ends or whom it is for.
bool is_framing_field(std::string_view name) {
  return name == "content-length" || name == "transfer-encoding" || name == "host" || name == "connection" ||
         name == "trailer" || name == "upgrade";
}

}  // namespace

HttpState ChunkedReader::feed(std::string_view octets) noexcept {
  std::size_t consumed = 0;
  std::string_view data;
  do {
    next(octets.substr(consumed), data);
    consumed += consumed_;
  } while (state_ == HttpState::kNeedMore && consumed < octets.size());
  consumed_ = consumed;
  return state_;
}

HttpState ChunkedReader::next(std::string_view octets, std::string_view& data) noexcept {
  consumed_ = 0;
  data = {};
  while (state_ == HttpState::kNeedMore && consumed_ < octets.size()) {
    if (at_ == At::kData) {
      const std::uint64_t size = std::min<std::uint64_t>(left_, octets.size() - consumed_);
      data = octets.substr(consumed_, static_cast<std::size_t>(size));
      left_ -= size;
      body_size_ += size;
      consumed_ += static_cast<std::size_t>(size);
      if (left_ == 0) at_ = At::kDataCr;
      break;
    }
    fault_ = octet(static_cast<unsigned char>(octets[consumed_++]));
    if (fault_ != HttpFault::kNone) state_ = HttpState::kFailed;
  }
  return state_;
}

// One octet of framing. Data octets are passed over by feed().
HttpFault ChunkedReader::octet(unsigned char c) noexcept {
  switch (at_) {
    case At::kSize: {
      const int value = hex_value(c);
      if (value >= 0) {
        // 16 digits with the highest bit clear: a signed reader computes the same.
        if (digits_ == 16 || left_ >> 59 != 0) return HttpFault::kChunkSize;
        left_ = left_ << 4 | static_cast<std::uint64_t>(value);
        ++digits_;
        return HttpFault::kNone;
      }
      if (digits_ == 0 || (c != '\r' && c != ';')) return HttpFault::kChunkSize;
      at_ = c == ';' ? At::kExtension : At::kSizeLf;
      return HttpFault::kNone;
    }
    case At::kExtension:
      if (c == '\r') {
        at_ = At::kSizeLf;
        return HttpFault::kNone;
      }
      if (is_control(c) || ++extension_octets_ > kMaxExtensions) return HttpFault::kChunkExtension;
      return HttpFault::kNone;
    case At::kSizeLf:
      if (c != '\n') return HttpFault::kChunkSize;
      digits_ = 0;
      // The sum may pass 64 bits only after 2^63 octets of data; the count is for the audit.
      at_ = left_ == 0 ? At::kTrailerStart : At::kData;
      return HttpFault::kNone;
    case At::kData:
      return HttpFault::kNone;
    case At::kDataCr:
      if (c != '\r') return HttpFault::kChunkEnd;
      at_ = At::kDataLf;
      return HttpFault::kNone;
    case At::kDataLf:
      if (c != '\n') return HttpFault::kChunkEnd;
      at_ = At::kSize;
      return HttpFault::kNone;
    case At::kTrailerStart:
      if (c == '\r') {
        at_ = At::kLastLf;
        return HttpFault::kNone;
      }
      name_size_ = 0;
      at_ = At::kTrailerName;
      [[fallthrough]];
    case At::kTrailerName:
      if (++trailer_octets_ > kMaxTrailers) return HttpFault::kTrailer;
      if (c == ':') {
        if (name_size_ == 0 || is_framing_field({name_, std::min<std::size_t>(name_size_, sizeof name_)})) {
          return HttpFault::kTrailer;
        }
        at_ = At::kTrailerValue;
        return HttpFault::kNone;
      }
      if (!is_token_octet(c)) return HttpFault::kTrailer;
      if (name_size_ < sizeof name_) name_[name_size_++] = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
      return HttpFault::kNone;
    case At::kTrailerValue:
      if (c == '\r') {
        at_ = At::kTrailerLf;
        return HttpFault::kNone;
      }
      if (is_control(c) || ++trailer_octets_ > kMaxTrailers) return HttpFault::kTrailer;
      return HttpFault::kNone;
    case At::kTrailerLf:
      if (c != '\n') return HttpFault::kTrailer;
      at_ = At::kTrailerStart;
      return HttpFault::kNone;
    case At::kLastLf:
      if (c != '\n') return HttpFault::kTrailer;
      state_ = HttpState::kDone;
      return HttpFault::kNone;
  }
  return HttpFault::kChunkSize;
}

}  // namespace sallyport::wire
