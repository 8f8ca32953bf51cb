// Any split of a stream gives the same hello; a name said to be well-formed is one; nothing is read past the caps.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "split.hpp"
#include "wire/authority.hpp"
#include "wire/client_hello.hpp"
#include "wire/first_flight.hpp"

using namespace sallyport::wire;

namespace {

void expect_same(const ClientHelloReader& a, const ClientHelloReader& b) {
  CHECK(a.state() == b.state());
  CHECK(a.failure() == b.failure());
  CHECK(std::string_view(a.message()) == b.message());
  CHECK(a.consumed() == b.consumed());
  if (a.state() != ClientHelloReader::State::kDone) return;
  const ClientHello &x = a.hello(), &y = b.hello();
  CHECK(x.sni_state == y.sni_state && x.sni_fault == y.sni_fault && x.sni == y.sni);
  CHECK(x.ech == y.ech && x.esni == y.esni && x.highest_version == y.highest_version);
  CHECK(x.alpn_count == y.alpn_count && x.alpn == y.alpn && x.extensions == y.extensions);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view octets(reinterpret_cast<const char*>(data), size);
  ClientHelloReader whole;
  whole.feed(octets);
  ClientHelloReader pieces;
  for_each_piece(octets, [&](std::string_view piece) { pieces.feed(piece); });
  expect_same(whole, pieces);

  CHECK(whole.consumed() <= size && whole.consumed() <= ClientHelloReader::kMaxStream);
  if (whole.state() == ClientHelloReader::State::kNeedMore) CHECK(whole.consumed() == size);
  if (whole.failure() == ClientHelloReader::Failure::kNotTls) CHECK(whole.consumed() <= 5);
  if (whole.state() == ClientHelloReader::State::kDone) {
    const ClientHello& hello = whole.hello();
    CHECK(first_flight(octets) == FirstFlight::kTls);
    CHECK((hello.sni_state == SniState::kMalformed) == (hello.sni_fault != SniFault::kNone));
    if (hello.sni_state == SniState::kPresent) {
      const auto host = parse_authority(hello.sni);
      CHECK(host.ok() && host->kind == HostKind::kName && host->host == hello.sni);
    }
    if (hello.sni_state == SniState::kAbsent) CHECK(hello.sni.empty());
    CHECK(hello.legacy_version >> 8 == 3);
  }

  // The same octets as the body of a hello in one record reach the parser past the framing.
  if (size >= 1 && size <= 16000) {
    const std::size_t message = size + 4;
    std::string framed = {22,
                          3,
                          1,
                          static_cast<char>(message >> 8),
                          static_cast<char>(message),
                          1,
                          0,
                          static_cast<char>(size >> 8),
                          static_cast<char>(size)};
    framed += octets;
    ClientHelloReader in_one, in_pieces;
    in_one.feed(framed);
    for_each_piece(framed, [&](std::string_view piece) { in_pieces.feed(piece); });
    expect_same(in_one, in_pieces);
    CHECK(in_one.state() != ClientHelloReader::State::kNeedMore);
  }
  return 0;
}
