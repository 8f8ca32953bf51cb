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

std::map<int, std::string> Enforcer::held_ports(const std::map<int, Link>& links) const {
  std::map<int, std::string> out;
  for (const auto& [index, link] : links) {
    const auto bridge = links.find(link.master);
    const bool held =
        bridge != links.end() &&
        std::any_of(topology_.networks.begin(), topology_.networks.end(), [&](const kernel::HeldNetwork& network) {
          const auto& names = network.interfaces;
          return std::find(names.begin(), names.end(), bridge->second.name) != names.end();
        });
    if (held) out.emplace(index, link.name);
  }
  return out;
}

void Enforcer::check_links() {
  if (!kernel::needs_bridge_table(topology_)) return;
  const std::optional<std::map<int, Link>> links = links_.links();
  if (!links) return;
  std::map<int, std::string> held = held_ports(*links);
  kernel::BridgePorts ports;
  for (const auto& [index, link] : *links) {
    if (link.master != 0) (held.contains(index) ? ports.held : ports.foreign).push_back(link.name);
  }
  std::sort(ports.held.begin(), ports.held.end());
  std::sort(ports.foreign.begin(), ports.foreign.end());
  if (ports != ports_) {
    ports_ = std::move(ports);
    if (kernel::KernelError error = kernel::stop_link_local_learning(topology_)) host_.log(POLICY_LOG_WARNING, *error);
    const std::optional<std::uint32_t> before = ruleset_.generation();
    if (generation_ == 0) {
      // At the start: the tables come with them.
    } else if (resting_ || superseded()) {
      // Another worker's tables.
    } else if (kernel::KernelError error = tables_.set_ports(ports_)) {
      host_.log(POLICY_LOG_WARNING, "bridge ports: " + *error);
    } else {
      const std::optional<std::uint32_t> after = ruleset_.generation();
      if (before && after && *before == generation_ && *after == *before + 1) generation_ = *after;
    }
  }
  const bool some_went = std::any_of(known_ports_.begin(), known_ports_.end(),
                                     [&](const auto& port) { return !held.contains(port.first); });
  known_ports_ = std::move(held);
  if (!some_went) return;
  sweep_claims();
  // While a reload hands over, another worker may have been faster: then the claims are gone, and the ledger knows.
  const std::string commands =
      bindings_.keep_only([this](std::uint64_t client_id, const Address& client,
                                 const Address& destination) { return is_bound(client_id, client, destination); },
                          boot_ms());
  if (!commands.empty()) commit(commands);
}

void Enforcer::sweep_claims() {
  if (resting_ || superseded() || !kernel::needs_bridge_table(topology_)) return;
  const Departed gone = departed();
  if (const std::string commands = bindings_.forget(gone.clients, boot_ms()); !commands.empty()) commit(commands);
  if (gone.claims.empty()) return;
  release(gone);
  check_ruleset(net::Clock::now());  // a transaction of our own: look instead of counting
}

Enforcer::Departed Enforcer::departed() {
  Departed out;
  // In this order: a port that is not among the links of now is gone, whereas one that came since may have claims.
  const std::optional<std::vector<kernel::Claim>> claims = kernel::read_claims();
  const std::optional<std::map<int, Link>> links = claims && !claims->empty() ? links_.links() : std::nullopt;
  if (!links) return out;
  const std::map<int, std::string> held = held_ports(*links);
  const auto lives = [&](const kernel::Claim& claim) { return held.contains(static_cast<int>(claim.port)); };
  for (const kernel::Claim& claim : *claims) {
    if (lives(claim)) continue;
    out.claims.push_back(claim);
    if (claim.address && is_held(*claim.address)) out.clients.insert(*claim.address);
  }
  // One that another port has by now is that one's.
  for (const kernel::Claim& claim : *claims) {
    if (claim.address && lives(claim)) out.clients.erase(*claim.address);
  }
  out.all = *claims;
  for (const Address& client : out.clients) forget(client);
  return out;
}

// What a port had claimed is nobody else's until it is released here, so nobody else has asked for anything, or has a
// flow, by these addresses: first everything ends that came of them, then they are free.
void Enforcer::release(const Departed& departed) {
  if (departed.claims.empty()) return;
  if (!departed.clients.empty()) cut_flows(departed.clients);
  if (kernel::KernelError error = tables_.context().run(kernel::claims_released(departed.claims, departed.all)))
    host_.log(POLICY_LOG_WARNING, "claims of a port that went: " + *error);
}

// Or held for a flow: asking to hold it a moment longer says so.
bool Enforcer::is_bound(std::uint64_t client_id, const Address& client, const Address& destination) const {
  const std::optional<policy_addr> from = sealed(client), address = sealed(destination);
  if (from && address && ledger_ != nullptr && POLICY_HAS(ledger_, pin) &&
      ledger_->pin(reader_.raw(), client_id, &*from, &*address, 0) == POLICY_OK) {
    return true;
  }
  policy_binding found{};
  found.struct_size = sizeof found;
  std::size_t count = 1;
  return address && ledger_ != nullptr &&
         ledger_->find(reader_.raw(), client_id, &*address, &found, sizeof found, &count) == POLICY_OK;
}

void Enforcer::forget(const Address& client) {
  const std::optional<policy_addr> address = sealed(client);
  if (!address || ledger_ == nullptr || !POLICY_HAS(ledger_, forget)) return;
  ledger_->forget(reader_.raw(), &*address);
}

// ---- counters

net::awaitable<void> Enforcer::each_second() {
  constexpr unsigned kSweepSeconds = 5, kHoldSeconds = 10;
  asio::steady_timer timer(loop_.context());
  for (unsigned seconds = 0;;) {
    timer.expires_after(std::chrono::seconds(1));
    const auto [error] = co_await timer.async_wait(net::kAsResult);
    if (error) co_return;
    if (seconds % kHoldSeconds == 0) hold_open_flows();
    bindings_.expire(boot_ms());
    count();
    // An event may have been lost, or a port have come and gone between two looks.
    check_links();
    if (++seconds % kSweepSeconds == 0) sweep_claims();
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
  show_elements();
  series_.set(series_.elements, shown_.elements);
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
