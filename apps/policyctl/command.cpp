#include "policyctl/command.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <cerrno>
#include <cstring>
#include <limits>
#include <optional>
#include <ostream>

#include "language/diagnostic.hpp"
#include "language/suggest.hpp"

namespace sallyport::policyctl {
namespace {

namespace po = boost::program_options;

constexpr std::size_t kAnyNumber = std::numeric_limits<std::size_t>::max();

constexpr Option kOutput = {"output", 'o', "FORMAT", "text (default) or json"};
constexpr Option kCheckOptions[] = {
    {"output", 'o', "FORMAT", "text (default), line, json, github or sarif"},
    {"strict", 0, "", "fail on warnings too"},
};
constexpr Option kExplainOptions[] = {
    {"policy", 'p', "FILE", "the policy; `-` reads standard input"},
    {"compiled", 0, "FILE", "a snapshot of policyctl compile instead; says less of why a rule does not match"},
    {"allow", 0, "NAME[:PORT,...]", "as given to sallyport run; may be repeated"},
    {"client", 0, "GROUP", "ask as a member of this client of the policy; may be repeated"},
    {"cell", 0, "NAME", "ask as the cell of this name (default run, as of sallyport run, unless --client)"},
    {"port", 0, "PORT", "destination port, if TARGET does not say it (default 443)"},
    {"method", 0, "METHOD", "of the request, where TARGET is http:// (default GET)"},
    {"resolved", 0, "ADDRESS", "suppose that the name resolves to this address"},
    kOutput,
};

constexpr Option kFmtOptions[] = {
    {"check", 0, "", "write nothing, name the files that are not in canonical form"},
    {"write", 'w', "", "write the files where they are, and name those that changed"},
};

constexpr Option kImportOptions[] = {
    {"squid", 0, "FILE", "squid.conf, or the file of a dstdomain acl; each may be repeated"},
    {"dnsmasq", 0, "FILE", "dnsmasq.conf"},
    {"hosts", 0, "FILE", "a hosts file: names that lead nowhere are denied, others lead where it says"},
    {"adblock", 0, "FILE", "a filter list, of which ||name^ is read"},
    {"domains", 0, "FILE", "names to allow, a pattern a line"},
    {"rpz", 0, "FILE", "a response policy zone"},
    {"output", 'o', "FILE", "where to write the policy; `-` prints it"},
    {"force", 0, "", "replace a file that is there"},
};
constexpr Option kCompileOptions[] = {
    {"output", 'o', "FILE", "where to write the snapshot"},
    {"generation", 0, "N", "stamped into every verdict (default 1)"},
};
constexpr Option kOutputOption[] = {kOutput};
constexpr Option kTestOptions[] = {
    {"output", 'o', "FORMAT", "text (default), json or junit"},
};

constexpr Command kCommands[] = {
    {"check", "FILE...", "check policy files, and report every error at once",
     "`-` reads standard input. A file is refused unless root and the caller alone could have written it,\n"
     "as sallyport run would refuse it. Exit status: 0 all valid, 3 one is not (with --strict: or has a warning).",
     kCheckOptions, 1, kAnyNumber, check},
    {"fmt", "FILE...", "print a policy in its canonical form, comments kept",
     "What is printed says the same as the file: it is read again and compared. `-` reads standard input.\n"
     "Exit status: 0 done, 1 with --check: a file is not in canonical form, 3 not readable (left as it is).",
     kFmtOptions, 1, kAnyNumber, fmt},
    {"test", "FILE", "run a policy's tests, a line for each",
     "Exit status: 0 all passed, 1 one failed or there are none, 3 invalid policy. Where a gateway loads a policy,\n"
     "a failing test is an error, and the policy before it stays.",
     kTestOptions, 1, 1, test},
    {"explain", "TARGET", "say whether a cell would reach TARGET, and which rule decides",
     "TARGET is a URL, HOST[:PORT], ADDRESS[:PORT] or [IPv6]:PORT. What is printed comes from the same\n"
     "decision function that a cell enforces. Exit status: 0 allowed, 1 denied, 3 invalid policy.",
     kExplainOptions, 1, 1, explain},
    {"diff", "A B", "say which flows policy B decides otherwise than policy A, with an example of each",
     "Compared is what the two decide, not how they are written: each example was asked of both. `-` is standard "
     "input:\n"
     "git show HEAD:policy.yaml | policyctl diff - policy.yaml. Exit status: 0 same, 1 different, 3 invalid policy.",
     kOutputOption, 1, 2, diff},
    {"compile", "FILE -o SNAPSHOT", "compile a policy to the snapshot that programs map",
     "The snapshot belongs to this build on this kind of machine; any other refuses it.\n"
     "Exit status: 0 written, 3 invalid policy, or not written (then the old file stays).",
     kCompileOptions, 1, 1, compile_policy},
    {"stats", "FILE", "count what a policy consists of, and name what of it does nothing", "", kOutputOption, 1, 1,
     stats},
    {"schema",
     "[policy | gateway]",
     "print the JSON Schema of a policy, or of gateway.yaml, for editors",
     "An editor with a YAML language server completes and checks a file whose first line is\n"
     "# yaml-language-server: $schema=/usr/share/sallyport/policy.schema.json",
     {},
     0,
     1,
     schema},
    {"import", "-o FILE", "make a policy of the configurations of other tools",
     "Comments stay beside the names they belong to. What differs between two sources is told, and what could not be\n"
     "carried over, with its place and why. Large lists stay where they are and are named under `lists`.\n"
     "Exit status: 0 written, 2 usage or a file that cannot be read, 3 what was made is no valid policy.",
     kImportOptions, 0, 0, import_command},
    {"preset", "[NAME]", "list the presets, or print one", "", {}, 0, 1, preset},
    {"completion", "bash | zsh", "print the completion of a shell", "", {}, 1, 1, completion},
    {"man", "", "print the manual page, for man -l -", "", {}, 0, 0, man},
    {"help", "[COMMAND | CODE]", "help on a command, or on a diagnostic such as P014", "", {}, 0, 1, help},
};

const Command* find(std::string_view name) {
  const auto found =
      std::find_if(std::begin(kCommands), std::end(kCommands), [&](const Command& c) { return c.name == name; });
  return found == std::end(kCommands) ? nullptr : found;
}

std::string flag_text(const Option& option) {
  std::string text = option.letter != 0 ? std::string("-") + option.letter + ", " : "    ";
  text += std::string("--") + option.name;
  return *option.value != 0 ? text + " " + option.value : text;
}

// "--polcy" of some command to "--policy".
std::string near_option(std::string_view given, std::span<const Option> options) {
  while (given.starts_with('-')) given.remove_prefix(1);
  given = given.substr(0, given.find('='));
  std::vector<std::string_view> names;
  for (const Option& option : options) names.push_back(option.name);
  return std::string(nearest(given, std::span<const std::string_view>(names)));
}

void print_command_help(const Command& command, std::ostream& out) {
  out << "policyctl " << command.name << (command.options.empty() ? " " : " [options] ") << command.arguments << "\n\n"
      << command.summary << "\n";
  if (*command.details != 0) out << command.details << "\n";
  if (!command.options.empty()) out << "\n";
  for (const Option& option : command.options) {
    std::string flag = flag_text(option);
    flag.resize(std::max<std::size_t>(flag.size() + 2, 32), ' ');
    out << "  " << flag << option.text << "\n";
  }
}

void print_help(std::ostream& out) {
  out << "policyctl: check, explain, compare and compile sallyport policies, offline\n\n";
  const auto usage_of = [](const Command& command) {
    return std::string("policyctl ") + command.name + (*command.arguments != 0 ? " " : "") + command.arguments;
  };
  std::size_t width = 0;
  for (const Command& command : kCommands) width = std::max(width, usage_of(command).size() + 2);
  for (const Command& command : kCommands) {
    std::string usage = usage_of(command);
    usage.resize(width, ' ');
    out << "  " << usage << command.summary << "\n";
  }
  out << "\n`policyctl help COMMAND` lists its options; `policyctl help P014` explains a diagnostic;\n"
         "`policyctl --version` says which this is\n"
         "exit status: 0 yes or done, 1 no, 2 usage, 3 invalid policy, 4 no gateway to ask\n";
}

std::optional<Invocation> parse(const Command& command, const std::vector<std::string>& words,
                                const Terminal& terminal) {
  po::options_description description;
  for (const Option& option : command.options) {
    const std::string name = std::string(option.name) + (option.letter != 0 ? std::string(",") + option.letter : "");
    auto* value = po::value<std::vector<std::string>>();
    if (*option.value == 0) value->zero_tokens();
    description.add_options()(name.c_str(), value);
  }
  // No guessing: an abbreviation that works today is ambiguous tomorrow.
  const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
  try {
    const po::parsed_options parsed = po::command_line_parser(words).options(description).style(style).run();
    Invocation invocation;
    for (const po::option& option : parsed.options) {
      if (option.position_key >= 0) {
        invocation.arguments.insert(invocation.arguments.end(), option.value.begin(), option.value.end());
      } else {
        auto& values = invocation.options[option.string_key];
        values.insert(values.end(), option.value.begin(), option.value.end());
      }
    }
    return invocation;
  } catch (const po::unknown_option& failure) {
    const std::string near = near_option(failure.get_option_name(), command.options);
    usage_error(terminal, std::string("unknown option ") + in_ticks(failure.get_option_name()) +
                              (near.empty() ? "; see policyctl help " + std::string(command.name)
                                            : "; did you mean `--" + near + "`?"));
  } catch (const po::error& failure) {
    usage_error(terminal, failure.what());
  }
  return std::nullopt;
}

}  // namespace

std::span<const Command> commands() { return kCommands; }

std::string Invocation::get(std::string_view option, std::string_view otherwise) const {
  const auto found = options.find(option);
  return found == options.end() || found->second.empty() ? std::string(otherwise) : found->second.back();
}

std::span<const std::string> Invocation::all(std::string_view option) const {
  const auto found = options.find(option);
  if (found == options.end()) return {};
  return found->second;
}

std::string counted(std::size_t count, std::string_view word) {
  return std::to_string(count) + " " + std::string(word) + (count == 1 ? "" : "s");
}

int usage_error(const Terminal& terminal, std::string_view text) {
  terminal.err << "policyctl: " << text << "\n";
  return kUsage;
}

int help(const Invocation& invocation, const Terminal& terminal) {
  if (invocation.arguments.empty()) {
    print_help(terminal.out);
    return kYes;
  }
  std::string topic = invocation.arguments[0];
  if (const Command* command = find(topic)) {
    print_command_help(*command, terminal.out);
    return kYes;
  }
  for (char& c : topic) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  const auto all = codes();
  const auto found = std::find_if(all.begin(), all.end(), [&](const CodeText& code) { return code.code == topic; });
  if (found != all.end()) {
    terminal.out << found->code << ": " << found->title << "\n\n" << found->text << "\n";
    return kYes;
  }
  if (topic == "CODES") {
    for (const CodeText& code : all) terminal.out << code.code << "  " << code.title << "\n";
    return kYes;
  }
  return usage_error(terminal, "no help on " + in_ticks(invocation.arguments[0]) +
                                   "; policyctl help lists the commands, policyctl help codes the diagnostics");
}

int finish(int status, const Terminal& terminal) {
  errno = 0;
  terminal.out.flush();
  if (terminal.out) return status;
  // The errno of an earlier write is gone by now.
  terminal.err << "policyctl: standard output: " << (errno != 0 ? std::strerror(errno) : "could not be written")
               << "\n";
  return kUsage;
}

int run(const std::vector<std::string>& arguments, const Terminal& terminal) {
  if (arguments.empty()) {
    print_help(terminal.err);
    return kUsage;
  }
  const std::string& name = arguments[0];
  if (name == "--version" || name == "-V" || name == "version") {
    terminal.out << "policyctl " << SALLYPORT_VERSION << "\n";
    return kYes;
  }
  if (name == "--help" || name == "-h") {
    print_help(terminal.out);
    return kYes;
  }
  const Command* command = find(name);
  if (command == nullptr) {
    std::vector<std::string_view> names;
    for (const Command& known : kCommands) names.push_back(known.name);
    const std::string_view near = nearest(name, std::span<const std::string_view>(names));
    return usage_error(terminal,
                       "unknown command " + in_ticks(name) +
                           (near.empty() ? "; policyctl help lists them" : "; did you mean " + in_ticks(near) + "?"));
  }
  const std::vector<std::string> words(arguments.begin() + 1, arguments.end());
  if (std::find_if(words.begin(), words.end(), [](const std::string& w) { return w == "--help" || w == "-h"; }) !=
      words.end()) {
    print_command_help(*command, terminal.out);
    return kYes;
  }
  const std::optional<Invocation> invocation = parse(*command, words, terminal);
  if (!invocation) return kUsage;
  const std::size_t count = invocation->arguments.size();
  if (count < command->least_arguments || count > command->most_arguments) {
    return usage_error(terminal, std::string("usage: policyctl ") + command->name + " [options] " + command->arguments);
  }
  return command->run(*invocation, terminal);
}

}  // namespace sallyport::policyctl
