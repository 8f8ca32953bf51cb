// Whole reads and writes of small files: /proc, sysctls, and the three files of /etc that a cell has of its own.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sallyport::cell {

// Nothing if it can't be opened or read; errno says why.
std::optional<std::string> read_kernel_file(const char* path);

// The first octets of a regular file, by its own name: neither a link nor a pipe is followed or waited for.
std::optional<std::string> read_start(const std::string& path, std::size_t most);

// One write(2), as uid_map and sysctls demand. False: errno says why.
bool write_kernel_file(const char* path, std::string_view text);

// Replaces what is there, a symbolic link included (never what it points to). False: errno says why.
bool replace_file(const std::string& path, std::string_view text, unsigned mode);

}  // namespace sallyport::cell
