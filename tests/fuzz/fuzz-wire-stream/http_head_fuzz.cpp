// A connection of pipelined requests, read whole and in pieces, has the same requests and ends at the same octet.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "split.hpp"
#include "wire/first_flight.hpp"
#include "wire/http_chunked.hpp"
#include "wire/http_head.hpp"

using namespace sallyport::wire;

namespace {

// Follows every request of a connection, as the gateway does.
class Connection {
 public:
  void feed(std::string_view octets) {
    while (!octets.empty() && !failed_) {
      std::size_t used = 0;
      if (left_ > 0) {
        used = left_ < octets.size() ? static_cast<std::size_t>(left_) : octets.size();
        left_ -= used;
      } else if (in_chunks_) {
        const HttpState state = chunks_.feed(octets);
        used = chunks_.consumed();
        if (state == HttpState::kFailed) fail(chunks_.fault());
        if (state == HttpState::kDone) in_chunks_ = false;
      } else {
        const HttpState state = head_.feed(octets);
        used = head_.consumed();
        if (state == HttpState::kFailed) fail(head_.fault());
        if (state == HttpState::kDone) request();
      }
      CHECK(used > 0 && used <= octets.size());
      octets.remove_prefix(used);
    }
  }
  const std::string& log() const { return log_; }

 private:
  void request() {
    const HttpRequestHead& head = head_.head();
    CHECK(head.minor_version == 0 || head.has_host);
    CHECK(head.fields.size() <= kMaxHttpFields && head_.raw().size() <= kMaxHttpHead);
    CHECK(head_.raw().ends_with("\r\n\r\n") || head.fields.empty());
    CHECK(head_.raw().find('\0') == std::string_view::npos);
    CHECK(first_flight(head_.raw()) == FirstFlight::kHttp);
    for (const HttpField& field : head.fields)
      CHECK(!field.name.empty() && field.value.find('\n') == std::string_view::npos);
    if (head.body == BodyKind::kChunked) CHECK(head.minor_version == 1);
    log_ += std::string(head.method) + " " + std::string(head.target) + " " + std::string(head.host_raw) + " " +
            std::to_string(head.fields.size()) + " " + std::to_string(head.content_length) + "\n";
    left_ = head.body == BodyKind::kLength ? head.content_length : 0;
    in_chunks_ = head.body == BodyKind::kChunked;
    chunks_.reset();
    head_.reset();
  }
  void fail(HttpFault fault) {
    CHECK(fault != HttpFault::kNone);
    failed_ = true;
    log_ += to_string(fault);
  }

  HttpRequestReader head_;
  ChunkedReader chunks_;
  std::uint64_t left_ = 0;
  bool in_chunks_ = false, failed_ = false;
  std::string log_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view octets(reinterpret_cast<const char*>(data), size);
  Connection whole, pieces;
  whole.feed(octets);
  for_each_piece(octets, [&](std::string_view piece) { pieces.feed(piece); });
  CHECK(whole.log() == pieces.log());

  for (const ResponseTo to : {ResponseTo::kOther, ResponseTo::kHead, ResponseTo::kConnect}) {
    HttpResponseReader one, many;
    one.feed(octets, to);
    for_each_piece(octets, [&](std::string_view piece) { many.feed(piece, to); });
    CHECK(one.state() == many.state() && one.fault() == many.fault());
    if (one.state() != HttpState::kDone) continue;
    CHECK(one.raw() == many.raw() && one.head().status == many.head().status && one.head().body == many.head().body);
    CHECK(one.head().status >= 100 && one.head().status <= 999);  // any three digits pass: servers in the wild use them
  }
  return 0;
}
