// The meaning of a policy, written from docs/matching.md as slowly and plainly as possible. Shares no code with
// engine/: names are compared as text, prefixes bit by bit, every rule is tried.
#pragma once

#include <vector>

#include "engine/decide.hpp"

namespace sallyport::oracle {

Verdict decide(const PolicyModel& policy, const Query& query, std::uint64_t generation);

// The rules whose domains match a name, ascending.
std::vector<std::uint32_t> listed(const PolicyModel& policy, const DomainName& name);

bool matches(const Pattern& pattern, const DomainName& name);
bool contains(const Prefix& prefix, const Address& address);

}  // namespace sallyport::oracle
