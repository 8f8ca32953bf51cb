// policyctl preset: which presets there are, and what is in one.
#include <algorithm>
#include <ostream>

#include "language/presets.hpp"
#include "language/suggest.hpp"
#include "policyctl/command.hpp"

namespace sallyport::policyctl {

int preset(const Invocation& invocation, const Terminal& terminal) {
  if (!invocation.arguments.empty()) {
    const std::string& name = invocation.arguments[0];
    const Preset* found = find_preset(name);
    if (found == nullptr) {
      const std::string_view near = nearest_preset(name);
      return usage_error(
          terminal, "no preset " + in_ticks(name) +
                        (near.empty() ? "; policyctl preset lists them" : "; did you mean " + in_ticks(near) + "?"));
    }
    terminal.out << found->text;
    return kYes;
  }
  std::size_t width = 0;
  for (const Preset& one : presets()) width = std::max(width, one.name.size());
  for (const Preset& one : presets()) {
    std::string name(one.name);
    name.resize(width, ' ');
    terminal.out << name << "  " << one.date << "  " << counted(one.domains.size(), "name") << "\n";
  }
  return kYes;
}

}  // namespace sallyport::policyctl
