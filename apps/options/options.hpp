// One way to read a command line, so that all programs answer a slip alike: abbreviations are refused (they would
// change their meaning when an option is added), near misses are named, and an empty value is an error (it is an unset
// variable in somebody's script).
#pragma once

#include <boost/program_options.hpp>
#include <optional>
#include <string>
#include <vector>

namespace sallyport {

struct CommandLineForm {
  const boost::program_options::options_description& options;  // with help
  const char* stray;  // what to say of a word that is no option, beyond the positional ones
  boost::program_options::positional_options_description positional = {};
};

// Fills `values` and what the options are bound to; with --help nothing but `values`. Returns the fault, for people.
std::optional<std::string> read_options(const CommandLineForm& form, const std::vector<std::string>& arguments,
                                        boost::program_options::variables_map& values);

}  // namespace sallyport
