// LoadedPlugin: one plugin in this process, from dlopen to destroy, with its state checked on every call.
//
// Lifetime The text stays mapped after destroy(): a plugin's thread_local destructors may run later (ABI.md section 4).
// Threads  [main] only.
// Errors   In words, with the plugin's name. A failed start is stopped and destroyed.
#pragma once

#include <policy/abi.h>

#include <cstdint>
#include <optional>
#include <string>

namespace sallyport {

using PluginError = std::optional<std::string>;  // nothing: success

class LoadedPlugin {
 public:
  // path: of the checked copy. manifest: the exact bytes that were checked. host must outlive this.
  LoadedPlugin(std::string name, policy_host* host, const policy_host_api* api)
      : name_(std::move(name)), host_(host), api_(api) {}
  ~LoadedPlugin();
  LoadedPlugin(const LoadedPlugin&) = delete;
  LoadedPlugin& operator=(const LoadedPlugin&) = delete;

  PluginError load(const std::string& path, const std::string& manifest);
  PluginError create(const std::string& config);
  PluginError start();
  // Accept nothing new. deadline_ns: CLOCK_MONOTONIC. Called again to hear how many flows are left.
  PluginError drain(std::uint64_t deadline_ns, std::uint64_t& flows_left);
  PluginError stop();
  // JSON as the plugin tells it; nothing if it has nothing to tell, or not within kMaxHealth octets.
  static constexpr std::size_t kMaxHealth = 16384;
  std::optional<std::string> health() const;

  const std::string& name() const noexcept { return name_; }
  policy_host* host() const noexcept { return host_; }

 private:
  enum class State : std::uint8_t { kNew, kLoaded, kCreated, kStarted, kDraining, kStopped };
  PluginError failed(const char* call, policy_code code, const policy_error& error) const;

  std::string name_;
  policy_host* host_;
  const policy_host_api* api_;
  const policy_instance_api* instance_ = nullptr;
  void* self_ = nullptr;
  State state_ = State::kNew;
};

}  // namespace sallyport
