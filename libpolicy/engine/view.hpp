// Snapshot::View: the tables of a snapshot, and the memory below them if the snapshot owns it. Internal to engine/.
#pragma once

#include <memory>

#include "engine/decide.hpp"
#include "engine/tables.hpp"

namespace sallyport {

struct Snapshot::View {
  View() = default;
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View();

  Tables tables;
  std::unique_ptr<std::byte[]> copy;  // of bytes that were misaligned, or that somebody could still change
  void* mapping = nullptr;
  std::size_t mapped = 0;
};

}  // namespace sallyport
