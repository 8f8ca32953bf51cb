#include "host/gate/credentials.hpp"

#include <algorithm>
#include <map>

#include "language/suggest.hpp"
#include "language/trusted_file.hpp"

namespace sallyport {
namespace {

constexpr std::uint64_t kMaxCredentials = 1u << 20;
constexpr std::size_t kMostUsers = 256;      // they travel in one message to the worker
constexpr std::size_t kMostUserOctets = 63;  // as the audit keeps it

// yescrypt, gost-yescrypt, scrypt, bcrypt, SHA-512, SHA-256. Not DES, not MD5: they are guessed in minutes.
constexpr std::string_view kHashes[] = {"$y$", "$gy$", "$7$", "$2b$", "$2a$", "$2y$", "$6$", "$5$"};

Diagnostic& fault(Diagnostics& diagnostics, const std::string& path, std::uint32_t line, std::uint32_t column,
                  std::size_t length, std::string message, std::string repair) {
  Diagnostic diagnostic;
  diagnostic.code = "G018";
  diagnostic.where.file = path;
  diagnostic.where.line = line;
  diagnostic.where.column = column;
  diagnostic.where.length = static_cast<std::uint32_t>(std::max<std::size_t>(length, 1));
  diagnostic.message = std::move(message);
  diagnostic.repair = std::move(repair);
  return diagnostics.emplace_back(std::move(diagnostic));
}

}  // namespace

nlohmann::json read_credentials(std::string_view text, const std::string& path, Diagnostics& diagnostics) {
  nlohmann::json users = nlohmann::json::array();
  std::map<std::string, std::uint32_t> seen;
  std::uint32_t number = 0;
  while (!text.empty()) {
    ++number;
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty() || line[0] == '#') continue;
    const std::size_t colon = line.find(':');
    const std::string user(line.substr(0, colon));
    if (colon == std::string_view::npos) {
      fault(diagnostics, path, number, 1, 1, "expected user:hash", "`mkpasswd -m sha512crypt` makes a hash");
      continue;
    }
    const bool plain = !user.empty() && user.size() <= kMostUserOctets &&
                       std::all_of(user.begin(), user.end(), [](unsigned char c) { return c > ' ' && c < 0x7f; });
    if (!plain) {
      fault(diagnostics, path, number, 1, user.size(), in_ticks(user) + " is no user's name",
            "1 to 63 printable ASCII characters without spaces");
      continue;
    }
    const std::string_view hash = line.substr(colon + 1);
    const bool known =
        std::any_of(
            std::begin(kHashes), std::end(kHashes),
            [&](std::string_view start) { return hash.starts_with(start) && hash.size() >= start.size() + 20; }) &&
        hash.size() <= 256 &&
        std::all_of(hash.begin(), hash.end(), [](unsigned char c) { return c > ' ' && c < 0x7f && c != ':'; });
    if (!known) {
      const char* what = hash.starts_with("$1$") || hash.starts_with("$apr1$") || hash.starts_with("{SHA}")
                             ? "has a hash that is too weak"
                             : "has no hash of crypt(5)";
      fault(diagnostics, path, number, static_cast<std::uint32_t>(colon + 2), 1, "user " + in_ticks(user) + " " + what,
            "`mkpasswd -m sha512crypt` makes one");
      continue;
    }
    const auto [first, fresh] = seen.emplace(user, number);
    if (!fresh) {
      fault(diagnostics, path, number, 1, user.size(),
            "user " + in_ticks(user) + " is in line " + std::to_string(first->second) + " already",
            "keep one of the two");
      continue;
    }
    if (users.size() == kMostUsers) {
      fault(diagnostics, path, number, 1, user.size(), "more than " + std::to_string(kMostUsers) + " users",
            "give each group of workloads one");
      break;
    }
    users.push_back({{"user", user}, {"hash", hash}});
  }
  return users;
}

nlohmann::json load_credentials(const std::string& path, Diagnostics& diagnostics) {
  const auto refuse = [&](const TrustFailure& failure) {
    fault(diagnostics, path, 0, 0, 0, failure.message, failure.repair);
    return nlohmann::json::array();
  };
  TrustedFile::Opened opened = TrustedFile::open(path, kMaxCredentials);
  if (opened.failure) return refuse(*opened.failure);
  std::string text;
  if (const std::optional<TrustFailure> failure = opened.file->read(text)) return refuse(*failure);
  return read_credentials(text, path, diagnostics);
}

}  // namespace sallyport
