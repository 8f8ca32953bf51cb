#include "host/doctor/listeners.hpp"

#include <dirent.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <sstream>

namespace sallyport::doctor {
namespace {

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <typename Number>
bool parse(std::string_view text, int base, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return error == std::errc{} && end == text.data() + text.size();
}

// Words of the host's octet order, each octet pair as hexadecimal: 0100007F is 127.0.0.1.
bool parse_address(std::string_view hex, bool v6, Address& out) {
  std::array<std::uint8_t, 16> octets{};
  if (hex.size() != (v6 ? 32u : 8u)) return false;
  for (std::size_t word = 0; word < hex.size() / 8; ++word) {
    std::uint32_t value = 0;
    if (!parse(hex.substr(word * 8, 8), 16, value)) return false;
    for (std::size_t i = 0; i < 4; ++i) octets[word * 4 + i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  out = v6 ? Address::v6(octets)
           : Address::v4(static_cast<std::uint32_t>(octets[0]) << 24 | static_cast<std::uint32_t>(octets[1]) << 16 |
                         static_cast<std::uint32_t>(octets[2]) << 8 | octets[3]);
  return true;
}

struct CloseDirectory {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, CloseDirectory>;

std::vector<std::string> entries(const std::string& path) {
  std::vector<std::string> names;
  const Directory directory(::opendir(path.c_str()));
  while (const dirent* entry = directory ? ::readdir(directory.get()) : nullptr) {
    if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') names.emplace_back(entry->d_name);
  }
  return names;
}

// The programs behind these sockets, by inode.
std::map<std::uint64_t, std::string> holders(std::map<std::uint64_t, std::string> wanted) {
  for (const std::string& pid : entries("/proc")) {
    const std::string process = "/proc/" + pid;
    for (const std::string& number : entries(process + "/fd")) {
      char target[64];
      const ssize_t size = ::readlink((process + "/fd/" + number).c_str(), target, sizeof target);
      const std::string_view link(target, size > 0 ? static_cast<std::size_t>(size) : 0);
      std::uint64_t inode = 0;
      if (!link.starts_with("socket:[") || !parse(link.substr(8, link.size() - 9), 10, inode)) continue;
      const auto found = wanted.find(inode);
      if (found == wanted.end() || !found->second.empty()) continue;
      std::string name = read_file(process + "/comm");
      while (!name.empty() && name.back() == '\n') name.pop_back();
      found->second = name + " (pid " + pid + ")";
    }
  }
  return wanted;
}

}  // namespace

std::string ListeningSocket::text() const {
  return (program.empty() ? "a program that only root may look at" : program) + " on " + std::to_string(port) +
         (udp ? "/udp" : "/tcp");
}

void read_socket_table(std::string_view text, bool udp, bool v6, std::vector<ListeningSocket>& out) {
  std::istringstream lines{std::string(text)};
  std::string line;
  std::getline(lines, line);  // the headings
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    const std::vector<std::string> field{std::istream_iterator<std::string>(words), {}};
    // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
    if (field.size() < 10) continue;
    ListeningSocket socket;
    socket.udp = udp;
    const std::size_t colon = field[1].find(':');
    if (field[3] != (udp ? "07" : "0A") || colon == std::string::npos) continue;
    if (!parse_address(std::string_view(field[1]).substr(0, colon), v6, socket.address) ||
        !parse(std::string_view(field[1]).substr(colon + 1), 16, socket.port) || !parse(field[9], 10, socket.inode))
      continue;
    socket.everywhere = field[1].find_first_not_of('0') == colon;
    out.push_back(std::move(socket));
  }
}

std::vector<ListeningSocket> listening_sockets() {
  std::vector<ListeningSocket> found;
  read_socket_table(read_file("/proc/net/tcp"), false, false, found);
  read_socket_table(read_file("/proc/net/tcp6"), false, true, found);
  read_socket_table(read_file("/proc/net/udp"), true, false, found);
  read_socket_table(read_file("/proc/net/udp6"), true, true, found);
  std::map<std::uint64_t, std::string> wanted;
  for (const ListeningSocket& socket : found) wanted[socket.inode];
  const std::map<std::uint64_t, std::string> known = holders(std::move(wanted));
  for (ListeningSocket& socket : found) socket.program = known.at(socket.inode);
  return found;
}

}  // namespace sallyport::doctor
