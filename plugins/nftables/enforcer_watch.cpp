// Enforcer's eyes: the ports of the held bridges, and the counters.
#include <netinet/in.h>

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <nlohmann/json.hpp>

#include "nftables/enforcer.hpp"
#include "nftables/waiter.hpp"

namespace sallyport::nft {

namespace asio = boost::asio;
using nlohmann::json;

// ---- bridge ports

net::awaitable<void> Enforcer::watch_links() {
  Waiter waiter(loop_.context(), links_.fd());
  for (;;) {
    const auto [error] =
        co_await waiter.descriptor.async_wait(asio::posix::stream_descriptor::wait_read, net::kAsResult);
    if (error) co_return;
    links_.drain();
    check_links();
  }
}

void Enforcer::check_links() {
  if (!kernel::needs_bridge_table(topology_)) return;
  const std::optional<std::map<int, Link>> links = links_.links();
  if (!links) return;
  std::set<int> bridges;
  for (const kernel::HeldNetwork& network : topology_.networks) {
    for (const auto& [index, link] : *links) {
      if (std::find(network.interfaces.begin(), network.interfaces.end(), link.name) != network.interfaces.end())
        bridges.insert(index);
    }
  }
  std::set<std::string> ports;
  for (const auto& [index, link] : *links) {
    if (bridges.contains(link.master)) ports.insert(link.name);
  }
  if (ports != ports_) {
    ports_ = std::move(ports);
    if (kernel::KernelError error = kernel::stop_link_local_learning(topology_)) host_.log(POLICY_LOG_WARNING, *error);
    const std::optional<std::uint32_t> before = ruleset_.generation();
    if (generation_ == 0) {
      // At the start: the tables come with them.
    } else if (kernel::KernelError error = tables_.set_ports({ports_.begin(), ports_.end()})) {
      host_.log(POLICY_LOG_WARNING, "bridge ports: " + *error);
    } else {
      const std::optional<std::uint32_t> after = ruleset_.generation();
      if (before && after && *before == generation_ && *after == *before + 1) generation_ = *after;
    }
  }
  const bool some_went = std::any_of(known_links_.begin(), known_links_.end(),
                                     [&](const auto& known) { return !links->contains(known.first); });
  if (some_went) release_claims(*links);
  known_links_ = *links;
}

void Enforcer::release_claims(const std::map<int, Link>& links) {
  const auto lives = [&](const json& port) {
    if (port.is_number()) return links.contains(port.get<int>());
    return std::any_of(links.begin(), links.end(), [&](const auto& link) {
      return port.is_string() &&
             (link.second.name == port.get<std::string>() || std::to_string(link.first) == port.get<std::string>());
    });
  };
  std::string commands;
  for (const kernel::ClaimKind& kind : kernel::kClaimKinds) {
    const std::string name(kind.name);
    std::string text;
    if (tables_.context().list("list set bridge sallyport claim" + name, text)) continue;
    const json listing = json::parse(text, nullptr, false);
    if (!listing.is_object()) continue;
    for (const json& entry : listing.value("nftables", json::array())) {
      if (!entry.contains("set") || !entry["set"].contains("elem")) continue;
      for (const json& element : entry["set"]["elem"]) {
        const json value = element.contains("elem") ? element["elem"].value("val", json()) : element;
        if (!value.contains("concat") || value["concat"].size() != 2) continue;
        const json& port = value["concat"][1];
        if (lives(port)) continue;
        const std::string claimed = value["concat"][0].get<std::string>();
        const std::string pair = claimed + " . " + (port.is_number() ? port.dump() : port.get<std::string>());
        // Added first: one that has just expired would fail the whole transaction.
        for (const std::string& what :
             {"claim" + name + " { " + pair + " }\n", "claimed" + name + " { " + claimed + " }\n"})
          commands += "add element bridge sallyport " + what + "delete element bridge sallyport " + what;
      }
    }
  }
  if (commands.empty()) return;
  if (kernel::KernelError error = tables_.context().run(commands))
    host_.log(POLICY_LOG_WARNING, "claims of a port that went: " + *error);
  // Our own transaction: look instead of counting.
  check_ruleset(net::Clock::now());
}

// ---- counters

net::awaitable<void> Enforcer::each_second() {
  asio::steady_timer timer(loop_.context());
  for (;;) {
    timer.expires_after(std::chrono::seconds(1));
    const auto [error] = co_await timer.async_wait(net::kAsResult);
    if (error) co_return;
    bindings_.expire(boot_ms());
    count();
    check_ruleset(net::Clock::now());  // an event may have been lost
    check_steering();
    show_health();
    if (resting_ || superseded() || tables_.present(topology_)) continue;
    reassert("they were gone", net::Clock::now());
  }
}

void Enforcer::count() {
  std::array<std::uint64_t, std::size(kernel::kCounters)> now{};
  for (const char* family : {"inet", "bridge"}) {
    std::string text;
    if (tables_.context().list(std::string("list counters table ") + family + " sallyport", text)) continue;
    const json listing = json::parse(text, nullptr, false);
    if (!listing.is_object()) continue;
    for (const json& entry : listing.value("nftables", json::array())) {
      if (!entry.contains("counter")) continue;
      const std::string name = entry["counter"].value("name", "");
      for (std::size_t i = 0; i < now.size(); ++i) {
        if (name == kernel::kCounters[i]) now[i] += entry["counter"].value("packets", std::uint64_t{0});
      }
    }
  }
  for (std::size_t i = 0; i < now.size(); ++i) {
    const std::uint64_t more = now[i] > counted_[i] ? now[i] - counted_[i] : 0;
    if (more > 0) report(i, more);
  }
  counted_ = now;
  shown_.bindings = bindings_.size();
  shown_.elements = bindings_.elements();
  series_.set(series_.elements, bindings_.elements());
  series_.set(series_.bindings, bindings_.size());
}

void Enforcer::report(std::size_t counter, std::uint64_t packets) {
  series_.add(series_.bypass[counter], packets);
  // In the order of kernel::kCounters; port 0: several.
  constexpr struct {
    std::uint16_t reason, port;
  } kKinds[] = {{POLICY_REASON_QUIC_DENIED, 443}, {POLICY_REASON_UDP_DENIED, 0},     {POLICY_REASON_SOURCE_SPOOFED, 0},
                {POLICY_REASON_NOT_GATEWAY, 0},   {POLICY_REASON_SOURCE_SPOOFED, 0}, {POLICY_REASON_NOT_GATEWAY, 0},
                {POLICY_REASON_NOT_GATEWAY, 0},   {POLICY_REASON_NOT_GATEWAY, 853},  {POLICY_REASON_UDP_DENIED, 80},
                {POLICY_REASON_UDP_DENIED, 123},  {POLICY_REASON_UDP_DENIED, 784},   {POLICY_REASON_UDP_DENIED, 853},
                {POLICY_REASON_UDP_DENIED, 3478}, {POLICY_REASON_UDP_DENIED, 4433},  {POLICY_REASON_UDP_DENIED, 8853}};
  static_assert(std::size(kKinds) == std::size(kernel::kCounters));
  tell(kKinds[counter].reason,
       std::string(kernel::kCounters[counter]) + ": " + std::to_string(packets) + " packets in the last second",
       kKinds[counter].port);
}

void Enforcer::tell(std::uint16_t reason, const std::string& cause, std::uint16_t port) {
  policy_query query{};
  query.struct_size = sizeof query;
  query.layer = POLICY_LAYER_TCP;
  if (port != 0) {
    query.known = POLICY_KNOW_PORT;
    query.port = port;
    query.proto = reason == POLICY_REASON_NOT_GATEWAY ? IPPROTO_TCP : IPPROTO_UDP;
  }
  policy_verdict verdict{};
  verdict.struct_size = sizeof verdict;
  verdict.reason = reason;
  verdict.rule = POLICY_NO_RULE;
  reader_.audit(query, verdict, json{{"cause", cause}}.dump());
}

}  // namespace sallyport::nft
