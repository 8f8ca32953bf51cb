// What `init` changes in a text of deploy/.
//
// Form     fill(): lines `#each`, `#transparent`, `#proxy` begin a part, `#end` ends it; a part is written once for
// each
//          agent, or for that shape alone. {{agent}} is its name, {{n}} its number from 1, {{all web-}} the list
//          "web-a, web-b".
// Threads  Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sallyport {

std::string fill(std::string_view text, const std::vector<std::string>& agents, std::string_view shape);

// A service of a compose file, from its line to the next service's; empty: there is none of that name.
std::string_view service_of(std::string_view compose, std::string_view name);

std::string replaced(std::string_view text, std::string_view from, std::string_view to);

}  // namespace sallyport
