#include "pcap-monitor/packet_ring.hpp"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

namespace sallyport::monitor {

std::unique_ptr<PacketRing> PacketRing::open(const std::string& interface, std::size_t blocks, std::size_t snaplen,
                                             std::string& error) {
  const auto failed = [&](const char* what) {
    error = interface + ": " + what + ": " + std::strerror(errno);
    return nullptr;
  };
  std::unique_ptr<PacketRing> ring(new PacketRing);
  ring->snaplen_ = snaplen;
  ring->fd_ = ::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (ring->fd_ < 0) return failed("packet socket");
  ifreq request{};
  if (interface.size() >= sizeof request.ifr_name) {
    error = interface + ": no name of an interface";
    return nullptr;
  }
  std::memcpy(request.ifr_name, interface.data(), interface.size());
  if (::ioctl(ring->fd_, SIOCGIFINDEX, &request) != 0) return failed("no such interface");
  const int version = TPACKET_V3;
  if (::setsockopt(ring->fd_, SOL_PACKET, PACKET_VERSION, &version, sizeof version) != 0) return failed("TPACKET_V3");
  tpacket_req3 shape{};
  shape.tp_block_size = kBlock;
  shape.tp_block_nr = static_cast<unsigned>(blocks);
  shape.tp_frame_size = 2048;  // not used by version 3, but checked
  shape.tp_frame_nr = static_cast<unsigned>(kBlock / 2048 * blocks);
  shape.tp_retire_blk_tov = kBlockMs;
  if (::setsockopt(ring->fd_, SOL_PACKET, PACKET_RX_RING, &shape, sizeof shape) != 0) return failed("ring");
  void* mapped = ::mmap(nullptr, kBlock * blocks, PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd_, 0);
  if (mapped == MAP_FAILED) return failed("map");
  ring->ring_ = static_cast<std::uint8_t*>(mapped);
  ring->blocks_ = blocks;
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_protocol = htons(ETH_P_ALL);
  where.sll_ifindex = request.ifr_ifindex;
  if (::bind(ring->fd_, reinterpret_cast<sockaddr*>(&where), sizeof where) != 0) return failed("bind");
  packet_mreq all{};
  all.mr_ifindex = request.ifr_ifindex;
  all.mr_type = PACKET_MR_PROMISC;
  ::setsockopt(ring->fd_, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all,
               sizeof all);  // a bridge shows its own traffic without
  return ring;
}

PacketRing::~PacketRing() {
  if (ring_ != nullptr) ::munmap(ring_, kBlock * blocks_);
  if (fd_ >= 0) ::close(fd_);
}

void PacketRing::read(const Frame& frame) {
  for (std::size_t round = 0; round < blocks_; ++round) {
    std::uint8_t* block = ring_ + next_ * kBlock;
    auto* header = reinterpret_cast<tpacket_block_desc*>(block);
    std::atomic_ref<std::uint32_t> status(header->hdr.bh1.block_status);
    if ((status.load(std::memory_order_acquire) & TP_STATUS_USER) == 0) break;
    read_block(block, frame);
    status.store(TP_STATUS_KERNEL, std::memory_order_release);
    next_ = (next_ + 1) % blocks_;
  }
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error != 0) failed_ = true;
}

void PacketRing::read_block(std::uint8_t* block, const Frame& frame) {
  const auto* header = reinterpret_cast<const tpacket_block_desc*>(block);
  std::size_t offset = header->hdr.bh1.offset_to_first_pkt;
  for (std::uint32_t left = header->hdr.bh1.num_pkts; left > 0 && offset + sizeof(tpacket3_hdr) <= kBlock; --left) {
    const auto* packet = reinterpret_cast<const tpacket3_hdr*>(block + offset);
    const std::uint64_t time = static_cast<std::uint64_t>(packet->tp_sec) * 1'000'000'000 + packet->tp_nsec;
    const std::uint8_t* octets = block + offset + packet->tp_mac;
    const std::size_t size = std::min<std::size_t>(packet->tp_snaplen, snaplen_);
    if ((packet->tp_status & TP_STATUS_VLAN_VALID) != 0 && size >= 12) {
      const std::uint16_t type =
          (packet->tp_status & TP_STATUS_VLAN_TPID_VALID) != 0 ? packet->hv1.tp_vlan_tpid : ETH_P_8021Q;
      const auto tag = static_cast<std::uint16_t>(packet->hv1.tp_vlan_tci);
      tagged_.assign(octets, octets + 12);
      for (const std::uint16_t value : {type, tag}) {
        tagged_.push_back(static_cast<std::uint8_t>(value >> 8));
        tagged_.push_back(static_cast<std::uint8_t>(value));
      }
      tagged_.insert(tagged_.end(), octets + 12, octets + size);
      frame(time, tagged_, packet->tp_len + 4);
    } else {
      frame(time, {octets, size}, packet->tp_len);
    }
    if (packet->tp_next_offset == 0) break;
    offset += packet->tp_next_offset;
  }
}

std::uint64_t PacketRing::kernel_dropped() {
  tpacket_stats_v3 stats{};
  socklen_t size = sizeof stats;
  if (::getsockopt(fd_, SOL_PACKET, PACKET_STATISTICS, &stats, &size) == 0) dropped_ += stats.tp_drops;
  return dropped_;
}

}  // namespace sallyport::monitor
