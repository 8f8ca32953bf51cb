// Draft: a policy that is being put together, and its text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "names/pattern.hpp"

namespace sallyport {

struct DraftName {
  Pattern pattern;
  std::vector<std::string> above;  // comments
  std::string beside;
  std::string file;  // where it was found
  std::uint32_t line = 0;
};

struct DraftRule {
  std::string name;  // made unique when it is added
  bool allow = false;
  std::vector<std::string> clients;
  std::vector<DraftName> domains;
  std::vector<std::string> lists, addresses, ports, resolves_to, methods;
  // What it was made of, for the report if it has no effect.
  std::string file, text;
  std::uint32_t line = 0;
};

struct DraftList {
  std::string name, file, format;
  std::uint64_t max_invalid = 0;
};

struct DraftClient {
  std::string name;
  std::vector<std::string> addresses;
};

struct Draft {
  bool default_allow = false;
  std::vector<DraftClient> clients;
  std::vector<DraftList> lists;
  std::vector<DraftRule> rules;

  std::string text() const;
};

// "my rule" to "my-rule"; otherwise where nothing is left.
std::string draft_name(std::string_view text, std::string_view otherwise);

}  // namespace sallyport
