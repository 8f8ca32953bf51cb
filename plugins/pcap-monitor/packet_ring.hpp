// PacketRing: what one interface sees, through a TPACKET_V3 ring in shared memory. It only ever receives.
//
// Form     The socket is opened with protocol 0, so that nothing arrives before it is bound to its interface; it is
// bound
//          once the ring is there. VLAN tags that the card took off are put back.
// Lifetime Frames are valid for the call.
// Threads  One at a time.
// Errors   Text. kernel_dropped() adds up what PACKET_STATISTICS says: the kernel resets it with every look.
// Source   packet(7), Documentation/networking/packet_mmap.rst.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace sallyport::monitor {

class PacketRing {
 public:
  static constexpr std::size_t kBlock = 1u << 18;  // a block is handed over when full, or after kBlockMs
  static constexpr unsigned kBlockMs = 100;

  using Frame =
      std::function<void(std::uint64_t time_ns, std::span<const std::uint8_t> frame, std::size_t wire_octets)>;

  // blocks: how many of kBlock octets; snaplen: octets kept of each frame.
  static std::unique_ptr<PacketRing> open(const std::string& interface, std::size_t blocks, std::size_t snaplen,
                                          std::string& error);
  ~PacketRing();
  PacketRing(const PacketRing&) = delete;
  PacketRing& operator=(const PacketRing&) = delete;

  int fd() const noexcept { return fd_; }  // readable: blocks are there
  // The blocks that are there, at most one round of the ring.
  void read(const Frame& frame);
  std::uint64_t kernel_dropped();
  bool failed() const noexcept { return failed_; }  // the interface went away

 private:
  PacketRing() = default;
  void read_block(std::uint8_t* block, const Frame& frame);

  int fd_ = -1;
  std::uint8_t* ring_ = nullptr;
  std::size_t blocks_ = 0, next_ = 0, snaplen_ = 0;
  std::uint64_t dropped_ = 0;
  bool failed_ = false;
  std::vector<std::uint8_t> tagged_;
};

}  // namespace sallyport::monitor
