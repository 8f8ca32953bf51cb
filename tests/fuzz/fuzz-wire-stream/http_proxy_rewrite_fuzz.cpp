// The proxy's request path: what a head that was accepted means is what the rebuilt head says, in one way only.
#include <cstdint>
#include <string>
#include <string_view>

#include "http-proxy/credentials.hpp"
#include "http-proxy/rewrite.hpp"
#include "split.hpp"
#include "wire/http_head.hpp"

using namespace sallyport;
using wire::HttpState;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view octets(reinterpret_cast<const char*>(data), size);
  wire::HttpRequestReader reader(wire::HttpLimits{.rebuilt = true});
  if (reader.feed(octets) == HttpState::kDone) {
    const wire::HttpRequestHead& head = reader.head();
    (void)http_proxy::has_looped(head, "sallyport-1");
    if (const wire::HttpField* field = head.find("proxy-authorization")) (void)http_proxy::parse_basic(field->value);
    if (head.form != wire::TargetForm::kAuthority) {
      const bool websocket = head.upgrade_websocket && head.connection_upgrade;
      std::string out;
      http_proxy::rewrite_request(
          head, {.path = head.path, .authority = "a.test", .via = "sallyport-1", .websocket = websocket}, out);
      wire::HttpRequestReader again;
      const bool grew_too_large = out.size() > wire::kMaxHttpHead || head.fields.size() + 5 > wire::kMaxHttpFields ||
                                  head.path.size() + 1 > wire::kMaxRequestTarget;
      if (again.feed(out) != HttpState::kDone) {
        CHECK(grew_too_large);
        return 0;
      }
      const wire::HttpRequestHead& sent = again.head();
      CHECK(again.consumed() == out.size());
      CHECK(sent.method == head.method && sent.body == head.body && sent.content_length == head.content_length);
      CHECK(sent.host_raw == "a.test" && sent.minor_version == 1);
      CHECK(sent.target == "*" || sent.target.ends_with(head.path));
      CHECK(sent.upgrade_websocket == websocket && !sent.upgrade_h2c && sent.connection_upgrade == websocket);
      CHECK(http_proxy::has_looped(sent, "SALLYPORT-1"));
      for (const char* gone : {"proxy-authorization", "proxy-connection", "x-forwarded-for", "forwarded", "te",
                               "keep-alive", "trailer", "http2-settings"})
        CHECK(sent.find(gone) == nullptr);
    }
  }
  wire::HttpResponseReader response(wire::HttpLimits{.rebuilt = true});
  if (response.feed(octets, wire::ResponseTo::kOther) == HttpState::kDone && response.head().status != 101) {
    const wire::HttpResponseHead& head = response.head();
    http_proxy::Framing framing = http_proxy::Framing::kNone;
    if (head.body == wire::BodyKind::kLength) framing = http_proxy::Framing::kLength;
    if (head.body == wire::BodyKind::kChunked || head.body == wire::BodyKind::kUntilClose)
      framing = http_proxy::Framing::kChunked;
    std::string out;
    http_proxy::rewrite_response(head, {.framing = framing, .via = "sallyport-1", .keep_alive = true}, out);
    wire::HttpResponseReader again;
    if (again.feed(out, wire::ResponseTo::kOther) != HttpState::kDone) {
      CHECK(out.size() > wire::kMaxHttpHead || head.fields.size() + 3 > wire::kMaxHttpFields);
      return 0;
    }
    CHECK(again.consumed() == out.size() && again.head().status == head.status && again.head().keep_alive);
    CHECK(again.head().content_length == head.content_length);
    CHECK(again.head().body == (head.body == wire::BodyKind::kUntilClose ? wire::BodyKind::kChunked : head.body));
  }
  return 0;
}
