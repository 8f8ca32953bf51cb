// ListContent: a list as it was read: its names, and what has to be said of its lines, each kind with a count and the
// place of the first.
//
// Threads  Plain values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "language/diagnostic.hpp"
#include "language/lists/list_parser.hpp"
#include "language/trusted_file.hpp"
#include "names/pattern_set.hpp"

namespace sallyport {

inline constexpr std::uint64_t kMaxListOctets = 512u << 20;  // 10,000,000 names are 300 MB

struct ListTally {
  std::uint64_t count = 0;
  Excerpt first;
  std::string what;         // of the first: the reason, or the entry as a pattern
  bool is_mistake = false;  // of an invalid line: else it means something to another program
};

struct ListContent {
  std::shared_ptr<const PatternSet> names;
  std::uint32_t lines = 0;
  bool ends_with_line_feed = true;
  Excerpt last_line;  // of a file that does not end with a line feed
  ListTally invalid, blocks, passes;
  ListTally public_suffixes, many_tenants, single_labels;  // only where they were asked for
};

// shown: the file's name in places. weigh: whether to tell names that are too broad to be allowed at a glance; it costs
// about as much as all the rest.
ListContent read_list(std::string_view text, ListFormat format, const std::string& shown, bool weigh);
std::optional<TrustFailure> read_list(TrustedFile& file, ListFormat format, const std::string& shown, bool weigh,
                                      ListContent& content);

}  // namespace sallyport
