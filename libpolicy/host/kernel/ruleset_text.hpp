// What the two tables' texts are made of: words, sets, the rules of internal pairs.
//
// Threads  Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "host/kernel/topology.hpp"

namespace sallyport::kernel {

struct Text {
  std::string out;
  Text& line(std::string_view text) {
    out.append(text).push_back('\n');
    return *this;
  }
};

// "{ a, b }"
std::string set_of(const std::vector<std::string>& words);
// Of one family. Overlapping elements of an interval set are an error: what lies in a larger prefix is left out.
std::vector<std::string> texts(const std::vector<Prefix>& prefixes, bool v4);
std::vector<std::string> texts(const std::vector<Address>& addresses, bool v4);
// Each once, and none that lies in another.
std::vector<Prefix> outermost(const std::vector<Prefix>& prefixes);
std::vector<Prefix> all_addresses(const Topology& topology);
std::vector<std::string> all_interfaces(const Topology& topology);  // quoted
void interval_set(Text& text, const char* name, const char* type, const std::vector<std::string>& elements);
const char* family(bool v4);
std::string nfproto(bool v4);
// The verdict for traffic between each internal pair, both ways.
void pair_rules(Text& text, const Topology& topology, std::string_view verdict);

// The tables without their beginnings and ends.
std::string inet_body(const Topology& topology);
std::string bridge_body(const Topology& topology);

}  // namespace sallyport::kernel
