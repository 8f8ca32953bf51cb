// policyctl completion and policyctl man: both from the command table, so that neither falls behind it.
#include <algorithm>
#include <ostream>
#include <sstream>
#include <string_view>

#include "language/suggest.hpp"
#include "policyctl/command.hpp"

namespace sallyport::policyctl {
namespace {

// "text (default), line or json" are the words text, line and json.
std::vector<std::string> formats_of(const Option& option) {
  std::vector<std::string> words;
  if (std::string_view(option.value) != "FORMAT") return words;
  std::string text(option.text);
  std::replace(text.begin(), text.end(), ',', ' ');
  std::istringstream in(text);
  for (std::string word; in >> word;) {
    if (word != "or" && word != "(default)") words.push_back(word);
  }
  return words;
}

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

bool takes_files(std::string_view value) { return value.find("FILE") != std::string_view::npos || value == "A B"; }

// What an argument may be beside a file: the names of commands for help, of shells and schemas.
std::string words_for(const Command& command) {
  const std::string_view name = command.name;
  std::string out;
  if (name == "help") {
    for (const Command& other : commands()) out += std::string(out.empty() ? "" : " ") + other.name;
  } else if (std::string_view(command.arguments).find('|') != std::string_view::npos) {
    for (const char* c = command.arguments; *c != 0; ++c) {
      if (*c >= 'a' && *c <= 'z') {
        out += *c;
      } else if (!out.empty() && out.back() != ' ') {
        out += ' ';
      }
    }
  }
  return out;
}

void print_bash(std::ostream& out) {
  out << "# bash completion of policyctl: source <(policyctl completion bash)\n"
         "_policyctl() {\n"
         "  local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=\n"
         "  COMPREPLY=()\n"
         "  if (( COMP_CWORD == 1 )); then\n"
         "    words='";
  for (const Command& command : commands()) out << command.name << " ";
  out << "--help --version'\n"
         "  else\n"
         "    case ${COMP_WORDS[1]}:$before in\n";
  for (const Command& command : commands()) {
    for (const Option& option : command.options) {
      if (*option.value == 0) continue;
      const std::string of = std::string("      ") + command.name + ":";
      const std::string pattern =
          of + "--" + option.name + (option.letter != 0 ? std::string("|") + command.name + ":-" + option.letter : "");
      const std::string formats = joined(formats_of(option));
      if (!formats.empty()) {
        out << pattern << ") words='" << formats << "' ;;\n";
      } else if (takes_files(option.value)) {
        out << pattern << ") COMPREPLY=($(compgen -f -- \"$current\")); return ;;\n";
      } else {
        out << pattern << ") return ;;\n";
      }
    }
  }
  out << "      *)\n"
         "        case ${COMP_WORDS[1]} in\n";
  for (const Command& command : commands()) {
    std::string words = words_for(command);
    for (const Option& option : command.options) words += std::string(words.empty() ? "" : " ") + "--" + option.name;
    words += words.empty() ? "--help" : " --help";
    out << "          " << command.name << ") words='" << words << "' ;;\n";
  }
  out << "        esac\n";
  std::string with_files;
  for (const Command& command : commands()) {
    if (takes_files(command.arguments)) with_files += (with_files.empty() ? "" : "|") + std::string(command.name);
  }
  out << "        case ${COMP_WORDS[1]} in " << with_files
      << ") [[ $current == -* ]] || COMPREPLY=($(compgen -f -- \"$current\")) ;; esac ;;\n"
         "    esac\n"
         "  fi\n"
         "  [[ -z $current && ${#COMPREPLY[@]} -gt 0 ]] || COMPREPLY+=($(compgen -W \"$words\" -- \"$current\"))\n"
         "}\n"
         "complete -o filenames -F _policyctl policyctl\n";
}

// In single quotes of zsh, where brackets and colons of _arguments are escaped.
std::string zsh(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      if (c == '[' || c == ']' || c == ':') out += '\\';
      out += c;
    }
  }
  return out;
}

void print_zsh(std::ostream& out) {
  out << "#compdef policyctl\n"
         "# zsh completion of policyctl: policyctl completion zsh > \"${fpath[1]}/_policyctl\"\n"
         "_policyctl() {\n"
         "  local -a commands=(\n";
  for (const Command& command : commands()) {
    out << "    '" << command.name << ":" << zsh(command.summary) << "'\n";
  }
  out << "  )\n"
         "  if (( CURRENT == 2 )); then\n"
         "    _describe command commands\n"
         "    return\n"
         "  fi\n"
         "  local command=$words[2]\n"
         "  shift words\n"
         "  (( CURRENT-- ))\n"
         "  case $command in\n";
  for (const Command& command : commands()) {
    out << "    " << command.name << ") _arguments";
    for (const Option& option : command.options) {
      std::string value;
      if (*option.value != 0) {
        const std::string formats = joined(formats_of(option));
        value = std::string(":") + zsh(option.value) + ":" +
                (!formats.empty()            ? "(" + formats + ")"
                 : takes_files(option.value) ? "_files"
                                             : "");
      }
      const std::string text = "[" + zsh(option.text) + "]" + value;
      if (option.letter != 0) {
        out << " '(-" << option.letter << " --" << option.name << ")'{-" << option.letter << ",--" << option.name
            << "}'" << text << "'";
      } else {
        out << " '--" << option.name << text << "'";
      }
    }
    const std::string words = words_for(command);
    if (takes_files(command.arguments)) {
      out << " '*:file:_files'";
    } else if (!words.empty()) {
      out << " '1:" << zsh(command.arguments) << ":(" << words << ")'";
    }
    out << " ;;\n";
  }
  out << "  esac\n"
         "}\n"
         "_policyctl \"$@\"\n";
}

// Of troff: a hyphen is a minus sign, a dot or quote in front begins no request.
std::string roff(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool line_start = i == 0 || text[i - 1] == '\n';
    if (line_start && (text[i] == '.' || text[i] == '\'')) out += "\\&";
    if (text[i] == '-') {
      out += "\\-";
    } else if (text[i] == '\\') {
      out += "\\e";
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace

int completion(const Invocation& invocation, const Terminal& terminal) {
  const std::string& shell = invocation.arguments[0];
  if (shell == "bash") {
    print_bash(terminal.out);
  } else if (shell == "zsh") {
    print_zsh(terminal.out);
  } else {
    return usage_error(terminal, "no completion for " + in_ticks(shell) + "; write bash or zsh");
  }
  return kYes;
}

int man(const Invocation& /*invocation*/, const Terminal& terminal) {
  std::ostream& out = terminal.out;
  out << ".TH POLICYCTL 1 \"\" \"sallyport " << SALLYPORT_VERSION << "\"\n"
      << ".SH NAME\npolicyctl \\- check, explain, compare and compile sallyport policies, offline\n"
      << ".SH SYNOPSIS\n.B policyctl\n.I COMMAND\n[\\fIoptions\\fR] [\\fIarguments\\fR]\n"
      << ".SH DESCRIPTION\nPolicies are the files that\n.BR sallyport (1)\nenforces. Every verdict that is printed "
         "here comes "
         "from the function that enforces.\n"
      << ".SH COMMANDS\n";
  for (const Command& command : commands()) {
    out << ".SS \"policyctl " << roff(command.name) << (command.options.empty() ? "" : " [options]") << " "
        << roff(command.arguments) << "\"\n"
        << roff(command.summary) << ".\n";
    if (*command.details != 0) out << ".PP\n" << roff(command.details) << "\n";
    for (const Option& option : command.options) {
      out << ".TP\n";
      if (option.letter != 0) out << "\\fB\\-" << option.letter << "\\fR, ";
      out << "\\fB\\-\\-" << roff(option.name) << "\\fR";
      if (*option.value != 0) out << " \\fI" << roff(option.value) << "\\fR";
      out << "\n" << roff(option.text) << "\n";
    }
  }
  out << ".SH \"EXIT STATUS\"\n";
  for (const auto& [status, meaning] : std::initializer_list<std::pair<int, const char*>>{
           {kYes, "yes, or done"},
           {kNo, "no: denied, different, a test failed"},
           {kUsage, "the command line is wrong, or the output could not be written"},
           {kInvalidPolicy, "a policy or file is invalid, or cannot be read or written"},
           {kUnreachable, "no gateway to ask"}}) {
    out << ".TP\n.B " << status << "\n" << roff(meaning) << "\n";
  }
  out << ".SH ENVIRONMENT\n.TP\n.B NO_COLOR\nNo color, also on a terminal.\n"
      << ".SH EXAMPLES\n.nf\npolicyctl check policy.yaml\npolicyctl explain \\-p policy.yaml https://pypi.org/ && "
         "deploy\n"
         "git show HEAD:policy.yaml | policyctl diff \\- policy.yaml\n.fi\n"
      << ".SH \"SEE ALSO\"\n.BR sallyport (1)\n";
  return kYes;
}

}  // namespace sallyport::policyctl
