// What main() registers. A benchmark is named SUITE/WHAT/OF-WHAT/SIZE; targets.cpp refers to these names.
#pragma once

#include <cstddef>
#include <vector>

namespace sallyport::bench {

struct Scale {
  std::size_t most_names = 1'000'000;
  std::vector<std::size_t> names() const {  // 1e4 tells nothing that its neighbours don't
    std::vector<std::size_t> sizes;
    for (const std::size_t size : {1'000u, 100'000u, 1'000'000u, 10'000'000u}) {
      if (size <= most_names) sizes.push_back(size);
    }
    return sizes;
  }
};

void register_lookups(const Scale& scale);      // lookup/zipf|cold|miss|sibling-miss|deep/STRUCTURE/NAMES
void register_addresses(const Scale& scale);    // address/v4|v6/STRUCTURE/PREFIXES
void register_publication(const Scale& scale);  // publication/WAY/readers-N, reload/...
void register_decisions(const Scale& scale);    // decide/...
void register_compilation(const Scale& scale);  // compile/..., open/...

}  // namespace sallyport::bench
