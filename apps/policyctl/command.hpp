// The commands of policyctl: one table, from which parsing, help, near misses and dispatch come.
//
// Exit status  UX: 0 yes or done, 1 no (denied, differs), 2 usage, 3 invalid policy, 4 no gateway to ask.
// Threads      One.
#pragma once

#include <iosfwd>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sallyport::policyctl {

inline constexpr int kYes = 0;
inline constexpr int kNo = 1;
inline constexpr int kUsage = 2;
inline constexpr int kInvalidPolicy = 3;
inline constexpr int kUnreachable = 4;

struct Option {
  const char* name;   // "policy": --policy
  char letter;        // 'p': -p; 0 for none
  const char* value;  // "FILE"; empty: it has none
  const char* text;
};

// Where a command writes, and whether in color.
struct Terminal {
  std::ostream& out;
  std::ostream& err;
  bool out_color = false;
  bool err_color = false;
};

// A parsed command line.
struct Invocation {
  std::map<std::string, std::vector<std::string>, std::less<>> options;
  std::vector<std::string> arguments;

  // The last value given, or otherwise.
  std::string get(std::string_view option, std::string_view otherwise = {}) const;
  std::span<const std::string> all(std::string_view option) const;
  bool has(std::string_view option) const { return options.find(option) != options.end(); }
};

struct Command {
  const char* name;
  const char* arguments;  // "FILE..."
  const char* summary;    // one line
  const char* details;    // paragraphs below it, may be empty
  std::span<const Option> options;
  std::size_t least_arguments, most_arguments;
  int (*run)(const Invocation& invocation, const Terminal& terminal);
};

std::span<const Command> commands();
int run(const std::vector<std::string>& arguments, const Terminal& terminal);

// The status to exit with once all is written. A verdict that did not reach its reader is no yes: then kUsage, and why.
int finish(int status, const Terminal& terminal);

// "policyctl: TEXT" on err, and kUsage.
int usage_error(const Terminal& terminal, std::string_view text);

// "1 rule", "2 rules".
std::string counted(std::size_t count, std::string_view word);

int check(const Invocation& invocation, const Terminal& terminal);
int explain(const Invocation& invocation, const Terminal& terminal);
int compile_policy(const Invocation& invocation, const Terminal& terminal);
int preset(const Invocation& invocation, const Terminal& terminal);
int stats(const Invocation& invocation, const Terminal& terminal);
int test(const Invocation& invocation, const Terminal& terminal);
int completion(const Invocation& invocation, const Terminal& terminal);
int man(const Invocation& invocation, const Terminal& terminal);
int diff(const Invocation& invocation, const Terminal& terminal);
int fmt(const Invocation& invocation, const Terminal& terminal);
int import_command(const Invocation& invocation, const Terminal& terminal);
int help(const Invocation& invocation, const Terminal& terminal);
int schema(const Invocation& invocation, const Terminal& terminal);

}  // namespace sallyport::policyctl
