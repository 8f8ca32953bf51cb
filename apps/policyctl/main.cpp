// policyctl: the policy at the desk. Composition only; the commands are beside it.
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <vector>

#include "policyctl/command.hpp"

namespace {

// NO_COLOR (no-color.org), and nothing but a terminal gets color.
bool color(int fd) {
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && *no_color != 0) return false;
  const char* term = std::getenv("TERM");
  return term != nullptr && std::string_view(term) != "dumb" && ::isatty(fd) == 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const int status =
      sallyport::policyctl::run(arguments, {std::cout, std::cerr, color(STDOUT_FILENO), color(STDERR_FILENO)});
  // A verdict that did not reach its reader is no yes.
  errno = 0;
  std::cout.flush();
  if (std::cout) return status;
  // The errno of an earlier write is gone by now.
  std::cerr << "policyctl: standard output: " << (errno != 0 ? std::strerror(errno) : "could not be written") << "\n";
  return sallyport::policyctl::kUsage;
}
