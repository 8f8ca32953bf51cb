#include <algorithm>

#include "engine/decide.hpp"
#include "engine/view.hpp"

namespace sallyport {

unsigned Snapshot::listed_labels(const DomainName& name, std::uint32_t rule) const noexcept {
  const Tables& t = view_->tables;
  const unsigned all = name.labels();
  if (t.index.at(name, all) != nullptr) return all;
  for (unsigned labels = 1; labels < all; ++labels) {
    const format::NameSet* set = t.index.at(name, labels);
    if (set == nullptr) continue;
    const std::span<const std::uint32_t> below = t.list_in(set->below);
    if (std::binary_search(below.begin(), below.end(), rule)) return labels;
  }
  return 0;
}

}  // namespace sallyport
