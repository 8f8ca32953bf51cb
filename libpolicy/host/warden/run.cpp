#include "host/warden/run.hpp"

#include <absl/strings/str_format.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>

#include "engine/decide.hpp"
#include "host/cell/cell.hpp"
#include "host/plugin/plugin_image.hpp"
#include "host/warden/audit_trail.hpp"
#include "host/warden/environment.hpp"
#include "host/warden/memory_file.hpp"
#include "host/warden/report.hpp"
#include "host/warden/resolvers.hpp"
#include "host/warden/run_policy.hpp"
#include "host/warden/supervisor.hpp"
#include "language/trusted_file.hpp"
#include "ledger/synthetic_table.hpp"

extern char** environ;

namespace sallyport {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kClient = 1;  // the one client of a run
// The synthetic IPv6 addresses: "Sally" in a unique local prefix, the same in every cell, since nothing routes between
// them.
constexpr const char* kUla = "fd53:616c:6c79::";
constexpr unsigned kNobody = 65534;  // what root's worker becomes
constexpr std::uint64_t kMaxProgram = 256u << 20;

void say(std::string_view text) { absl::FPrintF(stderr, "sallyport: %s\n", text); }

std::string text(const absl::Status& status) { return std::string(status.message()); }

// Ends a run that never began.
int fail(std::string_view text) {
  say(text);
  return kOwnFailure;
}

// As the kernel resolves it: "link/../x" is not "x".
std::string absolute(const std::string& path) {
  std::error_code error;
  const fs::path real = fs::weakly_canonical(path, error);
  return error ? fs::absolute(path).lexically_normal().string() : real.string();
}

// $HOME, or the directory that the system has for the user where the command would run in it (or above): `env -u HOME`
// and sudo's HOME must not make shell start-up files real.
std::string home_directory(const fs::path& working_directory) {
  const auto holds = [&](const fs::path& home) {
    return std::mismatch(working_directory.begin(), working_directory.end(), home.begin(), home.end()).first ==
           working_directory.end();
  };
  const char* variable = ::getenv("HOME");
  const std::string home = variable != nullptr && variable[0] == '/' ? absolute(variable) : "";
  if (!home.empty() && holds(home)) return home;
  const passwd* user = ::getpwuid(::geteuid());
  const std::string known =
      user != nullptr && user->pw_dir != nullptr && user->pw_dir[0] == '/' ? absolute(user->pw_dir) : "";
  return !known.empty() && known != "/" && holds(known) ? known : home;
}

// ---- programs and plugins

// build/bin/sallyport finds build/plugins; an installed /usr/bin/sallyport finds /usr/lib/sallyport/plugins.
std::string beside_program(const char* in_build, const char* installed) {
  std::error_code error;
  const fs::path directory = fs::read_symlink("/proc/self/exe", error).parent_path();
  const fs::path first = (directory / in_build).lexically_normal();
  return fs::exists(first, error) ? first.string() : (directory / installed).lexically_normal().string();
}

absl::StatusOr<std::vector<PluginImage>> open_plugins(const std::string& directory) {
  std::vector<PluginImage> images;
  for (const char* file : {"dns.so", "sni-filter.so"}) {
    absl::StatusOr<PluginImage> image = open_plugin(directory, file);
    if (!image.ok()) return image.status();
    if (image->name + ".so" != file) {
      return absl::FailedPreconditionError(
          absl::StrFormat("plugin %s/%s: it says that it is `%s`", directory, file, image->name));
    }
    images.push_back(*std::move(image));
  }
  return images;
}

absl::StatusOr<json> configs(const std::vector<PluginImage>& images, const std::vector<std::string>& resolvers) {
  json plugins = json::array();
  for (const PluginImage& image : images) {
    json config = {{"upstreams", resolvers}, {"listen", {image.name == "dns" ? "dns" : "tcp"}}};
    if (image.name == "dns") config["answers"] = "synthetic";
    const absl::StatusOr<std::string> filled = plugin_config(image, config);
    if (!filled.ok()) return filled.status();
    plugins.push_back(
        {{"name", image.name}, {"manifest", image.manifest}, {"config", *filled}, {"needed", image.needed}});
  }
  return plugins;
}

Result<SyntheticTable> make_synthetic_table() {
  SyntheticTable::Options options;
  const Result<Address> ula = Address::parse(kUla);
  std::copy_n(ula->octets().begin(), options.v6_prefix.size(), options.v6_prefix.begin());
  if (::getrandom(&options.seed, sizeof options.seed, 0) != sizeof options.seed)
    return Error{ErrorCode::kExhausted, "no random numbers", 0};
  return SyntheticTable::create(options);
}

std::vector<ListenerSetup> listeners_of(const CellSockets& sockets) {
  std::vector<ListenerSetup> listeners;
  for (int fd : {sockets.dns_udp4, sockets.dns_udp6, sockets.dns_tcp4, sockets.dns_tcp6}) {
    if (fd >= 0) listeners.push_back({"dns", fd, kClient});
  }
  for (int fd : {sockets.tcp4, sockets.tcp6}) {
    if (fd >= 0) listeners.push_back({"tcp", fd, kClient});
  }
  return listeners;
}

// ---- the cell

// The working directory as the kernel knows it: $PWD may go through links.
absl::StatusOr<std::string> working_directory() {
  std::error_code error;
  const fs::path path = fs::current_path(error);
  if (error)
    return absl::FailedPreconditionError(absl::StrFormat("the working directory cannot be found: %s", error.message()));
  return path.string();
}

CellOptions cell_options(const RunOptions& options, const std::string& directory, const std::string& plugin_directory) {
  CellOptions cell;
  cell.name = options.name;
  cell.ula = kUla;
  cell.command = options.command;
  for (char** entry = environ; *entry != nullptr; ++entry) cell.environment.emplace_back(*entry);
  if (!options.keep_environment) cell.environment = workload_environment(cell.environment);
  cell.working_directory = directory;
  cell.home = home_directory(directory);
  for (const std::string& path : options.writable) cell.writable.push_back(absolute(path));
  for (const std::string& path : options.binds) cell.binds.push_back(absolute(path));
  for (const std::string& path : {options.policy_file, options.audit_file}) {
    if (!path.empty()) cell.protect.push_back(absolute(path));
  }
  cell.protect.push_back(plugin_directory);
  std::error_code error;
  cell.protect.push_back(fs::read_symlink("/proc/self/exe", error).parent_path().string());
  for (int signal : {SIGHUP, SIGINT, SIGQUIT}) {
    struct sigaction current{};
    if (::sigaction(signal, nullptr, &current) == 0 && current.sa_handler == SIG_IGN)
      cell.ignored_signals.push_back(signal);
  }
  return cell;
}

// Signals that this process passes on; read from a descriptor, so that everything happens in one loop. The cell and the
// worker reset the mask that they inherit.
class Signals {
 public:
  Signals() {
    ::sigemptyset(&set_);
    for (int signal : {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2}) ::sigaddset(&set_, signal);
    ::sigprocmask(SIG_BLOCK, &set_, nullptr);
    ::signal(SIGPIPE, SIG_IGN);  // an audit pipe without a reader is an error of write(), not the end
    fd_ = Descriptor(::signalfd(-1, &set_, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  int fd() const noexcept { return fd_.get(); }

  void forward(Cell& cell) const {
    signalfd_siginfo info;
    while (::read(fd_.get(), &info, sizeof info) == sizeof info) {
      // What the terminal's keys send reaches the command by itself (SI_KERNEL).
      if (info.ssi_code != SI_KERNEL) cell.forward_signal(static_cast<int>(info.ssi_signo));
    }
  }

 private:
  sigset_t set_;
  Descriptor fd_;
};

// Runs until the command has ended; the exit status.
int attend(Cell& cell, CellSockets& sockets, Supervisor& supervisor, AuditTrail& audit, const Signals& signals) {
  for (;;) {
    pollfd waiting[] = {{cell.wait_fd(), POLLIN, 0},
                        {signals.fd(), POLLIN, 0},
                        {audit.wake_fd(), POLLIN, 0},
                        {supervisor.channel_fd(), POLLIN, 0},
                        {supervisor.exit_fd(), POLLIN, 0}};
    constexpr int kMostSleep = static_cast<int>(Supervisor::kPingInterval.count());
    const int flush = audit.next_flush_ms();
    const int sleep = flush < 0 ? kMostSleep : std::min(flush, kMostSleep);
    if (::poll(waiting, std::size(waiting), sleep) < 0 && errno != EINTR) return kOwnFailure;
    if (waiting[1].revents != 0) signals.forward(cell);
    audit.collect();
    if (waiting[3].revents != 0) supervisor.on_channel();
    supervisor.tick(Supervisor::Clock::now());
    if (waiting[4].revents != 0) {
      // Closed for good: with no listener left the kernel refuses connections, where a full queue would let them hang.
      if (!supervisor.on_exit(Supervisor::Clock::now(), [&] { audit.writer_died(); })) sockets.close();
    }
    const CellStatus status = cell.poll();
    if (status.kind == CellStatus::Kind::kStopped) {
      audit.collect();  // nothing of it waits for a continue that may never come
      cell.stop_with_command();
    }
    if (!status.over()) continue;
    if (status.kind == CellStatus::Kind::kLost) say("the cell was killed");
    if (status.exec_error != 0) say(status.exec_text);
    return status.code;
  }
}

}  // namespace

int run_cell(const RunOptions& options) {
  absl::StatusOr<RunPolicy> policy = load_run_policy(options);
  if (!policy.ok()) {
    absl::FPrintF(stderr, "%s", policy.status().message());
    return fail("the policy is refused; the command was not started");
  }

  std::vector<std::string> resolvers;
  if (!options.resolver.empty()) {
    absl::StatusOr<std::string> resolver = parse_resolver(options.resolver);
    if (!resolver.ok()) return fail(absl::StrFormat("--resolver: %s", resolver.status().message()));
    resolvers.push_back(*resolver);
  } else if (absl::StatusOr<std::vector<std::string>> found = host_resolvers(); found.ok()) {
    resolvers = *found;
  } else if (policy->asks_upstream) {
    return fail(text(found.status()));
  }

  // Owners are checked before any namespace is entered: inside one, every foreign owner looks like nobody.
  const std::string plugin_directory = options.plugin_directory.empty()
                                           ? beside_program("../plugins", "../lib/sallyport/plugins")
                                           : options.plugin_directory;
  absl::StatusOr<std::vector<PluginImage>> images = open_plugins(plugin_directory);
  if (!images.ok()) return fail(text(images.status()));
  TrustedFile::Opened program =
      TrustedFile::open(beside_program("sallyport-worker", "../lib/sallyport/sallyport-worker"), kMaxProgram);
  if (program.failure) return fail(absl::StrFormat("the worker program: %s", program.failure->message));
  absl::StatusOr<json> plugins = configs(*images, resolvers);
  if (!plugins.ok()) return fail(text(plugins.status()));

  absl::StatusOr<AuditTrail> audit =
      AuditTrail::open(options.audit_file, policy->snapshot, kClient, options.name, match_text(policy->model));
  if (!audit.ok()) return fail(text(audit.status()));
  Result<SyntheticTable> table = make_synthetic_table();
  if (!table.ok()) return fail(absl::StrFormat("the table of synthetic addresses: %s", table.error().message));

  WorkerSetup setup;
  setup.body = {{"type", "setup"}, {"plugins", *plugins}, {"clients", {{{"id", kClient}, {"cell", options.name}}}}};
  if (::geteuid() == 0) setup.body["uid"] = kNobody;
  setup.fds = {policy->memory.get(), audit->ring_fd(), audit->wake_fd(), table->fd()};
  for (const PluginImage& image : *images) setup.fds.push_back(image.fd);

  const absl::StatusOr<std::string> directory = working_directory();
  if (!directory.ok()) return fail(text(directory.status()));

  // From here on signals wait for attend(): one that ended this process now would leave placeholders in the user's
  // tree.
  const Signals signals;
  // The worker builds its jail on the other core while the cell is made.
  Supervisor supervisor(program.file->fd(), std::move(setup), say);
  if (absl::Status started = supervisor.start(); !started.ok()) return fail(text(started));
  CellResult<Cell> cell = Cell::prepare(cell_options(options, *directory, plugin_directory));
  if (!cell.ok()) return fail(cell.error().text());
  CellSockets sockets = cell->take_sockets();
  if (absl::Status serving = supervisor.serve(listeners_of(sockets)); !serving.ok())
    return fail((absl::IsUnavailable(serving) ? "the worker was " : "") + text(serving));

  if (!options.quiet) absl::FPrintF(stderr, "%s", policy->warnings);
  if (!options.quiet && (!policy->description.empty() || !cell->notes().empty())) {
    absl::FPrintF(stderr, "%s", banner(policy->description, cell->notes()));
  }
  cell->start();
  const int status = attend(*cell, sockets, supervisor, *audit, signals);
  sockets.close();
  supervisor.finish();
  const AuditLoss loss = audit->finish();
  if (!options.quiet || options.report != ReportFormat::kSummary) {
    absl::FPrintF(stderr, "%s", report(audit->denied(), policy->model, command_prefix(options), options.report));
  }
  if (!options.quiet) absl::FPrintF(stderr, "%s", failures(audit->failed()));
  for (const std::string& note : cell->closing_notes()) say(note);
  if (loss.any()) say(absl::StrFormat("%d audit records lost: %s", loss.records, loss.why));
  return status;
}

}  // namespace sallyport
