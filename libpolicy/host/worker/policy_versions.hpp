// PolicyVersions: the policy that decides now, for every thread at once, and the earlier ones while a thread holds
// them.
//
// Form     One pointer to the current version. A reader compares it with its own: one acquire load a decision. Only
//          when it moved, the reader announces the new one and looks again (a hazard pointer).
// Lifetime A version is freed by publish() or reclaim() once no reader announces it: at most one earlier version a
//          reader stays, however many are published, and a reader that sleeps holds up nobody else.
// Threads  publish(), reclaim() and current() on [main]. A Reader belongs to one thread; made and ended on any.
// Source   M. Michael, Hazard pointers, 2004. Not epochs: a thread asleep in epoll would keep every version since.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/decide.hpp"
#include "host/worker/credentials.hpp"

namespace sallyport {

struct CellClient {
  std::uint64_t id = 0;
  std::string cell;          // name, for the audit
  std::uint64_t groups = 0;  // of the version's snapshot
};

// What decisions are made by. Immutable once published.
struct PolicyVersion {
  std::shared_ptr<const Snapshot> snapshot;
  std::vector<CellClient> cells;
  std::vector<Prefix> sources;                       // whom this gateway holds; empty: every source
  std::shared_ptr<const CredentialSet> credentials;  // none: no credentials here

  const CellClient* cell(std::uint64_t id) const noexcept;
};

class PolicyVersions {
 public:
  PolicyVersions() = default;
  PolicyVersions(const PolicyVersions&) = delete;
  PolicyVersions& operator=(const PolicyVersions&) = delete;

  // From the next decision of every thread on.
  void publish(PolicyVersion version);
  // nullptr before the first. Valid until the next publish().
  const PolicyVersion* current() const noexcept { return current_.load(std::memory_order_acquire); }

  void reclaim();                                                     // frees what no reader holds any more
  std::size_t retained() const noexcept { return versions_.size(); }  // the current one included

  class Reader {
   public:
    explicit Reader(PolicyVersions& versions);
    ~Reader();
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    // The current version, valid until the next call of now(). nullptr: none was published.
    const PolicyVersion* now() noexcept {
      const PolicyVersion* seen = versions_.current_.load(std::memory_order_acquire);
      return seen == mine_ ? mine_ : move_on();
    }
    // As of the last now().
    const PolicyVersion* held() const noexcept { return mine_; }

   private:
    friend class PolicyVersions;
    const PolicyVersion* move_on() noexcept;

    PolicyVersions& versions_;
    const PolicyVersion* mine_ = nullptr;
    std::atomic<const PolicyVersion*> announced_{nullptr};
  };

 private:
  std::atomic<const PolicyVersion*> current_{nullptr};
  std::vector<std::unique_ptr<const PolicyVersion>> versions_;  // of [main]; the last is current
  std::mutex readers_mutex_;                                    // never taken by a decision
  std::vector<Reader*> readers_;
};

}  // namespace sallyport
