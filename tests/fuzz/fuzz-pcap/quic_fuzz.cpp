// Datagrams of a client: each preceded by two octets of length. Any of them may be anything.
#include <cstdint>
#include <cstdlib>

#include "pcap-monitor/quic_initials.hpp"

using namespace sallyport;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::span<const std::uint8_t> left(data, size);
  monitor::QuicInitials initials;
  std::vector<wire::QuicCryptoPiece> pieces;
  wire::read_quic_crypto(left, pieces);  // as if it were the plaintext
  for (const wire::QuicCryptoPiece& piece : pieces) {
    if (piece.octets.size() > size) std::abort();
  }
  while (left.size() > 2) {
    const std::size_t length = std::min<std::size_t>(static_cast<std::size_t>(left[0] << 8 | left[1]), left.size() - 2);
    const auto outcome = initials.add(left.subspan(2, length));
    if (outcome == monitor::QuicInitials::Outcome::kHello && !initials.done()) std::abort();
    if (initials.memory() > 4 * monitor::StreamHead::kMost) std::abort();
    left = left.subspan(2 + length);
  }
  return 0;
}
