#include "host/cell/signal_scope.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace sallyport::cell {
namespace {

// linux/landlock.h of Debian 12 is older than scopes; the numbers are ABI.
constexpr long kCreateRuleset = 444, kRestrictSelf = 446;
constexpr unsigned kAskVersion = 1;
constexpr long kScopesSince = 6;
constexpr std::uint64_t kScopeSignal = 1u << 1;

struct RulesetAttributes {
  std::uint64_t handled_access_fs, handled_access_net, scoped;
};

}  // namespace

bool confine_signals() noexcept {
  if (::syscall(kCreateRuleset, nullptr, 0, kAskVersion) < kScopesSince) return false;
  const RulesetAttributes attributes{0, 0, kScopeSignal};
  const long ruleset = ::syscall(kCreateRuleset, &attributes, sizeof attributes, 0);
  if (ruleset < 0) return false;
  const bool confined = ::syscall(kRestrictSelf, ruleset, 0) == 0;
  ::close(static_cast<int>(ruleset));
  return confined;
}

}  // namespace sallyport::cell
