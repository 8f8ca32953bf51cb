// QuotaFile: what quotas have used, over a restart of the warden.
//
// Form     One file, replaced as a whole (written beside, then renamed): the table's seed, and one record an entry
//          whose window is not over. Native byte order; a checksum finds what was cut off or damaged.
// Bounds   No larger than the table's capacity makes it; a larger one is not read.
// Loss     Saved at most once a second, so what the second before a kill or a power cut used may be missing. A file
//          that cannot be read for what it says is no fresh start: see LimitsTable::lose().
// Threads  [main] of the warden.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "limits/limits_table.hpp"
#include "result/result.hpp"

namespace sallyport {

class QuotaFile {
 public:
  explicit QuotaFile(std::string path) : path_(std::move(path)) {}
  const std::string& path() const noexcept { return path_; }

  struct Loaded {
    bool found = false;  // false: there is none, as before a first start
    std::array<std::uint64_t, 2> seed{};
    std::int64_t lost_at = 0;
    std::vector<LimitsTable::Used> used;
  };
  // kCorrupt: damaged, of another version, or no regular file of this user.
  Result<Loaded> load() const;

  // False if the disk has no room, or the directory has gone; the earlier file stays then. Writes nothing where nothing
  // has changed since the last save.
  bool save(const LimitsTable& table, std::int64_t wall_s);

 private:
  std::string path_;
  std::vector<LimitsTable::Used> saved_;
  bool any_ = false;  // saved before, or found
};

}  // namespace sallyport
