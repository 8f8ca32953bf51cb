// ConfigReader: a plugin's JSON config, read strictly: every key is asked for once, what is left over is an error.
//
// Errors  Collected; status() gives them in one line with the JSON Pointer of the first. Getters return the default on
// error. Units   Durations are text with a unit ("250ms", "5s", "2m", "1h"); sizes are octets with an optional kB, KiB,
// MB, MiB.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <policy/plugin.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "support/resolver.hpp"

namespace sallyport::net {

class ConfigReader {
 public:
  explicit ConfigReader(std::string_view json);  // empty text is {}
  ~ConfigReader();
  ConfigReader(const ConfigReader&) = delete;
  ConfigReader& operator=(const ConfigReader&) = delete;

  std::vector<std::string> strings(std::string_view key, std::vector<std::string> preset);
  // One of the words; anything else is an error that lists them.
  std::string word(std::string_view key, std::string preset, const std::vector<std::string>& words);
  bool boolean(std::string_view key, bool preset);
  std::uint64_t number(std::string_view key, std::uint64_t preset, std::uint64_t least, std::uint64_t most);
  std::chrono::milliseconds duration(std::string_view key, std::chrono::milliseconds preset,
                                     std::chrono::milliseconds least, std::chrono::milliseconds most);
  // "9.9.9.9", "127.0.0.53:53", "::1", "[::1]:53"; the port is 53 unless given.
  std::vector<Upstream> upstreams(std::string_view key);

  // A member that is an object itself; an absent one reads as {}. Its errors, unknown keys too, count here.
  void object(std::string_view key, const std::function<void(ConfigReader&)>& read);

  void fail(std::string pointer, std::string text);  // an error that only the caller can see

  // After the last getter: unknown keys are errors too.
  policy::Status status();

 private:
  void unknown_keys();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sallyport::net
