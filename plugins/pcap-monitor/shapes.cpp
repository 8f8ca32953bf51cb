#include "pcap-monitor/shapes.hpp"

namespace sallyport::monitor {

Shapes::Subject& Shapes::subject(std::string key, std::uint64_t now) {
  Subject& found = subjects_.get(key);
  if (found.begun_ns == 0 || now >= found.begun_ns + kWindowNs) {
    found = {};
    found.begun_ns = now;
  }
  return found;
}

std::optional<std::string> Shapes::asked(const Address& client, const wire::WireName& name, std::uint16_t type,
                                         std::uint64_t now) {
  constexpr std::uint16_t kNull = 10;
  if (type == 16 /* TXT */ || type == kNull) {
    Subject& records = subject("r" + client.text(), now);
    if (++records.count >= kRecords && !records.told) {
      records.told = true;
      return std::to_string(records.count) + " TXT or NULL questions within a minute";
    }
  }
  // The parent is the last two labels; data stands in front of it, in one label or in several.
  const auto octets = name.octets();
  std::size_t offset = 0, longest = 0;
  unsigned left = name.labels();
  while (left > 2) {
    const std::size_t size = octets[offset];
    longest = std::max(longest, size);
    offset += size + 1;
    --left;
  }
  if (longest < kLongLabel && offset < 2 * kLongLabel) return std::nullopt;
  const std::string parent(reinterpret_cast<const char*>(octets.data()) + offset, octets.size() - offset);
  Subject& labels = subject("l" + client.text() + " " + parent, now);
  if (labels.labels.size() < kDistinct) labels.labels.insert(mix(hash_.seed, octets.data(), offset));
  if (labels.labels.size() < kDistinct || labels.told) return std::nullopt;
  labels.told = true;
  return std::to_string(kDistinct) + " distinct long names below one parent within a minute";
}

std::optional<std::string> Shapes::answered(const Address& client, std::uint16_t rcode, std::uint64_t now) {
  Subject& answers = subject("x" + client.text(), now);
  ++answers.count;
  if (rcode == 3) ++answers.absent;
  if (answers.absent < kAbsent || answers.absent * 5 < answers.count * 4 || answers.told) return std::nullopt;
  answers.told = true;
  return std::to_string(answers.absent) + " of " + std::to_string(answers.count) +
         " answers within a minute say that there is no such name";
}

std::optional<std::string> Shapes::echoed(const Address& client, const Address& to, std::size_t octets,
                                          std::uint64_t now) {
  Subject& echoes = subject("i" + client.text() + " " + to.text(), now);
  echoes.count += octets;
  if (echoes.count < kIcmpOctets || echoes.told) return std::nullopt;
  echoes.told = true;
  return std::to_string(echoes.count) + " octets in ICMP echo requests within a minute";
}

}  // namespace sallyport::monitor
