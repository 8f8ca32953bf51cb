// Finding: what one probe of this machine has shown.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace sallyport::doctor {

enum class Level : std::uint8_t { kOk = 0, kWarn, kFail };

struct Finding {
  Level level = Level::kOk;
  std::string command;  // that it matters to: "run", "serve", "attach"
  std::string check;    // "user-namespaces"
  std::string text;     // one line, lower case, no full stop
  std::string remedy;   // the one thing that helps; empty where nothing is wrong
};

class Findings {
 public:
  void ok(std::string command, std::string check, std::string text) {
    all_.push_back({Level::kOk, std::move(command), std::move(check), std::move(text), {}});
  }
  void warn(std::string command, std::string check, std::string text, std::string remedy) {
    all_.push_back({Level::kWarn, std::move(command), std::move(check), std::move(text), std::move(remedy)});
  }
  void fail(std::string command, std::string check, std::string text, std::string remedy) {
    all_.push_back({Level::kFail, std::move(command), std::move(check), std::move(text), std::move(remedy)});
  }
  const std::vector<Finding>& all() const noexcept { return all_; }

 private:
  std::vector<Finding> all_;
};

}  // namespace sallyport::doctor
