// StreamHead: the first octets of a stream in order, however its pieces came: out of order, twice, overlapping.
//
// Bounds   The first kMost octets; pieces that wait for a gap count, and at most kMaxWaiting of them are kept.
//          What came first is kept where pieces overlap, and conflict() says that a later one differed.
// Threads  One at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sallyport::monitor {

class StreamHead {
 public:
  static constexpr std::size_t kMost = 64 * 1024;  // the largest ClientHello and HTTP head that the gateway takes
  static constexpr std::size_t kMaxWaiting = 64;

  // offset: from the stream's first octet. Octets beyond kMost are not kept. Returns how many octets became readable.
  std::size_t add(std::uint64_t offset, std::span<const std::uint8_t> octets) {
    const std::size_t before = text_.size();
    if (offset >= kMost || octets.empty()) return 0;
    octets = octets.first(std::min<std::size_t>(octets.size(), kMost - static_cast<std::size_t>(offset)));
    const std::string_view piece(reinterpret_cast<const char*>(octets.data()), octets.size());
    if (offset > text_.size()) {
      const auto waiting = waiting_.find(static_cast<std::size_t>(offset));
      if (waiting == waiting_.end() ? waiting_.size() < kMaxWaiting : waiting->second.size() < piece.size()) {
        if (waiting != waiting_.end()) held_ -= waiting->second.size();
        held_ += piece.size();
        if (held_ > 2 * kMost) {  // overlapping pieces, sent to fill memory
          held_ -= piece.size();
          if (waiting != waiting_.end()) held_ += waiting->second.size();
          lost_ = true;
          return 0;
        }
        waiting_[static_cast<std::size_t>(offset)] = piece;
      } else if (waiting == waiting_.end()) {
        lost_ = true;
      }
      return 0;
    }
    append(static_cast<std::size_t>(offset), piece);
    while (!waiting_.empty() && waiting_.begin()->first <= text_.size()) {
      append(waiting_.begin()->first, waiting_.begin()->second);
      held_ -= waiting_.begin()->second.size();
      waiting_.erase(waiting_.begin());
    }
    return text_.size() - before;
  }

  std::string_view text() const noexcept { return text_; }
  bool conflict() const noexcept { return conflict_; }
  bool lost() const noexcept { return lost_; }
  std::size_t memory() const noexcept { return text_.capacity() + held_; }
  void clear() { *this = StreamHead(); }

 private:
  void append(std::size_t offset, std::string_view piece) {
    const std::size_t known = std::min(text_.size() - offset, piece.size());
    if (std::string_view(text_).substr(offset, known) != piece.substr(0, known)) conflict_ = true;
    text_.append(piece.substr(known));
  }

  std::string text_;
  std::map<std::size_t, std::string> waiting_;
  std::size_t held_ = 0;
  bool conflict_ = false, lost_ = false;
};

}  // namespace sallyport::monitor
