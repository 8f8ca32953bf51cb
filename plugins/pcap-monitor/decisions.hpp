// Decisions: what the enforcers decided lately, found by the flow it was about.
//
// A record may know the client's port, the destination, the name, or some of them: it is kept under each, and a flow is
// decided if one of them is found. Denials count too: an enforcer saw the flow.
// Threads  One at a time.
#pragma once

#include <cstdint>
#include <string>

#include "pcap-monitor/bounded_map.hpp"

namespace sallyport::monitor {

struct Decision {
  Address client;
  std::uint16_t client_port = 0;  // 0: not known
  bool destination_known = false;
  Address destination;
  std::uint16_t port = 0, proto = 0, verdict = 0, layer = 0;
  std::string name;
  std::uint64_t time_ns = 0;
};

class Decisions {
 public:
  enum class Found : std::uint8_t { kNone = 0, kDenied, kAllowed };
  // How long before a flow's first packet its decision may be: connections to the gateway are decided after it, those
  // that the kernel lets through when their name is asked (its ledger binding is looked at for them).
  static constexpr std::uint64_t kBeforeNs = 5'000'000'000, kAfterNs = 60'000'000'000;

  Decisions(std::size_t most, std::uint64_t seed) : table_(most, seed) {}

  void add(const Decision& decision) {
    const auto keep = [&](const std::string& key) {
      Kept& kept = table_.get(key);
      kept = {decision.time_ns, decision.verdict != 0};
    };
    const bool allowed_name = decision.layer == 1;  // the dns layer knows neither port nor address of the flow
    if (decision.client_port != 0 && !allowed_name)
      keep(by_port(decision.client, decision.client_port, decision.proto));
    if (decision.destination_known && !allowed_name) {
      keep(by_address(decision.client, decision.destination, decision.port, decision.proto));
    }
    if (!decision.name.empty() && !allowed_name) keep(by_name(decision.client, decision.name, decision.port));
  }

  Found find(const FlowId& id, const std::string& name, std::uint64_t first_ns) {
    Found best = Found::kNone;
    const auto look = [&](const std::string& key) {
      const Kept* kept = table_.find(key);
      if (kept == nullptr || kept->time_ns + kBeforeNs < first_ns || kept->time_ns > first_ns + kAfterNs) return;
      best = std::max(best, kept->allowed ? Found::kAllowed : Found::kDenied);
    };
    look(by_port(id.client, id.client_port, id.proto));
    if (best == Found::kNone) look(by_address(id.client, id.destination, id.port, id.proto));
    if (best == Found::kNone && !name.empty()) look(by_name(id.client, name, id.port));
    if (best == Found::kNone && !name.empty()) look(by_name(id.client, name, 0));  // a record that knew no destination
    return best;
  }
  std::uint64_t lost() const noexcept { return table_.evicted(); }

 private:
  struct Kept {
    std::uint64_t time_ns = 0;
    bool allowed = false;
  };
  static std::string text(char kind, const Address& a, std::uint16_t one, std::uint16_t two) {
    std::string out(1, kind);
    out.append(reinterpret_cast<const char*>(a.octets().data()), 16);
    out += a.is_v4() ? '4' : '6';
    out.append(reinterpret_cast<const char*>(&one), 2).append(reinterpret_cast<const char*>(&two), 2);
    return out;
  }
  static std::string by_port(const Address& client, std::uint16_t port, std::uint16_t proto) {
    return text('p', client, port, proto);
  }
  static std::string by_address(const Address& client, const Address& to, std::uint16_t port, std::uint16_t proto) {
    return text('a', client, port, proto) + text('a', to, 0, 0);
  }
  static std::string by_name(const Address& client, const std::string& name, std::uint16_t port) {
    return text('n', client, port, 0) + name;
  }

  BoundedMap<std::string, Kept> table_;
};

}  // namespace sallyport::monitor
