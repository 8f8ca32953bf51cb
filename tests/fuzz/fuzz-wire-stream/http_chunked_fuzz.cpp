// Whole and in pieces a chunked body ends at the same octet, and a simple decoder of what is accepted agrees on its
// size.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "split.hpp"
#include "wire/http_chunked.hpp"

using namespace sallyport::wire;

namespace {

// Reads a body that is known to be well-formed, the short way. Returns its data size and end.
std::pair<std::uint64_t, std::size_t> naive(const std::string& body) {
  std::uint64_t total = 0;
  std::size_t at = 0;
  while (true) {
    const std::uint64_t size = std::strtoull(body.c_str() + at, nullptr, 16);
    at = body.find("\r\n", at) + 2;
    if (size == 0) break;
    total += size;
    at += static_cast<std::size_t>(size) + 2;
  }
  while (body.compare(at, 2, "\r\n") != 0) at = body.find("\r\n", at) + 2;
  return {total, at + 2};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view octets(reinterpret_cast<const char*>(data), size);
  ChunkedReader whole, pieces;
  whole.feed(octets);
  std::size_t consumed = 0;
  for_each_piece(octets, [&](std::string_view piece) {
    pieces.feed(piece);
    consumed += pieces.consumed();
  });
  CHECK(whole.state() == pieces.state() && whole.fault() == pieces.fault() && whole.body_size() == pieces.body_size());
  CHECK(whole.consumed() == consumed);
  if (whole.state() == HttpState::kDone) {
    const auto [total, end] = naive(std::string(octets));
    CHECK(total == whole.body_size() && end == whole.consumed());
  }
  return 0;
}
