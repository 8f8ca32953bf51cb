// AuditWriter: records to JSON lines (docs/audit.schema.json, "sallyport.audit/1"), in the warden.
//
// Form     One line a record, fields always in the same order, ASCII only: control octets, invalid UTF-8, escape
//          sequences and bidirectional marks arrive escaped, whatever a workload put into a name.
// Identity Each line has an id of its own that sorts by time. Its last characters are the record's ref, which users
//          see; the lines of one decision share it.
// Folding  A repeat of the same decision within the window is not written at once; one line at the window's end
//          stands for all of them, or later if the sink does not keep up. The sum of `count` is the number of records.
// Memory   Bounded: pending output, fold groups, kept snapshots.
// Threads  One thread at a time.
// Errors   Never waits for the sink. What the sink does not take is held up to a bound, then dropped, counted, and
//          reported by `lost_before` of the next line that gets through.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "audit/audit_record.hpp"
#include "audit/fold_table.hpp"
#include "engine/decide.hpp"

namespace sallyport {

// What of a rule matched, as text: "*.cdn.test", "203.0.113.0/24"; "" for nothing, or a rule it does not know.
// name is nullptr where none is known, addr likewise. See match_text().
using MatchText = std::function<std::string(std::uint32_t rule, const DomainName* name, const Address* addr)>;

class AuditWriter {
 public:
  struct Options {
    std::string gateway;                           // `gateway`: the cell's or gateway's name
    std::uint64_t run_seed = 0;                    // random; part of every id, so that two runs' ids differ
    std::uint64_t fold_window_ns = 1'000'000'000;  // a retry loop makes one line a second; 0: nothing is folded
    std::uint64_t fold_seed = 0;                   // random; decisions are looked up by a hash that nobody can steer
    bool log_paths = false;        // http.path, http.query and http.target are left out unless asked for
    bool batched = false;          // lines go out with push(), not one by one
    bool after_half_line = false;  // the file ends within a line: ours start on one of their own
  };

  // fd is opened by the caller and stays the caller's; -1: nothing is written, refs are still given. A blocking
  // descriptor is written only when poll() says it takes octets. The process ignores SIGPIPE.
  AuditWriter(Options options, int fd);

  // Rule names and places of records of that generation. The last few generations are kept for records on their way.
  // match fills in `match`; without one it is null.
  void publish(std::shared_ptr<const Snapshot> snapshot, MatchText match = {});

  // What `client.group` says for a client id that the host issued: the policy's group; "" is null. Of others that have
  // an address it is the group of that, by the snapshot that decided; the rest get "client-<id>", and no id (0) is
  // null.
  void name_client(std::uint64_t client_id, std::string group);

  // Takes one record, of whichever worker's ring; returns its ref.
  std::string add(const AuditRecord& record);
  // The same for many.
  void add_all(std::span<const AuditRecord> records);

  // Records that never came (AuditRing::lost() and the like); reported by the next line.
  void add_lost(std::uint64_t records) noexcept { lost_ += records; }

  // Writes the groups whose window has passed at now_ns (CLOCK_REALTIME), and what the sink had not taken. Call it once
  // a second.
  void flush(std::uint64_t now_ns);
  void push() { drain(); }  // gives the sink what it takes without waiting
  // Writes everything there is. At the end of a run; false if something could not be written.
  bool finish();

  std::uint64_t lines() const noexcept { return lines_; }  // given to the sink
  std::uint64_t total_lost() const noexcept { return total_lost_ + lost_; }
  std::size_t pending_octets() const noexcept { return pending_.size(); }
  bool is_folding() const noexcept { return open_groups_ > 0; }  // flush() is to be called within a second
  // Why the sink took nothing when it last did not, in words ("No space left on device"); "" if it always did.
  const std::string& sink_failure() const noexcept { return sink_failure_; }

 private:
  struct Published {
    std::shared_ptr<const Snapshot> snapshot;
    MatchText match;
  };

  std::string_view time_text(std::uint64_t realtime_ns);
  std::string_view line(const AuditRecord& record, std::uint64_t count);  // valid until the next
  void write_line(std::string_view text, std::uint64_t records);
  void take(const AuditRecord& record, std::string_view key, std::uint64_t hash);
  void write_group(FoldTable::Group& group);
  bool is_held_up() const noexcept;
  void end_all_groups();
  void drain();

  Options options_;
  int fd_;
  std::map<std::uint64_t, Published> snapshots_;
  std::unordered_map<std::uint64_t, std::string> clients_;
  FoldTable folded_;  // by the packed record, without its time
  std::size_t open_groups_ = 0;
  std::vector<char> keys_;    // of the records of one add_all()
  std::string line_, place_;  // room that is used again
  struct Second {
    std::uint64_t second = 0;
    std::string text;
  };
  std::array<Second, 4> times_;  // of lines that stand for now, and for a second ago
  std::uint64_t counter_ = 0;
  std::string sink_failure_;
  std::string pending_;            // whole lines, less what was already written of the first
  std::uint64_t cut_records_ = 0;  // that the first stands for, if some of it is written
  std::uint64_t lost_ = 0, total_lost_ = 0, lines_ = 0;
};

// The most specific pattern of the rule that matches the name, else the longest prefix that the address is in.
MatchText match_text(PolicyModel model);

// RFC 3339 in UTC with microseconds: "2026-11-24T23:17:52.104113Z".
std::string audit_time(std::uint64_t realtime_ns);
// "A", "AAAA", ... or "TYPE65280" (RFC 3597 §5).
std::string qtype_text(std::uint16_t qtype);

}  // namespace sallyport
