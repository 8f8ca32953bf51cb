#include "host/worker/loaded_plugin.hpp"

#include <dlfcn.h>
#include <string.h>

#include <string_view>

#include "host/worker/crash.hpp"

namespace sallyport {
namespace {

constexpr std::uint16_t kHostMinor = POLICY_ABI_LEVEL;

const char* code_name(policy_code code) {
  constexpr const char* kNames[] = {"OK",        "INVALID",     "DENIED",       "NOT_FOUND",   "UNAVAILABLE", "TIMEOUT",
                                    "EXHAUSTED", "UNSUPPORTED", "WRONG_THREAD", "WRONG_STATE", "INTERNAL"};
  return code < std::size(kNames) ? kNames[code] : "INTERNAL";
}

}  // namespace

LoadedPlugin::~LoadedPlugin() {
  if (state_ == State::kStarted || state_ == State::kDraining) stop();
  if (self_ != nullptr) instance_->destroy(self_);
}

PluginError LoadedPlugin::load(const std::string& path, const std::string& manifest) {
  if (state_ != State::kNew) return "plugin " + name_ + ": loaded twice";
  void* handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return "plugin " + name_ + ": " + ::dlerror();
  const auto* entry = static_cast<const policy_plugin*>(::dlsym(handle, "policy_plugin_entry"));
  if (entry == nullptr) return "plugin " + name_ + ": symbol policy_plugin_entry is missing";
  if (entry->magic != POLICY_ABI_MAGIC)
    return "plugin " + name_ + ": policy_plugin_entry is not a Sallyport entry (wrong magic)";
  if (entry->major != POLICY_ABI_MAJOR || entry->minor > kHostMinor) {
    return "plugin " + name_ + ": built for ABI " + std::to_string(entry->major) + "." + std::to_string(entry->minor) +
           ", this host has " + std::to_string(POLICY_ABI_MAJOR) + "." + std::to_string(kHostMinor) +
           "; rebuild it against this release";
  }
  if (!POLICY_HAS(entry, instance) || entry->instance == nullptr)
    return "plugin " + name_ + ": its entry has no instance table";
  if (std::string_view(entry->manifest.ptr, entry->manifest.len) != manifest) {
    return "plugin " + name_ + ": its entry and its .policy.manifest section differ";
  }
  const policy_instance_api* api = entry->instance;
  const bool whole = POLICY_HAS(api, destroy) && api->create && api->start && api->stop && api->destroy;
  if (!whole) return "plugin " + name_ + ": create, start, stop or destroy is missing";
  name_module(name_, entry);
  instance_ = api;
  state_ = State::kLoaded;
  return std::nullopt;
}

PluginError LoadedPlugin::create(const std::string& config) {
  if (state_ != State::kLoaded) return "plugin " + name_ + ": create() in the wrong state";
  policy_error error{};
  error.struct_size = sizeof error;
  const policy_code code = instance_->create(host_, api_, {config.data(), config.size()}, &self_, &error);
  if (code != POLICY_OK || self_ == nullptr)
    return failed("create", code == POLICY_OK ? static_cast<policy_code>(POLICY_INTERNAL) : code, error);
  state_ = State::kCreated;
  return std::nullopt;
}

PluginError LoadedPlugin::start() {
  if (state_ != State::kCreated) return "plugin " + name_ + ": start() in the wrong state";
  policy_error error{};
  error.struct_size = sizeof error;
  state_ = State::kStarted;  // whatever start() made, stop() undoes
  if (const policy_code code = instance_->start(self_, &error); code != POLICY_OK) {
    stop();
    return failed("start", code, error);
  }
  return std::nullopt;
}

PluginError LoadedPlugin::drain(std::uint64_t deadline_ns, std::uint64_t& flows_left) {
  flows_left = 0;
  if (state_ != State::kStarted && state_ != State::kDraining)
    return "plugin " + name_ + ": drain() in the wrong state";
  state_ = State::kDraining;
  if (!POLICY_HAS(instance_, drain) || instance_->drain == nullptr) return std::nullopt;
  policy_error error{};
  error.struct_size = sizeof error;
  if (const policy_code code = instance_->drain(self_, deadline_ns, &flows_left, &error); code != POLICY_OK) {
    flows_left = 0;
    return failed("drain", code, error);
  }
  return std::nullopt;
}

std::optional<std::string> LoadedPlugin::health() const {
  if (state_ != State::kStarted && state_ != State::kDraining) return std::nullopt;
  if (!POLICY_HAS(instance_, health) || instance_->health == nullptr) return std::nullopt;
  std::string json(kMaxHealth, '\0');
  std::size_t length = 0;
  if (instance_->health(self_, json.data(), json.size(), &length) != POLICY_OK || length > json.size())
    return std::nullopt;
  json.resize(length);
  return json;
}

PluginError LoadedPlugin::stop() {
  if (state_ != State::kStarted && state_ != State::kDraining) return "plugin " + name_ + ": stop() in the wrong state";
  policy_error error{};
  error.struct_size = sizeof error;
  state_ = State::kStopped;
  if (const policy_code code = instance_->stop(self_, &error); code != POLICY_OK) return failed("stop", code, error);
  return std::nullopt;
}

PluginError LoadedPlugin::failed(const char* call, policy_code code, const policy_error& error) const {
  std::string text = "plugin " + name_ + ": " + call + "() answered " + code_name(code);
  if (error.pointer[0] != '\0')
    text += std::string(" at config") + std::string(error.pointer, ::strnlen(error.pointer, sizeof error.pointer));
  if (error.text[0] != '\0') text += ": " + std::string(error.text, ::strnlen(error.text, sizeof error.text));
  return text;
}

}  // namespace sallyport
