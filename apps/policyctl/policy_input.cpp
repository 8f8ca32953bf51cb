#include "policyctl/policy_input.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <ostream>
#include <utility>

namespace sallyport::policyctl {
namespace {

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

LoadOutcome load(const std::string& file, LoadOptions& options) {
  options.opens_files = true;  // of standard input: relative to the working directory
  if (file != "-") return load_policy_file(file, options);
  std::string text;
  read_all(STDIN_FILENO, kMaxPolicyOctets, text);
  return load_policy(text, kStandardInput, options);
}

}  // namespace

LoadOutcome load_policy_input(const std::string& file) {
  LoadOptions options;
  options.now = static_cast<std::int64_t>(std::time(nullptr));
  return load(file, options);
}

LoadOutcome load_policy_to_test(const std::string& file, const std::string& tests_file) {
  LoadOptions options;
  options.now = static_cast<std::int64_t>(std::time(nullptr));
  options.run_tests = false;
  options.tests_file = tests_file;
  return load(file, options);
}

std::optional<CompiledPolicy> compile_input(const std::string& file, std::uint64_t generation,
                                            const Terminal& terminal) {
  LoadOutcome outcome = load_policy_input(file);
  if (!outcome.ok()) {
    terminal.err << render(outcome.diagnostics, terminal.err_color);
    return std::nullopt;
  }
  std::optional<CompiledPolicy> policy = compiled(*std::move(outcome.model), generation, terminal);
  if (policy) policy->warnings = std::move(outcome.diagnostics);
  return policy;
}

std::optional<CompiledPolicy> compiled(PolicyModel model, std::uint64_t generation, const Terminal& terminal) {
  CompiledPolicy policy{std::move(model), {}, {}, {}};
  Result<std::vector<std::byte>> bytes = compile(policy.model, generation);
  if (!bytes.ok()) {
    terminal.err << "policyctl: " << bytes.error().message << "\n";
    return std::nullopt;
  }
  policy.bytes = *std::move(bytes);
  Result<std::shared_ptr<const Snapshot>> snapshot = Snapshot::open(policy.bytes);
  if (!snapshot.ok()) {
    terminal.err << "policyctl: " << snapshot.error().message << "\n";
    return std::nullopt;
  }
  policy.snapshot = *std::move(snapshot);
  return policy;
}

std::shared_ptr<const Snapshot> open_snapshot(const std::string& file, const Terminal& terminal) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    terminal.err << "policyctl: " << file << ": " << std::strerror(errno) << "\n";
    return nullptr;
  }
  const Result<std::shared_ptr<const Snapshot>> snapshot = Snapshot::map(fd);
  ::close(fd);
  if (snapshot.ok()) return *snapshot;
  terminal.err << "policyctl: " << file << ": " << snapshot.error().message
               << "; a snapshot belongs to the build that wrote it: see policyctl help compile\n";
  return nullptr;
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
