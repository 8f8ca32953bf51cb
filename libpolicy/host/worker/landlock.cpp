#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "host/worker/jail.hpp"

// The header of the machine that builds may be older than the kernel that runs: what it lacks is written out.
namespace sallyport {
namespace {

constexpr std::uint64_t kReadFile = 1u << 2, kReadDirectory = 1u << 3;
constexpr std::uint64_t kScopeAbstractSockets = 1u << 0, kScopeSignals = 1u << 1;

// Rights on files that each version of Landlock knows: 1 to 13, then refer, truncate, (network,) ioctl.
constexpr std::uint64_t file_rights(int version) {
  const unsigned bits = version >= 5 ? 16 : version >= 3 ? 15 : version == 2 ? 14 : 13;
  return (std::uint64_t{1} << bits) - 1;
}

struct Ruleset {
  std::uint64_t files = 0, network = 0, scoped = 0;
};

// The kernel refuses a longer struct than it knows.
std::size_t size_of(int version) { return version >= 6 ? 24 : version >= 4 ? 16 : 8; }

std::string failed(const char* what) { return std::string("worker: landlock: ") + what + ": " + std::strerror(errno); }

}  // namespace

JailError restrict_files(bool own_root, int* kernel) {
  const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  if (kernel != nullptr) *kernel = version > 0 ? static_cast<int>(version) : 0;
  if (version <= 0) return std::nullopt;  // an older kernel, or one without it: the other walls stand
  Ruleset rules;
  rules.files = file_rights(static_cast<int>(version));
  if (version >= 6) rules.scoped = kScopeAbstractSockets | kScopeSignals;
  const int ruleset =
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &rules, size_of(static_cast<int>(version)), 0));
  if (ruleset < 0) return failed("make a ruleset");
  JailError error;
  if (own_root) {
    const int root = ::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    landlock_path_beneath_attr below{};
    below.allowed_access = kReadFile | kReadDirectory;
    below.parent_fd = root;
    if (root < 0 || ::syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &below, 0) != 0)
      error = failed("add the root");
    if (root >= 0) ::close(root);
  }
  if (!error && ::syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) error = failed("restrict");
  ::close(ruleset);
  return error;
}

}  // namespace sallyport
