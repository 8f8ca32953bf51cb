#include "nftables/element_changes.hpp"

#include <algorithm>

namespace sallyport::nft {
namespace {

constexpr std::size_t kMostInOne = 500;

std::string with_timeout(const Element& element, std::uint64_t ms) {
  return element.text + " timeout " + std::to_string(std::max<std::uint64_t>(1, ms / 1000)) + "s";
}

}  // namespace

Element::Element(const Address& client, const Address& destination, const PortRange& ports)
    : set(std::string(ports.first == ports.last ? "bound" : "range") + (client.is_v4() ? "4" : "6")),
      text(client.text() + " . " + destination.text() + " . " + std::to_string(ports.proto) + " . " +
           std::to_string(ports.first) + (ports.first == ports.last ? "" : "-" + std::to_string(ports.last))) {}

void ElementChanges::add(const Element& element, std::uint64_t timeout_ms) {
  steps_[kAdd][element.set].push_back(with_timeout(element, timeout_ms));
}

void ElementChanges::refresh(const Element& element, std::uint64_t timeout_ms) {
  steps_[kEnsure][element.set].push_back(with_timeout(element, timeout_ms));
  steps_[kDelete][element.set].push_back(element.text);
  add(element, timeout_ms);
}

void ElementChanges::remove(const Element& element) {
  ++removed_;
  steps_[kEnsure][element.set].push_back(with_timeout(element, 1000));
  steps_[kDelete][element.set].push_back(element.text);
}

std::string ElementChanges::commands() const {
  std::string out;
  for (const Step step : {kEnsure, kDelete, kAdd}) {
    const std::string verb = step == kDelete ? "delete" : "add";
    for (const auto& [set, elements] : steps_[step]) {
      for (std::size_t i = 0; i < elements.size(); ++i) {
        out += i % kMostInOne == 0 ? verb + " element inet sallyport " + set + " { " : ", ";
        out += elements[i];
        if (i % kMostInOne == kMostInOne - 1 || i + 1 == elements.size()) out += " }\n";
      }
    }
  }
  return out;
}

}  // namespace sallyport::nft
