#include "host/init/template.hpp"

namespace sallyport {
namespace {

std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end == text.npos ? end : end + 1);
  text.remove_prefix(line.size());
  return line;
}

// Up to the line `#end` that belongs to it, which is taken too.
std::string_view take_part(std::string_view& text) {
  const char* const start = text.data();
  std::size_t size = 0;
  for (int depth = 1; !text.empty();) {
    const std::string_view line = take_line(text);
    if (line == "#end\n" && --depth == 0) break;
    if (line == "#each\n" || line == "#transparent\n" || line == "#proxy\n") ++depth;
    size += line.size();
  }
  return {start, size};
}

struct Context {
  const std::vector<std::string>& agents;
  std::string_view shape;
  std::size_t agent = 0;  // of agents
};

std::string word(std::string_view key, const Context& context) {
  if (key == "agent") return context.agents[context.agent];
  if (key == "n") return std::to_string(context.agent + 1);
  std::string list;
  for (const std::string& agent : context.agents)
    list += (list.empty() ? "" : ", ") + std::string(key.substr(std::string_view("all ").size())) + agent;
  return list;
}

void expand(std::string_view text, const Context& context, std::string& out) {
  while (!text.empty()) {
    std::string_view line = take_line(text);
    if (line == "#each\n") {
      const std::string_view part = take_part(text);
      for (std::size_t i = 0; i < context.agents.size(); ++i) expand(part, {context.agents, context.shape, i}, out);
      continue;
    }
    if (line == "#transparent\n" || line == "#proxy\n") {
      const std::string_view part = take_part(text);
      if (line.substr(1, line.size() - 2) == context.shape) expand(part, context, out);
      continue;
    }
    for (std::size_t open = line.find("{{"); open != line.npos; open = line.find("{{")) {
      const std::size_t close = line.find("}}", open);
      if (close == line.npos) break;
      out += line.substr(0, open);
      out += word(line.substr(open + 2, close - open - 2), context);
      line.remove_prefix(close + 2);
    }
    out += line;
  }
}

}  // namespace

std::string fill(std::string_view text, const std::vector<std::string>& agents, std::string_view shape) {
  std::string out;
  expand(text, {agents, shape}, out);
  return out;
}

std::string_view service_of(std::string_view compose, std::string_view name) {
  std::string_view rest = compose;
  const std::string head = "  " + std::string(name) + ":";
  const char* start = nullptr;
  bool services = false;
  while (!rest.empty()) {
    const char* const at = rest.data();
    const std::string_view line = take_line(rest);
    const bool top = line[0] != ' ' && line[0] != '\n' && line[0] != '#';
    const bool service = line.size() > 2 && line.starts_with("  ") && line[2] != ' ' && line[2] != '#';
    if (start != nullptr && (top || service)) return {start, static_cast<std::size_t>(at - start)};
    if (top) services = line.starts_with("services:");
    if (services && start == nullptr && line.starts_with(head)) start = at;
  }
  return start == nullptr ? std::string_view()
                          : std::string_view(start, static_cast<std::size_t>(compose.data() + compose.size() - start));
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (std::size_t at = text.find(from); at != text.npos; at = text.find(from)) {
    out += text.substr(0, at);
    out += to;
    text.remove_prefix(at + from.size());
  }
  return out += text;
}

}  // namespace sallyport
