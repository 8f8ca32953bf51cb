// What the host must know of a plugin before any of its code runs, read from its bytes by our own bounded reader.
//
// Form     ELF64, little-endian, x86-64 or AArch64, ET_DYN. Every offset, size and count is checked against the file.
// Errors   kMalformed with a static reason for anything truncated, overlapping or foreign; kUnsupported for another
// class of file. Threads  Pure functions; views point into the caller's bytes. Source   System V ABI, chapter 4 and 5;
// docs/plugins.md for section .policy.manifest.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "result/result.hpp"

namespace sallyport {

struct ElfImage {
  std::string_view manifest;             // the bytes of .policy.manifest without a closing NUL
  std::vector<std::string_view> needed;  // DT_NEEDED, in order
  bool exports_entry = false;            // policy_plugin_entry is a defined, global data symbol
};

Result<ElfImage> read_elf(std::span<const std::byte> file);

}  // namespace sallyport
