// Heads as they go on: written anew from parsed fields, never passed through (ACCEPTANCE 1, Smuggling and Hop-by-hop).
//
//   left out   hop-by-hop fields and what Connection names (but never Host, lengths or a field that says who asks);
//              Proxy-*, X-Forwarded-*, Forwarded and the like: a client does not tell the outside who is behind it
//   our own    Host, the length, Connection, Upgrade (websocket alone), Via
//
// Threads  Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "wire/http_head.hpp"

namespace sallyport::http_proxy {

struct RequestRewrite {
  std::string_view path;       // of the target; "" is "/", or "*" for OPTIONS
  std::string_view authority;  // of Host
  std::string_view via;        // our pseudonym; empty: no Via is added
  bool websocket = false;      // the offer goes on
};
void rewrite_request(const wire::HttpRequestHead& head, const RequestRewrite& how, std::string& out);

enum class Framing : std::uint8_t { kNone = 0, kLength, kChunked, kClose };  // of the body that follows

struct ResponseRewrite {
  Framing framing = Framing::kNone;
  std::string_view via;
  bool keep_alive = false;  // of the client's connection
  bool client_is_10 = false;
  bool websocket = false;       // a 101 that was asked for
  bool length_of_none = false;  // HEAD, 304: Content-Length speaks of a body that is not sent
};
void rewrite_response(const wire::HttpResponseHead& head, const ResponseRewrite& how, std::string& out);

// A Via field that names this pseudonym: the request has been here before.
bool has_looped(const wire::HttpCommonHead& head, std::string_view via);

}  // namespace sallyport::http_proxy
