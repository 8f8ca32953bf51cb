#include "host/worker/worker.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <policy/ext/log.h>
#include <sys/resource.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "host/channel/channel.hpp"
#include "host/worker/abi_host.hpp"
#include "host/worker/crash.hpp"
#include "host/worker/jail.hpp"
#include "host/worker/loaded_plugin.hpp"

namespace sallyport {
namespace {

using nlohmann::json;

struct PluginSetup {
  std::string name, manifest, config;
};

// A flow takes three descriptors or more; the soft limit of 1024 is for programs that use select().
void raise_descriptor_limit() {
  rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // refused: the plugins see the old limit and take fewer flows
}

// Everything of one worker. Declared in the order that destruction needs: plugins go first.
class Worker {
 public:
  explicit Worker(int channel_fd) : channel_(channel_fd) {}

  int run() {
    Message message;
    if (channel_.receive(message, -1) != Channel::Outcome::kMessage || message.body["type"] != "setup") return 5;
    if (!attempt([&] { return confine(message); })) return 6;
    for (;;) {
      switch (channel_.receive(message, -1)) {
        case Channel::Outcome::kClosed:
        case Channel::Outcome::kBroken:
          ::_exit(0);  // the warden is gone: nothing is worth a slow end
        case Channel::Outcome::kNothing:
          continue;
        case Channel::Outcome::kMessage:
          break;
      }
      const std::string type = message.body["type"];
      if (type == "listener" && message.fds.size() == 1) {
        shared_.listeners.push_back({message.body.value("name", ""), std::exchange(message.fds[0], -1),
                                     message.body.value("client", std::uint64_t{0})});
        message.fds.clear();
      } else if (type == "stop") {
        while (!plugins_.empty()) {
          static_cast<void>(plugins_.back()->stop());
          plugins_.pop_back();
        }
        ::_exit(0);
      } else if (type == "ping") {
        channel_.send({{"type", "pong"}});
      } else if (type == "start") {
        if (!attempt([&] { return serve(); })) return 7;
        channel_.send({{"type", "serving"}});
      }
    }
  }

 private:
  template <typename Body>
  bool attempt(Body body) {
    std::optional<std::string> error;
    try {
      error = body();
    } catch (const std::exception& e) {  // nlohmann-json on a message of the wrong shape
      error = std::string("worker: ") + e.what();
    }
    if (error) channel_.send({{"type", "failed"}, {"text", *error}});
    return !error;
  }

  // From the whole user to nearly nothing. No code of a plugin has run before this returns.
  std::optional<std::string> confine(Message& message) {
    constexpr std::size_t kFixed = 4;
    const json& body = message.body;
    if (message.fds.size() != kFixed + body.at("plugins").size()) return "worker: setup with the wrong descriptors";
    install_crash_handler(channel_.fd());
    raise_descriptor_limit();

    Result<std::shared_ptr<const Snapshot>> snapshot = Snapshot::map(message.fds[0]);
    if (!snapshot.ok()) return std::string("worker: snapshot: ") + snapshot.error().message;
    shared_.snapshot = *snapshot;
    if (std::optional<std::string> error = map_shared_memory(message.fds)) return error;
    for (const json& client : body.at("clients")) {
      const std::string cell = client.at("cell");
      shared_.clients.push_back({client.at("id"), cell, shared_.snapshot->groups_of_cell(cell)});
    }

    set_log_threshold(body.value("log", static_cast<std::int32_t>(POLICY_LOG_WARNING)));
    shared_.log = [this](std::string_view plugin, std::int32_t level, std::string_view text, std::string_view fields) {
      channel_.send({{"type", "log"}, {"plugin", plugin}, {"level", level}, {"text", text}, {"fields", fields}});
    };
    std::vector<int> plugin_fds(message.fds.begin() + kFixed, message.fds.end());
    for (const json& plugin : body.at("plugins")) {
      setups_.push_back({plugin.at("name"), plugin.at("manifest"), plugin.at("config")});
      const json layers = json::parse(setups_.back().manifest).value("layers", json::array());
      for (const json& layer : layers) shared_.flow_layer |= layer == "tcp";
      // System libraries, by name through the loader's own trusted path, while there still is a file system.
      for (const json& library : plugin.at("needed")) {
        if (::dlopen(library.get<std::string>().c_str(), RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE) == nullptr)
          return std::string("plugin library: ") + ::dlerror();
      }
    }
    if (JailError error = build_root(plugin_fds)) return error;
    message.close_fds();
    std::optional<unsigned> uid;
    if (body.contains("uid")) uid = body["uid"].get<unsigned>();
    if (JailError error = drop_privileges(uid)) return error;
    return restrict_loading();
  }

  std::optional<std::string> map_shared_memory(const std::vector<int>& fds);

  std::optional<std::string> serve() {
    if (!plugins_.empty()) return "worker: started twice";
    hosts_.reserve(setups_.size());
    for (std::size_t i = 0; i < setups_.size(); ++i) {
      const PluginSetup& setup = setups_[i];
      hosts_.push_back(std::make_unique<policy_host>(policy_host{&shared_, setup.name}));
      for (const json& id : json::parse(setup.manifest).value("needs", json::array())) {
        if (host_api().get(hosts_.back().get(), id.get<std::string>().c_str()) == nullptr) {
          return "plugin " + setup.name + ": needs " + id.get<std::string>() + ", which this host does not offer";
        }
      }
      auto plugin = std::make_unique<LoadedPlugin>(setup.name, hosts_.back().get(), &host_api());
      if (PluginError error = plugin->load("/" + std::to_string(i) + ".so", setup.manifest)) return error;
      plugins_.push_back(std::move(plugin));
    }
    if (JailError error = restrict_running()) return error;
    for (std::size_t i = 0; i < plugins_.size(); ++i) {
      if (PluginError error = plugins_[i]->create(setups_[i].config)) return error;
    }
    for (const auto& plugin : plugins_) {
      if (PluginError error = plugin->start()) return error;
    }
    return std::nullopt;
  }

  Channel channel_;
  WorkerShared shared_;
  std::vector<PluginSetup> setups_;
  std::vector<std::unique_ptr<policy_host>> hosts_;
  std::vector<std::unique_ptr<LoadedPlugin>> plugins_;
};

std::optional<std::string> Worker::map_shared_memory(const std::vector<int>& fds) {
  // The wake-up descriptor outlives the message: the ring writes to it.
  Result<AuditRing> ring = AuditRing::map(fds[1], ::fcntl(fds[2], F_DUPFD_CLOEXEC, 3));
  if (!ring.ok()) return std::string("worker: audit ring: ") + ring.error().message;
  shared_.audit.emplace(*std::move(ring));
  Result<SyntheticTable> table = SyntheticTable::map(fds[3]);
  if (!table.ok()) return std::string("worker: synthetic table: ") + table.error().message;
  shared_.synthetic.emplace(*std::move(table));
  return std::nullopt;
}

}  // namespace

int run_worker(int channel_fd) {
  // Never destroyed: plugins' threads run until _exit().
  static Worker* const worker = new Worker(channel_fd);
  const int status = worker->run();
  ::_exit(status);
}

}  // namespace sallyport
