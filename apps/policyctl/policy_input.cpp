#include "policyctl/policy_input.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace sallyport::policyctl {
namespace {

constexpr const char* kStandardInput = "<stdin>";

// One octet more than `most` is enough to see that there are more.
int read_all(int fd, std::size_t most, std::string& text) {
  char buffer[65536];
  while (text.size() <= most) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) break;
    text.append(buffer, static_cast<std::size_t>(got));
  }
  return 0;
}

}  // namespace

LoadOutcome load_policy_input(const std::string& file) {
  if (file != "-") return load_policy_file(file);
  std::string text;
  read_all(STDIN_FILENO, kMaxPolicyOctets, text);
  LoadOptions options;
  options.opens_files = true;  // relative to the working directory
  return load_policy(text, kStandardInput, options);
}

TextInput read_text_input(const std::string& file, std::size_t most) {
  TextInput input;
  input.name = file == "-" ? kStandardInput : file;
  int fd = STDIN_FILENO;
  if (file != "-") {
    // O_NONBLOCK: a FIFO that nobody writes to must not hang.
    fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat found{};
    if (fd < 0 || ::fstat(fd, &found) != 0) {
      input.failure = file + ": " + std::strerror(errno);
    } else if (!S_ISREG(found.st_mode)) {
      input.failure = file + ": is no regular file";
    }
  }
  if (input.failure.empty()) {
    const int failed = read_all(fd, most, input.text);
    if (failed != 0) input.failure = input.name + ": " + std::strerror(failed);
  }
  if (fd > STDIN_FILENO) ::close(fd);
  return input;
}

}  // namespace sallyport::policyctl
