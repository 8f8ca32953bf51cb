#include "wire/http_head.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace sallyport::wire {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// tchar of RFC 9110 §5.6.2.
constexpr std::array<bool, 256> kTokenOctets = [] {
  std::array<bool, 256> table{};
  for (const char c :
       std::string_view("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}();
bool is_token_octet(char c) { return kTokenOctets[static_cast<unsigned char>(c)]; }
bool is_token(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_token_octet); }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equals_any_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Calls each(element) for "a, b, c". Empty elements are passed over (RFC 9110 §5.6.1.2). False if each() is.
template <typename Each>
bool for_each_element(std::string_view list, Each each) {
  while (true) {
    const std::size_t comma = list.find(',');
    const std::string_view element = trim(list.substr(0, comma));
    if (!element.empty() && !each(element)) return false;
    if (comma == list.npos) return true;
    list.remove_prefix(comma + 1);
  }
}

// Fields that say where a message ends or who it is for: as connection options they would be taken off on the way.
bool is_framing_name(std::string_view name) {
  return equals_any_case(name, "host") || equals_any_case(name, "content-length") ||
         equals_any_case(name, "transfer-encoding");
}

// A list of codings that ends in "chunked", which occurs once. Requests: that alone.
bool is_chunked(std::string_view value, bool response) {
  if (!response) return equals_any_case(value, "chunked");
  bool chunked = false;
  const bool fine = for_each_element(value, [&](std::string_view coding) {
    if (chunked) return false;
    chunked = equals_any_case(coding, "chunked");
    return is_token(coding);
  });
  return fine && chunked;
}

// White space around the value of a field, as it was sent.
bool has_tab_around(const HttpField& field) {
  for (const char* c = field.name.data() + field.name.size() + 1; c != field.value.data(); ++c) {
    if (*c == '\t') return true;
  }
  for (const char* c = field.value.data() + field.value.size(); *c != '\r'; ++c) {
    if (*c == '\t') return true;
  }
  return false;
}

// Digits alone, no leading zero, below 2^63: others compute with signed numbers.
bool read_content_length(std::string_view text, std::uint64_t& value) {
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (text.empty() || text.size() > 19 || (text.size() > 1 && text.front() == '0')) return false;
  value = 0;
  for (const char c : text) {
    if (!is_digit(c)) return false;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');  // 19 digits fit 64 bits
  }
  return value <= kMax;
}

// "HTTP/1.0" or "HTTP/1.1".
HttpFault read_version(std::string_view text, int& minor) {
  if (text == "HTTP/1.1") {
    minor = 1;
  } else if (text == "HTTP/1.0") {
    minor = 0;
  } else {
    return text.starts_with("HTTP/") ? HttpFault::kVersion : HttpFault::kStartLine;
  }
  return HttpFault::kNone;
}

bool is_target_octet(char c) { return c > 0x20 && c < 0x7f && c != '#'; }

HttpFault read_target(HttpRequestHead& head, std::size_t most) {
  const std::string_view target = head.target;
  if (target.size() > most) return HttpFault::kTargetTooLong;
  if (target.empty() || !std::all_of(target.begin(), target.end(), is_target_octet)) return HttpFault::kTarget;
  if (head.method == "CONNECT") {
    const Result<Authority> authority = parse_authority(target);
    if (!authority.ok() || !authority->port.has_value()) return HttpFault::kTarget;
    head.form = TargetForm::kAuthority;
    head.target_authority = *authority;
    return HttpFault::kNone;
  }
  if (target == "*") {
    if (head.method != "OPTIONS") return HttpFault::kTarget;
    head.form = TargetForm::kAsterisk;
    return HttpFault::kNone;
  }
  if (target.front() == '/') {
    head.form = TargetForm::kOrigin;
    head.path = target;
    return HttpFault::kNone;
  }
  const std::size_t colon = target.find("://");
  if (colon == target.npos || !is_alpha(target.front())) return HttpFault::kTarget;
  head.scheme = target.substr(0, colon);
  for (const char c : head.scheme) {
    if (!is_alpha(c) && !is_digit(c) && c != '+' && c != '-' && c != '.') return HttpFault::kTarget;
  }
  const std::size_t begin = colon + 3;
  const std::size_t end = std::min(target.find_first_of("/?", begin), target.size());
  const Result<Authority> authority = parse_authority(target.substr(begin, end - begin));
  if (!authority.ok()) return HttpFault::kTarget;
  head.form = TargetForm::kAbsolute;
  head.target_authority = *authority;
  head.path = target.substr(end);
  return HttpFault::kNone;
}

}  // namespace

const HttpField* HttpCommonHead::find(std::string_view name) const noexcept {
  for (const HttpField& field : fields) {
    if (equals_any_case(field.name, name)) return &field;
  }
  return nullptr;
}

namespace detail {

HttpState HttpHeadReader::read(std::string_view octets) {
  consumed_ = 0;
  if (state_ != HttpState::kNeedMore) return state_;
  // Copied at once, looked at one by one; what lies behind the head or a fault is cut off again.
  const std::size_t begin = buffer_.size();
  const std::string_view fits = octets.substr(0, limits_.head - begin);
  buffer_.insert(buffer_.end(), fits.begin(), fits.end());
  HttpFault fault = HttpFault::kNone;
  std::size_t at = begin;
  while (at < buffer_.size() && state_ == HttpState::kNeedMore && fault == HttpFault::kNone) {
    const char c = buffer_[at++];
    if (after_cr_ && c != '\n') {
      fault = HttpFault::kBareCr;
    } else if (c == '\n') {
      fault = after_cr_ ? end_of_line(at) : HttpFault::kBareLf;
      after_cr_ = false;
      line_begin_ = at;
    } else if (c == '\r') {
      after_cr_ = true;
    } else if ((static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f) {
      fault = HttpFault::kControlOctet;
    }
  }
  consumed_ = at - begin;
  buffer_.resize(at);
  if (fault != HttpFault::kNone) return fail(fault);
  if (state_ == HttpState::kNeedMore && consumed_ < octets.size()) return fail(HttpFault::kTooLarge);
  return state_;
}

HttpFault HttpHeadReader::end_of_line(std::size_t line_end) {
  const Span span{static_cast<std::uint32_t>(line_begin_), static_cast<std::uint32_t>(line_end - 2 - line_begin_)};
  const std::string_view line = view(span);
  if (!have_start_line_) {
    have_start_line_ = true;
    start_line_ = span;
    return check_start_line(line);
  }
  if (!line.empty()) return end_of_field_line(line);
  state_ = HttpState::kDone;
  return HttpFault::kNone;
}

HttpFault HttpHeadReader::end_of_field_line(std::string_view line) {
  if (line.front() == ' ' || line.front() == '\t') return HttpFault::kObsFold;
  if (fields_.size() >= limits_.fields) return HttpFault::kTooManyFields;
  const std::size_t colon = line.find(':');
  if (colon == line.npos) return HttpFault::kNoColon;
  const std::string_view name = line.substr(0, colon);
  if (!is_token(name)) {
    const bool blank = !name.empty() && (name.back() == ' ' || name.back() == '\t');
    return blank ? HttpFault::kSpaceBeforeColon : HttpFault::kFieldName;
  }
  const std::string_view value = trim(line.substr(colon + 1));
  const auto offset = [this](std::string_view part) {
    return static_cast<std::uint32_t>(part.data() - buffer_.data());
  };
  fields_.push_back({{offset(name), static_cast<std::uint32_t>(name.size())},
                     {offset(value), static_cast<std::uint32_t>(value.size())}});
  return HttpFault::kNone;
}

HttpState HttpHeadReader::fail(HttpFault fault) noexcept {
  fault_ = fault;
  return state_ = HttpState::kFailed;
}

void HttpHeadReader::restart() noexcept {
  buffer_.clear();
  fields_.clear();
  state_ = HttpState::kNeedMore;
  fault_ = HttpFault::kNone;
  consumed_ = line_begin_ = 0;
  have_start_line_ = after_cr_ = false;
  start_line_ = {};
}

void HttpHeadReader::fields_into(std::vector<HttpField>& out) const {
  out.clear();
  out.reserve(fields_.size());
  for (const FieldSpan& field : fields_) out.push_back({view(field.name), view(field.value)});
}

HttpFault HttpHeadReader::common_fields(HttpCommonHead& head, bool response) const noexcept {
  bool have_length = false, have_encoding = false;
  std::size_t upgrade_tokens = 0, websocket_tokens = 0;
  for (const HttpField& field : head.fields) {
    if (equals_any_case(field.name, "content-length")) {
      if (have_length || !read_content_length(field.value, head.content_length)) return HttpFault::kContentLength;
      have_length = true;
    } else if (equals_any_case(field.name, "transfer-encoding")) {
      if (have_encoding || head.minor_version == 0 || !is_chunked(field.value, response)) {
        return HttpFault::kTransferEncoding;
      }
      have_encoding = true;
    } else if (equals_any_case(field.name, "connection")) {
      const bool fine = for_each_element(field.value, [&](std::string_view token) {
        head.connection_close |= equals_any_case(token, "close");
        head.connection_keep_alive |= equals_any_case(token, "keep-alive");
        head.connection_upgrade |= equals_any_case(token, "upgrade");
        return is_token(token) && (limits_.rebuilt || !is_framing_name(token));
      });
      if (!fine) return HttpFault::kConnection;
    } else if (equals_any_case(field.name, "upgrade")) {
      if (head.upgrade.empty()) head.upgrade = field.value;
      const bool fine = for_each_element(field.value, [&](std::string_view protocol) {
        const std::size_t slash = protocol.find('/');
        const std::string_view name = protocol.substr(0, slash);
        head.upgrade_h2c |= equals_any_case(name, "h2c") || equals_any_case(name, "h2");
        websocket_tokens += equals_any_case(protocol, "websocket") ? 1 : 0;
        ++upgrade_tokens;
        return is_token(name) && (slash == protocol.npos || is_token(protocol.substr(slash + 1)));
      });
      if (!fine) return HttpFault::kConnection;
    } else if (equals_any_case(field.name, "http2-settings")) {
      head.upgrade_h2c = true;
    }
  }
  if (have_length && have_encoding) return HttpFault::kLengthAndEncoding;
  head.upgrade_websocket = upgrade_tokens == 1 && websocket_tokens == 1;
  head.keep_alive = !head.connection_close && (head.minor_version == 1 || head.connection_keep_alive);
  if (have_encoding) head.body = BodyKind::kChunked;
  if (have_length) head.body = BodyKind::kLength;  // also of 0: a response of length 0 does not run until the close
  return HttpFault::kNone;
}

}  // namespace detail

HttpState HttpRequestReader::feed(std::string_view octets) {
  const bool was_open = state() == HttpState::kNeedMore;
  if (read(octets) != HttpState::kDone || !was_open) return state();
  const HttpFault fault = finish();
  return fault == HttpFault::kNone ? state() : fail(fault);
}

void HttpRequestReader::reset() noexcept {
  restart();
  std::vector<HttpField> fields = std::move(head_.fields);
  fields.clear();
  head_ = HttpRequestHead();
  head_.fields = std::move(fields);
}

HttpFault HttpRequestReader::check_start_line(std::string_view line) noexcept {
  // Judged as soon as it is there; finish() reads it again, since the buffer may have moved by then.
  HttpRequestHead head;
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == line.npos || first == last) return HttpFault::kStartLine;
  head.method = line.substr(0, first);
  head.target = line.substr(first + 1, last - first - 1);
  if (head.method.size() > kMaxMethod || !is_token(head.method)) return HttpFault::kMethod;
  if (head.method == "PRI" && line.substr(last + 1) == "HTTP/2.0") return HttpFault::kHttp2Preface;
  const HttpFault version = read_version(line.substr(last + 1), head.minor_version);
  return version != HttpFault::kNone ? version : read_target(head, limits().target);
}

HttpFault HttpRequestReader::finish() {
  const std::string_view line = start_line();
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  head_.method = line.substr(0, first);
  head_.target = line.substr(first + 1, last - first - 1);
  HttpFault fault = read_version(line.substr(last + 1), head_.minor_version);
  if (fault == HttpFault::kNone) fault = read_target(head_, limits().target);
  if (fault != HttpFault::kNone) return fault;

  fields_into(head_.fields);
  for (const HttpField& field : head_.fields) {
    if (equals_any_case(field.name, "host")) {
      if (head_.has_host) return HttpFault::kTwoHosts;
      head_.has_host = true;
      if (has_tab_around(field)) return HttpFault::kHostMalformed;  // some origins keep it as part of the name
      head_.host_raw = field.value;
    } else if (equals_any_case(field.name, "expect")) {
      head_.expect = field.value;
      head_.expect_continue = equals_any_case(field.value, "100-continue");
    }
  }
  fault = common_fields(head_, false);
  if (fault != HttpFault::kNone) return fault;
  if (!head_.has_host && head_.minor_version == 1) return HttpFault::kHostMissing;
  if (head_.has_host) {
    const Result<Authority> host = parse_authority(head_.host_raw);
    if (!host.ok()) return HttpFault::kHostMalformed;
    head_.host = *host;
  }
  if (head_.body == BodyKind::kLength && head_.content_length == 0) head_.body = BodyKind::kNone;
  if (head_.form == TargetForm::kAuthority && head_.body != BodyKind::kNone) return HttpFault::kBodyNotAllowed;
  return HttpFault::kNone;
}

HttpState HttpResponseReader::feed(std::string_view octets, ResponseTo request) {
  const bool was_open = state() == HttpState::kNeedMore;
  if (read(octets) != HttpState::kDone || !was_open) return state();
  const HttpFault fault = finish(request);
  return fault == HttpFault::kNone ? state() : fail(fault);
}

void HttpResponseReader::reset() noexcept {
  restart();
  std::vector<HttpField> fields = std::move(head_.fields);
  fields.clear();
  head_ = HttpResponseHead();
  head_.fields = std::move(fields);
}

HttpFault HttpResponseReader::check_start_line(std::string_view line) noexcept {
  int minor = 0;
  const HttpFault version = read_version(line.substr(0, line.find(' ')), minor);
  if (version != HttpFault::kNone) return version;
  // "HTTP/1.1 200 OK"; servers leave out the space before an empty reason, and nobody reads that differently.
  if (line.size() < 12 || (line.size() > 12 && line[12] != ' ')) return HttpFault::kStartLine;
  if (line[9] < '1' || line[9] > '9' || !is_digit(line[10]) || !is_digit(line[11])) return HttpFault::kStartLine;
  return HttpFault::kNone;
}

HttpFault HttpResponseReader::finish(ResponseTo request) {
  const std::string_view line = start_line();
  HttpFault fault = read_version(line.substr(0, 8), head_.minor_version);
  if (fault != HttpFault::kNone) return fault;
  head_.status = static_cast<unsigned>((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
  head_.reason = line.size() > 13 ? line.substr(13) : std::string_view();
  fields_into(head_.fields);
  fault = common_fields(head_, true);
  if (fault != HttpFault::kNone) return fault;

  // RFC 9112 §6.3, in its order.
  const bool success = head_.status / 100 == 2;
  if (head_.status == 101 || (request == ResponseTo::kConnect && success)) {
    head_.body = BodyKind::kTunnel;
  } else if (request == ResponseTo::kHead || head_.status / 100 == 1 || head_.status == 204 || head_.status == 304) {
    head_.body = BodyKind::kNone;
  } else if (head_.body == BodyKind::kLength && head_.content_length == 0) {
    head_.body = BodyKind::kNone;
  } else if (head_.body == BodyKind::kNone) {
    head_.body = BodyKind::kUntilClose;
    head_.keep_alive = false;
  }
  return HttpFault::kNone;
}

}  // namespace sallyport::wire
