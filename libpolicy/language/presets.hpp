// Presets: the names of well-known services (pypi, npm, github), which a rule means by `preset: [pypi]`.
//
// Form     presets/NAME.yaml, dated and with a source, built in; the file is what the user is shown.
// Lifetime All of it lives as long as the program.
// Threads  Any; read once, on first use.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model.hpp"

namespace sallyport {

struct Preset {
  std::string_view name;
  std::string_view text;     // the file, comments and all
  std::string date, source;  // when and where its names were last looked up
  std::vector<Pattern> domains;
  std::vector<PortRange> ports;  // of a rule that names none
};

std::span<const Preset> presets();                       // by name
const Preset* find_preset(std::string_view name);        // nullptr: there is none
std::string_view nearest_preset(std::string_view name);  // "" if none is near

}  // namespace sallyport
