// Import: a policy from the configurations of other tools, with what could not be carried over and where they differ.
//
// Form     Lists of names that pass (Squid's dstdomain files, dnsmasq's server=, domains) become allow rules, lists of
//          names that do not (hosts, adblock, RPZ, dnsmasq's address=) deny rules. Small ones are written out, with the
//          comments that stood beside the names; large ones become `lists`, which leave the names in their file.
// Errors   Nothing is widened in silence: what has no counterpart is in left_out, with its place and why.
//          The policy is read as `policyctl check` reads it; diagnostics holds errors only if that fails.
// Threads  Any. Reads the sources' files, and those that they name.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "language/diagnostic.hpp"

namespace sallyport {

enum class ImportKind : std::uint8_t { kSquid, kDnsmasq, kHosts, kAdblock, kDomains, kRpz };

struct ImportSource {
  ImportKind kind;
  std::string file;
};

struct LeftOut {
  std::string file;
  std::uint32_t line = 0;  // 0: no single one
  std::string text;        // as written; may be empty
  std::string why;         // "audit does this"
};

struct Imported {
  std::string policy;                // YAML
  std::uint64_t names = 0;           // in rules and lists
  std::string comparison;            // "The two lists differ: ..."; empty: there was one
  std::vector<std::string> remarks;  // what was supposed
  std::vector<LeftOut> left_out;
  std::string failure;  // a source that cannot be read: then there is no policy
  Diagnostics diagnostics;
};

// target: where the policy will be, for the names of files in it; "-" for the working directory.
Imported import_policy(std::span<const ImportSource> sources, const std::string& target);

// "policy.yaml: 6 names. ..." and the lines below it.
std::string import_report(const Imported& imported, const std::string& target);

}  // namespace sallyport
