#include "policyctl/policy_input.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstddef>

namespace sallyport::policyctl {

LoadOutcome load_policy_input(const std::string& file) {
  if (file != "-") return load_policy_file(file);
  std::string text;
  char buffer[65536];
  while (text.size() <= kMaxPolicyOctets) {
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  LoadOptions options;
  options.opens_files = true;  // relative to the working directory
  return load_policy(text, "<stdin>", options);
}

}  // namespace sallyport::policyctl
