// The writers' side, under the lock. Order of a new binding, each step safe to die after:
//
//   unlink the entry it replaces from its chain, from both heaps and its client's cell
//   write the entry between two increments of its lock sequence
//   link it into its chain; count it as used; put it into both heaps and its client's cell
//   log its number, then raise `last`
//
// Heaps and cells are for writers alone: after a death they are built anew from the entries. Chains are only mended,
// since readers walk them meanwhile. A binding whose number is above `last` belongs to the dead writer's last call:
// it is logged then, since enforcers that look for its former number pass it over.
//
// A pin is set without the lock and raises its binding's key where it stands; whatever comes up too early for that goes
// down again, once for each time that it was renewed.
//
// Skew heaps: two links a node, merge, no balance to keep, and removal from the middle, which an extension needs.
// Amortised log n. Every loop is bounded: the file may hold anything.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <limits>

#include "ledger/binding_layout.hpp"
#include "ledger/robust_lock.hpp"

namespace sallyport {

using binding::kMaxSequence;
using binding::kNoSlot;
using binding::kSlotBits;

namespace {

constexpr unsigned kAll = 0, kOfClient = 1;  // heaps
constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

// Nodes are named by slot + 1, as in the file; 0 is none.
class BindingTable::Heap {
 public:
  Heap(BindingTable& table, unsigned which) noexcept : table_(table), which_(which) {}

  bool damaged() const noexcept { return damaged_; }

  // The new root.
  std::uint32_t insert(std::uint32_t root, std::uint32_t node) noexcept {
    HeapNode* it = at(node);
    if (it == nullptr) return root;
    it->left.store(0, kRelaxed);
    it->right.store(0, kRelaxed);
    it->parent.store(0, kRelaxed);
    return merge(root, node);
  }

  std::uint32_t remove(std::uint32_t root, std::uint32_t node) noexcept {
    HeapNode* it = at(node);
    if (it == nullptr) return root;
    const std::uint32_t below = merge(it->left.load(kRelaxed), it->right.load(kRelaxed));
    const std::uint32_t parent = it->parent.load(kRelaxed);
    if (HeapNode* child = below == 0 ? nullptr : at(below)) child->parent.store(parent, kRelaxed);
    if (parent == 0) {
      if (root != node) damaged_ = true;
      return below;
    }
    HeapNode* above = at(parent);
    if (above == nullptr) return root;
    if (above->left.load(kRelaxed) == node) {
      above->left.store(below, kRelaxed);
    } else if (above->right.load(kRelaxed) == node) {
      above->right.store(below, kRelaxed);
    } else {
      damaged_ = true;
    }
    return root;
  }

 private:
  HeapNode* at(std::uint32_t node) noexcept {
    if (node == 0 || node > table_.capacity_) {
      damaged_ = true;
      return nullptr;
    }
    return &Layout::node(table_, which_, node - 1);
  }
  std::uint64_t key(std::uint32_t node) noexcept {
    if (node > table_.capacity_) return 0;
    return std::max(Layout::expires(table_, node - 1).load(kRelaxed),
                    Layout::pin(table_, node - 1).load(kRelaxed) & binding::kPinMask);
  }

  std::uint32_t merge(std::uint32_t a, std::uint32_t b) noexcept {
    if (a == 0 || b == 0) return a | b;
    if (key(b) < key(a)) std::swap(a, b);
    const std::uint32_t root = a;
    for (std::uint32_t steps = 0; steps <= table_.capacity_; ++steps) {
      // b goes below a: into a's right subtree, which then becomes the left one.
      HeapNode* upper = at(a);
      if (upper == nullptr) return root;
      std::uint32_t right = upper->right.load(kRelaxed);
      upper->right.store(upper->left.load(kRelaxed), kRelaxed);
      if (right != 0 && key(b) < key(right)) std::swap(b, right);
      const std::uint32_t below = right == 0 ? b : right;
      upper->left.store(below, kRelaxed);
      HeapNode* lower = at(below);
      if (lower == nullptr) return root;
      lower->parent.store(a, kRelaxed);
      if (right == 0) return root;
      a = right;
    }
    damaged_ = true;
    return root;
  }

  BindingTable& table_;
  const unsigned which_;
  bool damaged_ = false;
};

class BindingTable::Writer {
 public:
  explicit Writer(BindingTable& table) noexcept
      : table_(table), head_(table.header()), all_(table, kAll), of_client_(table, kOfClient) {}

  bool damaged() const noexcept { return damaged_ || all_.damaged() || of_client_.damaged(); }

  // Of the binding with this key, or kNoSlot.
  std::uint32_t find(std::uint64_t hash, const Key& key) noexcept {
    std::uint32_t next = bucket(hash).load(kRelaxed);
    for (std::uint32_t steps = 0; next != 0; ++steps) {
      if (next > table_.capacity_ || steps > table_.capacity_) {
        damaged_ = true;
        return kNoSlot;
      }
      const Entry& entry = Layout::entry(table_, next - 1);
      bool same = entry.hash.load(kRelaxed) == hash && entry.client_id.load(kRelaxed) == key.client_id &&
                  entry.shape.load(kRelaxed) == key.shape;
      for (std::size_t i = 0; same && i < 2; ++i) {
        same = entry.client[i].load(kRelaxed) == key.client[i] && entry.addr[i].load(kRelaxed) == key.addr[i];
      }
      for (std::size_t i = 0; same && i < key.words(); ++i) same = entry.text[i].load(kRelaxed) == key.text[i];
      if (same) return next - 1;
      next = entry.next.load(kRelaxed);
    }
    return kNoSlot;
  }

  void extend(std::uint32_t slot, std::uint64_t expires_ms) noexcept {
    std::atomic<std::uint64_t>& expires = Layout::expires(table_, slot);
    if (expires.load(kRelaxed) >= expires_ms) return;
    ClientCell* cell = cell_of(Layout::entry(table_, slot).client_id.load(kRelaxed));
    if (cell == nullptr || cell->count.load(kRelaxed) == 0) {
      damaged_ = true;
      return;
    }
    // Out of the heaps while the key changes.
    head_.all_root.store(all_.remove(head_.all_root.load(kRelaxed), slot + 1), kRelaxed);
    cell->root.store(of_client_.remove(cell->root.load(kRelaxed), slot + 1), kRelaxed);
    expires.store(expires_ms, kRelaxed);
    head_.all_root.store(all_.insert(head_.all_root.load(kRelaxed), slot + 1), kRelaxed);
    cell->root.store(of_client_.insert(cell->root.load(kRelaxed), slot + 1), kRelaxed);
  }

  // A slot that is free, or was made so: expired, never used, or the earliest of a client whose share is full. What a
  // live flow uses is passed over.
  std::uint32_t take(std::uint64_t client_id, std::uint64_t now_ms) noexcept {
    const ClientCell* cell = cell_of(client_id);
    if (cell == nullptr) return kNoSlot;
    if (cell->count.load(kRelaxed) >= table_.per_client_) return take_own(client_id, now_ms);
    for (unsigned passed = 0, before = 0; passed < kMostPassed && !damaged(); ++passed) {
      const std::uint32_t earliest = head_.all_root.load(kRelaxed);
      if (earliest > table_.capacity_) {
        damaged_ = true;
        return kNoSlot;
      }
      if (earliest == 0 || earliest == before || Layout::expires(table_, earliest - 1).load(kRelaxed) > now_ms) break;
      if (pinned_until(earliest - 1, now_ms) <= now_ms) {
        evict(earliest - 1);
        return earliest - 1;
      }
      // Down to where its pin belongs; if it is up here again, nothing ends before it.
      head_.all_root.store(all_.insert(all_.remove(earliest, earliest), earliest), kRelaxed);
      before = earliest;
    }
    const std::uint32_t used = head_.used.load(kRelaxed);
    return used < table_.capacity_ ? used : kNoSlot;
  }

  void write(std::uint32_t slot, std::uint64_t hash, const Key& key, std::uint64_t expires_ms,
             std::uint64_t record) noexcept {
    Entry& entry = Layout::entry(table_, slot);
    const std::uint32_t sequence = entry.sequence.load(kRelaxed) | 1;
    entry.sequence.store(sequence, kRelaxed);
    std::atomic_thread_fence(std::memory_order_release);  // nothing below is seen without the odd sequence
    entry.record.store(record, kRelaxed);
    entry.hash.store(hash, kRelaxed);
    entry.client_id.store(key.client_id, kRelaxed);
    entry.shape.store(key.shape, kRelaxed);
    for (std::size_t i = 0; i < 2; ++i) {
      entry.client[i].store(key.client[i], kRelaxed);
      entry.addr[i].store(key.addr[i], kRelaxed);
    }
    for (std::size_t i = 0; i < key.words(); ++i) entry.text[i].store(key.text[i], kRelaxed);
    entry.check.store(key.check(table_.seed_, slot), kRelaxed);
    Layout::expires(table_, slot).store(expires_ms, kRelaxed);
    Layout::pin(table_, slot).store(0, kRelaxed);
    entry.sequence.store(even_after(sequence), std::memory_order_release);  // published

    link(slot, hash);
    if (head_.used.load(kRelaxed) == slot) head_.used.store(slot + 1, std::memory_order_release);
    adopt(slot);
  }

  // Tells enforcers; the entry carries the number already.
  void log(std::uint32_t slot, std::uint64_t record) noexcept {
    Layout::log(table_, record).store(record << kSlotBits | slot, std::memory_order_release);
    head_.last.store(record, std::memory_order_release);
  }

  // Whatever the last writer was doing, afterwards every entry is whole and in its chain, or free.
  void repair() noexcept {
    damaged_ = false;
    const std::uint32_t used = count_used();
    mend_chains(used);
    for (std::uint32_t i = 0; i < Layout::cell_count(table_.capacity_); ++i) {
      ClientCell& cell = Layout::cell(table_, i);
      if (cell.count.load(kRelaxed) != 0) cell.count.store(0, kRelaxed);
    }
    head_.all_root.store(0, kRelaxed);
    Heap all(table_, kAll), of_client(table_, kOfClient);
    for (std::uint32_t slot = 0; slot < used; ++slot) {
      Entry& entry = Layout::entry(table_, slot);
      adopt(slot);
      const bool holds = (entry.shape.load(kRelaxed) & 0xffff) != 0;
      if (!holds || entry.record.load(kRelaxed) <= table_.last()) continue;
      const std::uint64_t record = table_.last() + 1;
      if (record > kMaxSequence) continue;
      entry.record.store(record, kRelaxed);
      log(slot, record);
    }
    head_.repairs.fetch_add(1, kRelaxed);
  }

 private:
  static constexpr unsigned kMostPassed = 1024, kMostPassedOwn = 256;

  // Later than now: a live flow uses it. What says more than a pin may be is damage.
  std::uint64_t pinned_until(std::uint32_t slot, std::uint64_t now_ms) noexcept {
    const std::uint64_t until = Layout::pinned_until(Layout::pin(table_, slot).load(kRelaxed),
                                                     Layout::entry(table_, slot).check.load(kRelaxed));
    return until <= now_ms + kMaxPinMs ? until : 0;
  }

  // The first of the client's own that no flow uses. Those before it leave the client's heap for the while.
  std::uint32_t take_own(std::uint64_t client_id, std::uint64_t now_ms) noexcept {
    std::array<std::uint32_t, kMostPassedOwn> passed;
    std::size_t count = 0;
    std::uint32_t taken = kNoSlot;
    ClientCell& cell = *cell_of(client_id);
    while (!damaged()) {
      const std::uint32_t own = cell.root.load(kRelaxed);
      if (own > table_.capacity_ || (own == 0 && count == 0)) damaged_ = true;
      if (own == 0 || damaged_) break;
      if (pinned_until(own - 1, now_ms) <= now_ms) {
        taken = own - 1;
        break;
      }
      if (count == passed.size()) break;
      passed[count++] = own;
      cell.root.store(of_client_.remove(own, own), kRelaxed);
    }
    for (std::size_t i = 0; i < count; ++i)
      cell.root.store(of_client_.insert(cell.root.load(kRelaxed), passed[i]), kRelaxed);
    if (taken == kNoSlot || damaged()) return kNoSlot;
    if (Layout::expires(table_, taken).load(kRelaxed) > now_ms) head_.evictions.fetch_add(1, kRelaxed);
    evict(taken);
    return taken;
  }

  static std::uint32_t even_after(std::uint32_t odd) noexcept {
    return odd + 1 == 0 ? 2 : odd + 1;
  }  // 0: never written

  std::atomic<std::uint32_t>& bucket(std::uint64_t hash) noexcept {
    return Layout::bucket(table_, Layout::bucket_index(table_, hash));
  }

  void link(std::uint32_t slot, std::uint64_t hash) noexcept {
    std::atomic<std::uint32_t>& head = bucket(hash);
    Layout::entry(table_, slot).next.store(head.load(kRelaxed), kRelaxed);
    head.store(slot + 1, std::memory_order_release);
  }

  void unlink(std::uint32_t slot) noexcept {
    const Entry& entry = Layout::entry(table_, slot);
    std::atomic<std::uint32_t>* at = &bucket(entry.hash.load(kRelaxed));
    for (std::uint32_t steps = 0; steps <= table_.capacity_; ++steps) {
      const std::uint32_t next = at->load(kRelaxed);
      if (next == slot + 1) {
        at->store(entry.next.load(kRelaxed), std::memory_order_release);
        return;
      }
      if (next == 0 || next > table_.capacity_) break;
      at = &Layout::entry(table_, next - 1).next;
    }
    damaged_ = true;
  }

  std::uint32_t home(std::uint64_t client_id) const noexcept {
    return static_cast<std::uint32_t>(ledger::mix(table_.seed_ ^ 0xc11e, client_id) >> 32) &
           (Layout::cell_count(table_.capacity_) - 1);
  }

  // The client's cell, or the empty one where it would be.
  ClientCell* cell_of(std::uint64_t client_id) noexcept {
    const std::uint32_t cells = Layout::cell_count(table_.capacity_);
    std::uint32_t i = home(client_id);
    for (std::uint32_t steps = 0; steps < cells; ++steps, i = (i + 1) & (cells - 1)) {
      ClientCell& cell = Layout::cell(table_, i);
      if (cell.count.load(kRelaxed) == 0 || cell.client_id.load(kRelaxed) == client_id) return &cell;
    }
    damaged_ = true;
    return nullptr;
  }

  // Empties a cell and moves up those behind it that probing would no longer reach.
  void clear_cell(ClientCell& cell) noexcept {
    const std::uint32_t mask = Layout::cell_count(table_.capacity_) - 1;
    auto hole = static_cast<std::uint32_t>(&cell - &Layout::cell(table_, 0));
    std::uint32_t i = hole;
    for (std::uint32_t steps = 0; steps < mask; ++steps) {
      i = (i + 1) & mask;
      const ClientCell& other = Layout::cell(table_, i);
      if (other.count.load(kRelaxed) == 0) break;
      const std::uint32_t distance = (i - home(other.client_id.load(kRelaxed))) & mask;
      if (distance < ((i - hole) & mask)) continue;  // its home lies behind the hole
      ClientCell& to = Layout::cell(table_, hole);
      to.client_id.store(other.client_id.load(kRelaxed), kRelaxed);
      to.root.store(other.root.load(kRelaxed), kRelaxed);
      to.count.store(other.count.load(kRelaxed), kRelaxed);
      hole = i;
    }
    Layout::cell(table_, hole).count.store(0, kRelaxed);
  }

  // Puts an entry that stands into the heaps and the cell of its client. A free one is only in the heap of all, first.
  void adopt(std::uint32_t slot) noexcept {
    const Entry& entry = Layout::entry(table_, slot);
    head_.all_root.store(all_.insert(head_.all_root.load(kRelaxed), slot + 1), kRelaxed);
    if ((entry.shape.load(kRelaxed) & 0xffff) == 0) return;
    const std::uint64_t client_id = entry.client_id.load(kRelaxed);
    ClientCell* cell = cell_of(client_id);
    if (cell == nullptr) return;
    const std::uint32_t count = cell->count.load(kRelaxed);
    if (count == 0) {
      cell->client_id.store(client_id, kRelaxed);
      cell->root.store(0, kRelaxed);
    }
    cell->root.store(of_client_.insert(cell->root.load(kRelaxed), slot + 1), kRelaxed);
    cell->count.store(count + 1, kRelaxed);
  }

  // Out of everything; the entry itself still says what it said.
  void evict(std::uint32_t slot) noexcept {
    const Entry& entry = Layout::entry(table_, slot);
    head_.all_root.store(all_.remove(head_.all_root.load(kRelaxed), slot + 1), kRelaxed);
    if ((entry.shape.load(kRelaxed) & 0xffff) == 0) return;  // free
    unlink(slot);
    ClientCell* cell = cell_of(entry.client_id.load(kRelaxed));
    const std::uint32_t count = cell == nullptr ? 0 : cell->count.load(kRelaxed);
    if (count == 0) {
      damaged_ = true;
      return;
    }
    cell->root.store(of_client_.remove(cell->root.load(kRelaxed), slot + 1), kRelaxed);
    if (count == 1) {
      clear_cell(*cell);
    } else {
      cell->count.store(count - 1, kRelaxed);
    }
  }

  // The dead may have written the first unused entry and not counted it.
  std::uint32_t count_used() noexcept {
    std::uint32_t used = std::min(head_.used.load(kRelaxed), table_.capacity_);
    if (used < table_.capacity_ && Layout::entry(table_, used).sequence.load(kRelaxed) != 0) ++used;
    head_.used.store(used, std::memory_order_release);
    return used;
  }

  // Readers go on meanwhile: nothing that belongs into a chain is taken out of it.
  void mend_chains(std::uint32_t used) noexcept {
    // Marks of what was met in a chain, in links that are built anew afterwards.
    for (std::uint32_t slot = 0; slot < used; ++slot) Layout::node(table_, kAll, slot).parent.store(0, kRelaxed);
    for (std::uint32_t i = 0; i < Layout::bucket_count(table_.capacity_); ++i) {
      std::atomic<std::uint32_t>* at = &Layout::bucket(table_, i);
      for (std::uint32_t steps = 0; at->load(kRelaxed) != 0; ++steps) {
        const std::uint32_t next = at->load(kRelaxed);
        if (next > used || steps > used || Layout::node(table_, kAll, next - 1).parent.load(kRelaxed) != 0) {
          at->store(0, std::memory_order_release);  // nonsense, or a ring
          break;
        }
        Entry& entry = Layout::entry(table_, next - 1);
        const bool whole = entry.sequence.load(kRelaxed) % 2 == 0 && (entry.shape.load(kRelaxed) & 0xffff) != 0;
        if (!whole || Layout::bucket_index(table_, entry.hash.load(kRelaxed)) != i) {
          at->store(entry.next.load(kRelaxed), std::memory_order_release);
          continue;
        }
        Layout::node(table_, kAll, next - 1).parent.store(1, kRelaxed);
        at = &entry.next;
      }
    }
    for (std::uint32_t slot = 0; slot < used; ++slot) {
      Entry& entry = Layout::entry(table_, slot);
      const std::uint32_t sequence = entry.sequence.load(kRelaxed);
      if (sequence % 2 != 0 || sequence == 0) {
        entry.sequence.store(sequence | 1, kRelaxed);
        std::atomic_thread_fence(std::memory_order_release);
        entry.shape.store(0, kRelaxed);
        entry.check.store(0, kRelaxed);
        Layout::expires(table_, slot).store(0, kRelaxed);
        Layout::pin(table_, slot).store(0, kRelaxed);
        entry.sequence.store(even_after(sequence | 1), std::memory_order_release);
      } else if ((entry.shape.load(kRelaxed) & 0xffff) != 0 &&
                 Layout::node(table_, kAll, slot).parent.load(kRelaxed) == 0) {
        link(slot, entry.hash.load(kRelaxed));
      }
    }
  }

  BindingTable& table_;
  Header& head_;
  Heap all_, of_client_;
  bool damaged_ = false;
};

Result<std::uint64_t> BindingTable::record(const Binding& binding, std::uint64_t now_ms,
                                           std::uint64_t asked_ms) noexcept {
  constexpr Error kGone = {ErrorCode::kUnsupported, "whoever asked is no longer there", 0};
  Key key;
  const std::string_view text = binding.name.text();
  key.client_id = binding.client_id;
  key.shape = text.size() | (binding.client ? Key::family(*binding.client) : 0) << 16 | Key::family(binding.addr) << 24;
  if (binding.client) key.client = Layout::words(*binding.client);
  key.addr = Layout::words(binding.addr);
  std::memcpy(key.text.data(), text.data(), text.size());
  const std::uint64_t hash = Layout::hash(*this, key.client_id, Key::family(binding.addr), key.addr);
  const std::uint64_t expires_ms = now_ms + clamped_ttl(binding.ttl_ms);
  const auto is_forgotten = [&]() noexcept {
    return binding.client &&
           Layout::forgotten(*this, Key::family(*binding.client), key.client).load(std::memory_order_seq_cst) >=
               asked_ms;
  };

  const RobustLock lock(header().mutex, [this]() noexcept { Writer(*this).repair(); });
  if (!lock.held()) return Error{ErrorCode::kExhausted, "the ledger's lock is held by another process", 0};
  if (is_forgotten()) return kGone;
  // Twice: what a first try found damaged is rebuilt before the second.
  for (int attempt = 0; attempt < 2; ++attempt) {
    const std::uint64_t record = last() + 1;
    if (record > kMaxSequence) return Error{ErrorCode::kExhausted, "the ledger has given out all its numbers", 0};
    Writer writer(*this);
    std::uint32_t slot = writer.find(hash, key);
    if (slot != kNoSlot) {
      writer.extend(slot, expires_ms);
      Layout::entry(*this, slot).record.store(record, kRelaxed);
    } else if (!writer.damaged()) {
      slot = writer.take(key.client_id, now_ms);
      if (slot != kNoSlot && !writer.damaged()) writer.write(slot, hash, key, expires_ms, record);
    }
    if (writer.damaged()) {
      Writer(*this).repair();
      continue;
    }
    if (slot == kNoSlot) return Error{ErrorCode::kExhausted, "the ledger is full", 0};
    // forget() may have passed this entry before it was there. What the heaps believe of it costs its room for a while.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const bool gone = is_forgotten();
    if (gone) Layout::expires(*this, slot).store(0, kRelaxed);
    writer.log(slot, record);
    if (gone) return kGone;
    return record;
  }
  return Error{ErrorCode::kExhausted, "the ledger is damaged", 0};
}

}  // namespace sallyport
