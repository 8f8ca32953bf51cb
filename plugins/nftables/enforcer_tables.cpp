// Enforcer's second half of the work: the tables stay as they were put in.
#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <nlohmann/json.hpp>

#include "host/kernel/steering.hpp"
#include "nftables/enforcer.hpp"
#include "nftables/waiter.hpp"

namespace sallyport::nft {

namespace asio = boost::asio;

namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr std::uint64_t kAboutToEndMs = 2000;  // the kernel counts in seconds
constexpr milliseconds kSettle{20};            // several transactions of one program become one check
constexpr milliseconds kRed{1500};             // who looks once a second sees that somebody has changed the tables
constexpr milliseconds kLongestRest{250};      // between two checks while somebody keeps changing things

// What is compared: no elements (they come and go), no counters' values, no handles.
std::string without_change(const std::string& text) {
  json listing = json::parse(text, nullptr, false);
  if (!listing.is_object() || !listing.contains("nftables")) return {};
  std::string out;
  for (json& entry : listing["nftables"]) {
    if (!entry.is_object() || entry.contains("metainfo")) continue;
    for (auto& [kind, body] : entry.items()) {
      if (!body.is_object()) continue;
      body.erase("handle");
      if (kind == "counter") body.erase("packets"), body.erase("bytes");
      if (kind == "set") {
        const std::string name = body.value("name", "");
        // These are filled by traffic, by us, by the warden, or by what is in `ports`; elements_match() looks at ours.
        if (name.starts_with("bound") || name.starts_with("range") || name.starts_with("literal") ||
            name.starts_with("claim") || name.starts_with("refused") || name.starts_with("drained") ||
            name == "ports" || name == "foreign")
          body.erase("elem");
      }
    }
    out += entry.dump() + "\n";
  }
  return out;
}

}  // namespace

bool Enforcer::commit(const std::string& commands) {
  const auto began = net::Clock::now();
  const std::optional<std::uint32_t> before = ruleset_.generation();
  if (kernel::KernelError error = tables_.context().run(commands)) {
    ++shown_.failed;
    series_.add(series_.refused, 1);
    host_.log(POLICY_LOG_WARNING, "elements: " + *error);
    if (resting_ || superseded()) return true;
    if (!tables_.present(topology_)) {
      reassert("elements had no place to go", began);
    } else if (kernel::KernelError again = tables_.install_inet(topology_, everything())) {
      refused_ = true;
      show_health();
      host_.log(POLICY_LOG_ERROR, "the kernel refuses the tables: " + *again);
      return false;
    } else {
      note_reference();
    }
    return true;
  }
  const std::optional<std::uint32_t> after = ruleset_.generation();
  // Somebody else's transaction came between: it is looked at like any other.
  if (before && after && *before == generation_ && *after == *before + 1) {
    generation_ = *after;
  } else if (generation_ == 0 && after) {
    generation_ = *after;
  }
  return true;
}

void Enforcer::note_reference() {
  std::string inet, bridge;
  if (!tables_.context().list("list table inet sallyport", inet)) inet_reference_ = without_change(inet);
  if (kernel::needs_bridge_table(topology_) && !tables_.context().list("list table bridge sallyport", bridge))
    bridge_reference_ = without_change(bridge);
  if (const std::optional<std::uint32_t> now = ruleset_.generation()) generation_ = *now;
}

bool Enforcer::as_it_should_be() {
  std::string inet, bridge;
  if (tables_.context().list("list table inet sallyport", inet) || without_change(inet) != inet_reference_)
    return false;
  if (!kernel::needs_bridge_table(topology_)) return elements_match();
  if (tables_.context().list("list table bridge sallyport", bridge) || without_change(bridge) != bridge_reference_)
    return false;
  return ports_match() && elements_match();
}

bool Enforcer::ports_match() {
  for (const auto& [set, names] : {std::pair("ports", &ports_.held), std::pair("foreign", &ports_.foreign)}) {
    std::string text;
    if (tables_.context().list(std::string("list set bridge sallyport ") + set, text)) return false;
    std::set<std::string> found;
    const json listing = json::parse(text, nullptr, false);
    for (const json& entry : listing.is_object() ? listing.value("nftables", json::array()) : json::array()) {
      if (!entry.contains("set")) continue;
      for (const json& element : entry["set"].value("elem", json::array())) {
        if (element.is_string()) found.insert(element.get<std::string>());
      }
    }
    if (!std::equal(found.begin(), found.end(), names->begin(), names->end())) return false;
  }
  return true;
}

// No element that we did not put there. Ours that are missing only close: a gateway that puts its tables in anew has
// emptied the sets, and they are filled again.
bool Enforcer::elements_match() {
  bool missing = false;
  for (const char* set : {"literal4", "literal6"}) {
    std::string text;
    if (tables_.context().list(std::string("list set inet sallyport ") + set, text)) return false;
    if (!literals_.accounts_for(set, text, missing)) return false;
  }
  std::set<std::string> found;
  for (const char* set : {"bound4", "bound6", "range4", "range6"}) {
    std::string text;
    if (tables_.context().list(std::string("list set inet sallyport ") + set, text)) return false;
    const json listing = json::parse(text, nullptr, false);
    if (!listing.is_object()) return false;
    for (const json& entry : listing.value("nftables", json::array())) {
      if (!entry.contains("set")) continue;
      for (const json& element : entry["set"].value("elem", json::array())) {
        const json value = element.contains("elem") ? element["elem"].value("val", json()) : element;
        if (!value.contains("concat")) return false;
        std::string text_form;
        for (const json& part : value["concat"]) {
          std::string word = part.is_string() ? part.get<std::string>() : part.dump();
          if (part.is_object() && part.contains("range"))
            word = part["range"][0].dump() + "-" + part["range"][1].dump();
          text_form += (text_form.empty() ? "" : " . ") + word;
        }
        found.insert(std::string(set) + " " + text_form);
      }
    }
  }
  follow_ledger();  // a newer worker on the same ledger may have been faster
  const std::vector<std::string> all = bindings_.expected(0);
  const std::set<std::string> known(all.begin(), all.end());
  if (!std::includes(known.begin(), known.end(), found.begin(), found.end())) return false;
  const std::vector<std::string> due = bindings_.expected(boot_ms() + kAboutToEndMs);
  if (std::any_of(due.begin(), due.end(), [&](const std::string& element) { return !found.contains(element); }))
    commit(bindings_.all(boot_ms()));
  if (missing) commit(literals_.again());
  return true;
}

// Tables of another topology are the gateway's own next ones; the worker that belongs to them keeps them.
bool Enforcer::superseded() {
  const std::string there = tables_.shape();
  return !there.empty() && there != shape_;
}

void Enforcer::check_ruleset(net::Clock::time_point noticed) {
  const std::optional<std::uint32_t> now = ruleset_.generation();
  if (now && *now == generation_) return;
  if (resting_ || superseded() || as_it_should_be()) {
    if (now) generation_ = std::max(generation_, *now);
    return;
  }
  reassert("somebody changed them", noticed);
}

void Enforcer::reassert(const char* why, net::Clock::time_point noticed) {
  series_.set(series_.drift, 1);
  red_until_ = noticed + kRed;
  show_health();
  const kernel::KernelError error = tables_.install(topology_, everything(), ports_);
  if (error) {
    refused_ = true;
    show_health();
    host_.log(POLICY_LOG_ERROR, "the kernel's tables cannot be put back: " + *error);
    return;
  }
  const auto gap = std::chrono::duration_cast<std::chrono::microseconds>(net::Clock::now() - noticed);
  note_reference();
  counted_ = {};
  shown_.last_gap_us = static_cast<std::uint64_t>(gap.count());
  cut_flows();  // what got in meanwhile
  refused_ = false;
  show_health();
  ++shown_.reasserted;  // last: who sees the count sees the rest
  series_.add(series_.reassertions, 1);
  series_.set(series_.drift, 0);
  const std::string text = std::string("the kernel's tables were put back, ") + why + "; noticed and repaired within " +
                           std::to_string(gap.count()) + " us";
  host_.log(POLICY_LOG_WARNING, text);
  tell(POLICY_REASON_RULESET_TAMPERED, text);
}

void Enforcer::show_health() { shown_.healthy = !refused_ && !not_steering_ && net::Clock::now() >= red_until_; }

// The routes of `transparent: tproxy`. What is missing only closes: a look once a second is soon enough.
void Enforcer::check_steering() {
  if (!kernel::needs_steering(topology_) || resting_ || superseded()) return;
  unsigned missing = 0;
  const kernel::KernelError error = kernel::put_steering(topology_, &missing);
  if (error.has_value() != not_steering_) {
    not_steering_ = error.has_value();
    show_health();
    if (error) host_.log(POLICY_LOG_ERROR, *error);
  }
  if (error || missing == 0) return;
  red_until_ = net::Clock::now() + kRed;
  show_health();
  host_.log(POLICY_LOG_WARNING, "the routes to the transparent listener were put back");
  tell(POLICY_REASON_RULESET_TAMPERED, "the routes to the transparent listener were put back");
}

net::awaitable<void> Enforcer::watch_ruleset() {
  Waiter waiter(loop_.context(), ruleset_.fd());
  asio::steady_timer timer(loop_.context());
  auto last = net::Clock::now() - kLongestRest;
  for (;;) {
    const auto [error] =
        co_await waiter.descriptor.async_wait(asio::posix::stream_descriptor::wait_read, net::kAsResult);
    if (error) co_return;
    const auto noticed = net::Clock::now();
    // At once after a quiet time; no more often than that while changes keep coming.
    if (noticed - last < kLongestRest) {
      timer.expires_after(kSettle);
      const auto [stopped] = co_await timer.async_wait(net::kAsResult);
      if (stopped) co_return;
    }
    ruleset_.drain();
    check_ruleset(noticed);
    last = net::Clock::now();
  }
}

}  // namespace sallyport::nft
