// Snapshot::View: the tables of a snapshot, and the memory below them if the snapshot owns it. Internal to engine/.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "engine/decide.hpp"
#include "engine/tables.hpp"

namespace sallyport {

struct Snapshot::View {
  View() = default;
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View();

  void find_edges();

  Tables tables;
  // {proto, port}: where some rule of that protocol begins, or ends one before; sorted, each once. 65536 may follow.
  std::vector<std::pair<std::uint16_t, std::uint32_t>> edges;
  std::unique_ptr<std::byte[]> copy;  // of bytes that were misaligned, or that somebody could still change
  void* mapping = nullptr;
  std::size_t mapped = 0;
};

}  // namespace sallyport
