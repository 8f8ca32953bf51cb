#include "host/worker/policy_versions.hpp"

#include <algorithm>
#include <utility>

namespace sallyport {

const CellClient* PolicyVersion::cell(std::uint64_t id) const noexcept {
  for (const CellClient& client : cells) {
    if (client.id == id) return &client;
  }
  return nullptr;
}

void PolicyVersions::publish(PolicyVersion version) {
  for (CellClient& client : version.cells) client.groups = version.snapshot->groups_of_cell(client.cell);
  versions_.push_back(std::make_unique<const PolicyVersion>(std::move(version)));
  current_.store(versions_.back().get(), std::memory_order_seq_cst);
  reclaim();
}

void PolicyVersions::reclaim() {
  if (versions_.size() < 2) return;
  std::vector<const PolicyVersion*> held;
  {
    const std::lock_guard lock(readers_mutex_);
    for (const Reader* reader : readers_) held.push_back(reader->announced_.load(std::memory_order_seq_cst));
  }
  const PolicyVersion* current = versions_.back().get();
  std::erase_if(versions_, [&](const std::unique_ptr<const PolicyVersion>& version) {
    return version.get() != current && std::find(held.begin(), held.end(), version.get()) == held.end();
  });
}

PolicyVersions::Reader::Reader(PolicyVersions& versions) : versions_(versions) {
  const std::lock_guard lock(versions_.readers_mutex_);
  versions_.readers_.push_back(this);
}

PolicyVersions::Reader::~Reader() {
  const std::lock_guard lock(versions_.readers_mutex_);
  std::erase(versions_.readers_, this);
}

// Either publish() sees the announcement, or this sees that it published: both sides store before they look.
const PolicyVersion* PolicyVersions::Reader::move_on() noexcept {
  for (;;) {
    mine_ = versions_.current_.load(std::memory_order_seq_cst);
    announced_.store(mine_, std::memory_order_seq_cst);
    if (versions_.current_.load(std::memory_order_seq_cst) == mine_) return mine_;
  }
}

}  // namespace sallyport
