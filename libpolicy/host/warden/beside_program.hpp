// Where what belongs to this program is: its plugins, its worker.
#pragma once

#include <string>

namespace sallyport {

// build/bin/sallyport finds build/plugins; an installed /usr/bin/sallyport finds /usr/lib/sallyport/plugins.
std::string beside_program(const char* in_build, const char* installed);

}  // namespace sallyport
