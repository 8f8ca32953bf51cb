// The host's own addresses: never a final destination unless a rule says so (DESIGN, Address guard).
#pragma once

#include <vector>

#include "names/address.hpp"

namespace sallyport {

// Of every interface, as they are now. A host that cannot be asked yields none; the guard's fixed blocks stay.
std::vector<Address> own_addresses();

}  // namespace sallyport
