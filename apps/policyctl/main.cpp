// policyctl: the policy at the desk. Composition only; the commands are beside it.
#include <unistd.h>

#include <cstdlib>
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
  const sallyport::policyctl::Terminal terminal{std::cout, std::cerr, color(STDOUT_FILENO), color(STDERR_FILENO)};
  return sallyport::policyctl::finish(sallyport::policyctl::run(arguments, terminal), terminal);
}
