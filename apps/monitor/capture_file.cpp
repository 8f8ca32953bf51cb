#include "monitor/capture_file.hpp"

#include <pcap/pcap.h>

#include <memory>
#include <optional>

namespace sallyport::monitor {
namespace {

struct ClosePcap {
  void operator()(pcap_t* pcap) const noexcept { pcap_close(pcap); }
};

std::optional<wire::LinkType> link_type(int number) noexcept {
  switch (number) {
    case DLT_EN10MB:
      return wire::LinkType::kEthernet;
    case DLT_LINUX_SLL:
      return wire::LinkType::kLinuxCooked;
    case DLT_LINUX_SLL2:
      return wire::LinkType::kLinuxCooked2;
    case DLT_RAW:
    case DLT_IPV4:
    case DLT_IPV6:
      return wire::LinkType::kRaw;
    case DLT_NULL:
    case DLT_LOOP:
      return wire::LinkType::kLoopback;
    default:
      return std::nullopt;
  }
}

}  // namespace

CaptureOutcome read_capture(std::FILE* file, Monitor& monitor) {
  char error[PCAP_ERRBUF_SIZE] = "";
  std::unique_ptr<pcap_t, ClosePcap> pcap(
      pcap_fopen_offline_with_tstamp_precision(file, PCAP_TSTAMP_PRECISION_NANO, error));
  if (!pcap) {
    std::fclose(file);
    return {error, {}};
  }
  const std::optional<wire::LinkType> link = link_type(pcap_datalink(pcap.get()));
  if (!link) return {"link type " + std::to_string(pcap_datalink(pcap.get())) + " is not read here", {}};
  pcap_pkthdr* header = nullptr;
  const u_char* octets = nullptr;
  for (;;) {
    const int got = pcap_next_ex(pcap.get(), &header, &octets);
    if (got == PCAP_ERROR) return {{}, pcap_geterr(pcap.get())};
    if (got != 1) return {};
    const std::uint64_t seconds =
        header->ts.tv_sec < 0 ? 0 : static_cast<std::uint64_t>(header->ts.tv_sec) & 0xffffffff;
    const std::uint64_t nanoseconds = static_cast<std::uint64_t>(header->ts.tv_usec) & 0x3fffffff;  // by the precision
    monitor.packet(seconds * 1'000'000'000 + nanoseconds, *link, {octets, header->caplen}, header->len);
  }
}

}  // namespace sallyport::monitor
