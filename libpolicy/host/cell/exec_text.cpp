#include "host/cell/exec_text.hpp"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>
#include <string_view>

#include "host/cell/git_names.hpp"
#include "host/cell/kernel_files.hpp"
#include "host/cell/mount_table.hpp"

namespace sallyport::cell {
namespace {

constexpr std::size_t kStart = 4096;  // holds the first line, or the program headers of what linkers write

// Words that name a file of the command's choice, without what would move a terminal's cursor.
std::string printable(std::string text) {
  for (char& octet : text)
    if (static_cast<unsigned char>(octet) < ' ' || octet == 0x7f) octet = '?';
  return text;
}

std::optional<std::string> interpreter_of_script(std::string_view start) {
  if (!start.starts_with("#!")) return std::nullopt;
  start = start.substr(2, start.find('\n') - 2);
  start.remove_prefix(std::min(start.find_first_not_of(" \t"), start.size()));
  return std::string(start.substr(0, start.find_first_of(" \t")));
}

std::optional<std::string> loader_of_program(std::string_view start) {
  Elf64_Ehdr header;
  if (start.size() < sizeof(header) || !start.starts_with(std::string_view(ELFMAG, SELFMAG)) ||
      start[EI_CLASS] != ELFCLASS64)
    return std::nullopt;
  std::memcpy(&header, start.data(), sizeof(header));
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr part;
    if (header.e_phoff > start.size() || start.size() - header.e_phoff < (i + 1) * sizeof(part)) break;
    std::memcpy(&part, start.data() + header.e_phoff + i * sizeof(part), sizeof(part));
    if (part.p_type != PT_INTERP || part.p_offset >= start.size()) continue;
    const std::string_view name = start.substr(part.p_offset, part.p_filesz);
    return std::string(name.substr(0, name.find('\0')));
  }
  return std::nullopt;
}

std::string link_target(const std::string& path) {
  std::array<char, PATH_MAX> target{};
  return ::readlink(path.c_str(), target.data(), target.size() - 1) > 0 ? target.data() : "";
}

// What is the matter with a file that exists; empty: nothing that can be seen.
std::string matter_with(const std::string& path, const std::string& directory) {
  struct stat status;
  if (::stat(path.c_str(), &status) != 0)
    return errno == ENOENT ? "is a link to " + link_target(path) + ", which does not exist" : std::strerror(errno);
  if (S_ISDIR(status.st_mode)) return "is a directory";
  if (!S_ISREG(status.st_mode)) return "is not a file";
  if ((status.st_mode & 0111) == 0) return "is not executable (chmod +x)";
  std::array<char, PATH_MAX> resolved;
  const std::string start =
      read_start(::realpath(path.c_str(), resolved.data()) ? resolved.data() : path, kStart).value_or("");
  for (const auto& [found, what] :
       {std::pair(interpreter_of_script(start), "interpreter"), std::pair(loader_of_program(start), "loader")}) {
    if (!found) continue;
    const std::string file = found->starts_with('/') ? *found : join(directory, *found);
    const std::string name = std::string("its ") + what + " " + *found;
    if (::stat(file.c_str(), &status) != 0)
      return name + (errno != ENOENT          ? " cannot be run"
                     : found->ends_with('\r') ? " does not exist: its first line ends as Windows ends lines"
                                              : " does not exist");
    if (S_ISDIR(status.st_mode)) return name + " is a directory";
    if ((status.st_mode & 0111) == 0) return name + " is not executable";
  }
  return {};
}

}  // namespace

std::string exec_error_text(const std::string& command, const std::vector<std::string>& candidates,
                            const std::string& directory, int error) {
  const std::string prefix = printable(command) + ": ";
  if (error == E2BIG) return prefix + "its arguments and environment are too long";
  if (error == ENOENT || error == EACCES || error == ENOTDIR || error == ELOOP) {
    for (const std::string& candidate : candidates) {
      const std::string path = candidate.starts_with('/') ? candidate : join(directory, candidate);
      if (!exists(path)) continue;
      if (const std::string matter = matter_with(path, directory); !matter.empty()) return prefix + printable(matter);
    }
    if (error == ENOENT) return prefix + "not found";
  }
  return prefix + std::strerror(error);
}

}  // namespace sallyport::cell
