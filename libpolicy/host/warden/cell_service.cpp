#include "host/warden/cell_service.hpp"

#include <absl/strings/str_format.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

#include "host/warden/beside_program.hpp"
#include "host/warden/own_addresses.hpp"
#include "host/warden/resolvers.hpp"

namespace sallyport {
namespace {

using nlohmann::json;

constexpr std::uint64_t kClient = 1;  // the one client of a cell
constexpr unsigned kNobody = 65534;   // what root's worker becomes
constexpr std::uint64_t kMaxProgram = 256u << 20;

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

absl::StatusOr<std::vector<std::string>> resolvers_for(const RunOptions& options, const RunPolicy& policy) {
  if (!options.resolver.empty()) {
    absl::StatusOr<std::string> resolver = parse_resolver(options.resolver);
    if (!resolver.ok())
      return absl::FailedPreconditionError(absl::StrFormat("--resolver: %s", resolver.status().message()));
    return std::vector<std::string>{*resolver};
  }
  absl::StatusOr<std::vector<std::string>> found = host_resolvers();
  if (!found.ok() && !policy.asks_upstream) return std::vector<std::string>{};
  return found;
}

Result<SyntheticTable> make_synthetic_table() {
  SyntheticTable::Options options;
  const Result<Address> ula = Address::parse(kCellUla);
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

}  // namespace

CellService::~CellService() { sockets_.close(); }

absl::StatusOr<std::unique_ptr<CellService>> CellService::open(const RunOptions& options, Supervisor::Log log) {
  std::unique_ptr<CellService> service(new CellService());
  absl::StatusOr<RunPolicy> policy = load_run_policy(options);
  if (!policy.ok()) return absl::InvalidArgumentError(policy.status().message());
  service->policy_ = *std::move(policy);
  service->options_ = options;
  service->log_ = log;
  const absl::StatusOr<std::vector<std::string>> resolvers = resolvers_for(options, service->policy_);
  if (!resolvers.ok()) return absl::FailedPreconditionError(resolvers.status().message());

  service->has_resolvers_ = !resolvers->empty();

  // Owners are checked before any namespace is entered: inside one, every foreign owner looks like nobody.
  service->plugin_directory_ = options.plugin_directory.empty()
                                   ? beside_program("../plugins", "../lib/sallyport/plugins")
                                   : options.plugin_directory;
  absl::StatusOr<std::vector<PluginImage>> images = open_plugins(service->plugin_directory_);
  if (!images.ok()) return absl::FailedPreconditionError(images.status().message());
  service->images_ = *std::move(images);
  TrustedFile::Opened program =
      TrustedFile::open(beside_program("sallyport-worker", "../lib/sallyport/sallyport-worker"), kMaxProgram);
  if (program.failure)
    return absl::FailedPreconditionError(absl::StrFormat("the worker program: %s", program.failure->message));
  service->program_ = std::move(program.file);
  absl::StatusOr<json> plugins = configs(service->images_, *resolvers);
  if (!plugins.ok()) return absl::FailedPreconditionError(plugins.status().message());

  absl::StatusOr<AuditTrail> audit = AuditTrail::open(options.audit_file, service->policy_.snapshot, kClient,
                                                      options.name, match_text(service->policy_.model));
  if (!audit.ok()) return absl::FailedPreconditionError(audit.status().message());
  service->audit_ = *std::move(audit);
  Result<SyntheticTable> table = make_synthetic_table();
  if (!table.ok())
    return absl::FailedPreconditionError(
        absl::StrFormat("the table of synthetic addresses: %s", table.error().message));
  service->table_ = *std::move(table);

  LimitsTable::Options limits;
  if (::getrandom(limits.seed.data(), sizeof limits.seed, 0) != sizeof limits.seed)
    return absl::UnavailableError("no random numbers");
  Result<LimitsTable> buckets = LimitsTable::create(limits);
  if (!buckets.ok())
    return absl::FailedPreconditionError(absl::StrFormat("the table of limits: %s", buckets.error().message));
  service->limits_ = *std::move(buckets);

  WorkerSetup setup;
  setup.body = {{"type", "setup"},
                {"plugins", *plugins},
                {"clients", {{{"id", kClient}, {"cell", options.name}}}},
                {"fd_names", {"snapshot", "audit", "audit_wake", "synthetic", "limits"}},
                {"limits_holder", 0}};
  if (::geteuid() == 0) setup.body["uid"] = kNobody;
  setup.fds = {service->policy_.memory.get(), service->audit_->ring_fd(), service->audit_->wake_fd(),
               service->table_->fd(), service->limits_->fd()};
  for (const PluginImage& image : service->images_) setup.fds.push_back(image.fd);
  service->supervisor_.emplace(service->program_->fd(), std::move(setup), std::move(log));
  return service;
}

absl::Status CellService::start() { return supervisor_->start(); }

absl::Status CellService::serve(CellSockets sockets) {
  sockets_.close();
  sockets_ = sockets;
  absl::Status serving = supervisor_->serve(listeners_of(sockets_));
  if (!absl::IsUnavailable(serving)) return serving;
  return absl::UnavailableError(absl::StrFormat("the worker was %s", serving.message()));
}

absl::Status CellService::reload() {
  const std::uint64_t generation = policy_.snapshot->generation() + 1;
  absl::StatusOr<RunPolicy> next = load_run_policy(options_, generation);
  if (!next.ok()) return next.status();
  if (next->asks_upstream && !has_resolvers_)
    return absl::FailedPreconditionError(
        "the policy now has names to look up, and there was no resolver at the start; start again with --resolver");
  return publish(*std::move(next));
}

absl::Status CellService::publish(RunPolicy next) {
  const std::uint64_t generation = next.snapshot->generation();
  audit_->publish(next.snapshot, kClient, options_.name, match_text(next.model));
  if (absl::Status published = supervisor_->publish(generation, next.memory.get()); !published.ok()) return published;
  policy_ = std::move(next);
  return absl::OkStatus();
}

void CellService::guard_own_addresses() {
  std::vector<Address> own = own_addresses();
  if (own == policy_.model.own_addresses) return;
  absl::StatusOr<RunPolicy> next = with_own_addresses(policy_, std::move(own), policy_.snapshot->generation() + 1);
  const absl::Status published = next.ok() ? publish(*std::move(next)) : next.status();
  if (!published.ok())
    log_(absl::StrFormat("this host has other addresses now, which are not guarded: %s", published.message()));
}

bool CellService::wait(std::span<pollfd> others, int most_ms) {
  std::vector<pollfd> all(others.begin(), others.end());
  for (int fd : {addresses_.fd(), audit_->wake_fd(), supervisor_->channel_fd(), supervisor_->exit_fd()})
    all.push_back({fd, POLLIN, 0});
  int sleep = std::min(most_ms, static_cast<int>(Supervisor::kPingInterval.count()));
  const int flush = audit_->next_flush_ms();
  const int rest = addresses_.next_ms(AddressWatch::Clock::now());
  for (const int ms : {flush, rest}) {
    if (ms >= 0) sleep = std::min(ms, sleep);
  }
  if (::poll(all.data(), all.size(), sleep) < 0) {
    for (pollfd& other : others) other.revents = 0;
    return errno == EINTR;
  }
  std::copy_n(all.begin(), others.size(), others.begin());
  if (all[others.size()].revents != 0) addresses_.on_readable(AddressWatch::Clock::now());
  return true;
}

void CellService::step() {
  audit_->collect();
  if (addresses_.changed(AddressWatch::Clock::now())) guard_own_addresses();
  supervisor_->on_channel();
  supervisor_->tick(Supervisor::Clock::now());
  pollfd ended{supervisor_->exit_fd(), POLLIN, 0};
  if (ended.fd < 0 || ::poll(&ended, 1, 0) != 1) return;
  // Closed for good: with no listener left the kernel refuses connections, where a full queue would let them hang.
  if (!supervisor_->on_exit(Supervisor::Clock::now(), [this] {
        audit_->writer_died();
        limits_->forget_holder(0);
      }))
    sockets_.close();
}

AuditLoss CellService::finish() {
  sockets_.close();
  supervisor_->finish();
  return audit_->finish();
}

}  // namespace sallyport
