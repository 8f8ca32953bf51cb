#include "host/worker/crash.hpp"

#include <link.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>

namespace sallyport {
namespace {

struct Module {
  char name[32];
  std::uintptr_t first, last;
};
Module modules[32];
std::atomic<int> module_count{0};
int report_fd = -1;

// Async-signal-safe: fixed memory, write(2), _exit(2).
void on_fatal_signal(int signal, siginfo_t* info, void* context) {
  std::uintptr_t at = 0;
#if defined(__x86_64__)
  at = static_cast<std::uintptr_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
#elif defined(__aarch64__)
  at = static_cast<ucontext_t*>(context)->uc_mcontext.pc;
#endif
  const char* where = info->si_code <= 0 ? "another process" : "the host";
  for (int i = 0; i < module_count.load(std::memory_order_acquire); ++i) {
    if (info->si_code > 0 && at >= modules[i].first && at < modules[i].last) where = modules[i].name;
  }
  char line[128] = "{\"type\":\"crashed\",\"text\":\"signal ";
  std::size_t length = std::strlen(line);
  line[length++] = static_cast<char>('0' + signal / 10);
  line[length++] = static_cast<char>('0' + signal % 10);
  std::memcpy(line + length, " in ", 4);
  length += 4;
  const std::size_t text = std::strlen(where);
  std::memcpy(line + length, where, text);
  length += text;
  std::memcpy(line + length, "\"}", 2);
  length += 2;
  [[maybe_unused]] const ssize_t written = ::write(report_fd, line, length);  // one message of the channel
  ::_exit(128 + signal);
}

int find_range(dl_phdr_info* info, std::size_t, void* data) {
  auto* module = static_cast<Module*>(data);
  const std::uintptr_t inside = module->first;
  std::uintptr_t first = UINTPTR_MAX, last = 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    const std::uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    first = start < first ? start : first;
    last = start + info->dlpi_phdr[i].p_memsz > last ? start + info->dlpi_phdr[i].p_memsz : last;
  }
  if (inside < first || inside >= last) return 0;
  module->first = first;
  module->last = last;
  return 1;
}

}  // namespace

void install_crash_handler(int fd) {
  report_fd = fd;
  static char stack[64 * 1024];
  stack_t alternate{};
  alternate.ss_sp = stack;
  alternate.ss_size = sizeof stack;
  ::sigaltstack(&alternate, nullptr);
  struct sigaction action{};
  action.sa_sigaction = on_fatal_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND;
  for (int signal : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS}) ::sigaction(signal, &action, nullptr);
}

void name_module(const std::string& name, const void* address_inside) {
  const int index = module_count.load(std::memory_order_relaxed);
  if (index >= static_cast<int>(std::size(modules))) return;
  Module& module = modules[index];
  module.first = reinterpret_cast<std::uintptr_t>(address_inside);
  name.copy(module.name, sizeof module.name - 1);
  if (::dl_iterate_phdr(find_range, &module) == 1) module_count.store(index + 1, std::memory_order_release);
}

}  // namespace sallyport
