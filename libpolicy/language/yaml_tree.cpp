#include "language/yaml_tree.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <istream>
#include <streambuf>
#include <utility>

#include "language/syntax_error.hpp"

namespace sallyport {
namespace {

// Lets yaml-cpp read the text where it is: an istringstream would copy all of it.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // the get area is never written to
    setg(begin, begin, begin + text.size());
  }
};

// Ends the parse from inside the handler; never leaves parse_yaml().
struct Refused {
  YAML::Mark mark;
  std::string message, repair;
};

class TreeBuilder : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const Source& source) : source_(source) {}

  YamlTree take() && { return std::move(tree_); }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    close(open(mark, YamlNode::Kind::kNull, anchor));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const std::uint32_t target = anchor < anchors_.size() ? anchors_[anchor] : kNone;
    if (target == kNone) throw Refused{mark, "an alias to nothing", ""};
    if (std::find(path_.begin(), path_.end(), target) != path_.end()) {
      throw Refused{mark, "an alias that contains itself", "write the values out"};
    }
    attach(target);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool quoted = tag == "!";
    if (!quoted && tag != "?" && !tag.empty())
      throw Refused{mark, "YAML tags have no meaning here", "remove `" + tag + "`"};
    const std::uint32_t index = open(mark, YamlNode::Kind::kScalar, anchor);
    YamlNode& node = tree_.nodes[index];
    node.quoted = quoted;
    node.scalar = value;
    node.at = scalar_span(mark, value);
    close(index);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    start(mark, tag, anchor, YamlNode::Kind::kSequence);
  }
  void OnSequenceEnd() override { end(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    start(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { end(); }

 private:
  static constexpr std::uint32_t kNone = 0xffffffffu;

  void start(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    if (!tag.empty() && tag != "?" && tag != "!")
      throw Refused{mark, "YAML tags have no meaning here", "remove `" + tag + "`"};
    if (path_.size() == YamlTree::kMaxDepth) {
      throw Refused{mark, "nested deeper than " + std::to_string(YamlTree::kMaxDepth) + " levels", "a policy needs 5"};
    }
    path_.push_back(open(mark, kind, anchor));
  }

  void end() {
    const std::uint32_t index = path_.back();
    path_.pop_back();
    close(index);
  }

  std::uint32_t open(const YAML::Mark& mark, YamlNode::Kind kind, YAML::anchor_t anchor) {
    const auto index = static_cast<std::uint32_t>(tree_.nodes.size());
    YamlNode& node = tree_.nodes.emplace_back();
    node.kind = kind;
    node.at = source_.span_at(offset(mark), 1);
    if (anchor != YAML::NullAnchor) {
      if (anchors_.size() <= anchor) anchors_.resize(anchor + 1, kNone);
      anchors_[anchor] = index;
    }
    return index;
  }

  void close(std::uint32_t index) { attach(index); }

  void attach(std::uint32_t index) {
    if (path_.empty()) {
      tree_.root = index;
    } else {
      tree_.nodes[path_.back()].children.push_back(index);
    }
  }

  static std::size_t offset(const YAML::Mark& mark) { return mark.pos < 0 ? 0 : static_cast<std::size_t>(mark.pos); }

  Span scalar_span(const YAML::Mark& mark, const std::string& value) const {
    const std::size_t at = offset(mark);
    const std::string_view rest = source_.text().substr(std::min(at, source_.text().size()));
    if (rest.starts_with(value)) return source_.span_at(at, value.size());
    if (rest.size() > 1 && (rest[0] == '"' || rest[0] == '\'')) {
      if (rest.substr(1).starts_with(value)) return source_.span_at(at + 1, value.size());
      const std::size_t close = rest.find(rest[0], 1);
      const std::size_t line_end = rest.find('\n');
      return source_.span_at(at, std::min({close == std::string_view::npos ? 1 : close + 1, line_end, rest.size()}));
    }
    return source_.span_at(at, 1);
  }

  const Source& source_;
  YamlTree tree_;
  std::vector<std::uint32_t> path_;     // open containers, outermost first
  std::vector<std::uint32_t> anchors_;  // by yaml-cpp's number
};

std::string hex(std::uint32_t code_point) {
  static constexpr char kDigits[] = "0123456789ABCDEF";
  std::string text = "U+";
  for (int shift = code_point > 0xffff ? 20 : 12; shift >= 0; shift -= 4) text += kDigits[code_point >> shift & 15];
  return text;
}

// yaml-cpp guesses UTF-16 and replaces what it cannot read; here the bytes are UTF-8 or refused.
bool check_characters(const Source& source, Reporter& reporter) {
  const std::string_view text = source.text();
  for (std::size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    if (lead >= 0x20 && lead < 0x7f) {
      ++at;
      continue;
    }
    if (lead == '\r' && (at + 1 == text.size() || text[at + 1] != '\n')) {
      reporter.error("P002", source.span_at(at, 1), "", "a carriage return without a line feed",
                     "end lines with a line feed");
      return false;
    }
    const std::size_t length = lead < 0x80                   ? 1
                               : lead >= 0xc2 && lead < 0xe0 ? 2
                               : lead >= 0xe0 && lead < 0xf0 ? 3
                               : lead >= 0xf0 && lead < 0xf5 ? 4
                                                             : 0;
    std::uint32_t code_point = length < 2 ? lead : lead & (0x7fu >> length);
    bool valid = length > 0 && at + length <= text.size();
    for (std::size_t i = 1; valid && i < length; ++i) {
      const auto next = static_cast<unsigned char>(text[at + i]);
      valid = (next & 0xc0) == 0x80;
      code_point = code_point << 6 | (next & 0x3fu);
    }
    static constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (!valid || code_point < kLeast[length] || code_point > 0x10ffff ||
        (code_point >= 0xd800 && code_point < 0xe000)) {
      reporter.error("P002", source.span_at(at, 1), "", "not UTF-8", "save the file as UTF-8");
      return false;
    }
    if (is_hidden_character(code_point)) {
      const bool nul = code_point == 0;
      reporter.error("P002", source.span_at(at, length), "",
                     nul ? "a NUL octet" : "a hidden character, " + hex(code_point),
                     nul ? "a policy is text; is this the right file?" : "remove it");
      return false;
    }
    at += length;
  }
  return true;
}

}  // namespace

bool is_hidden_character(std::uint32_t c) noexcept {
  return (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x2069) || c == 0xfeff;
}

std::optional<YamlTree> parse_yaml(const Source& source, Reporter& reporter) {
  if (!check_characters(source, reporter)) return std::nullopt;
  // yaml-cpp reports errors by exceptions; they end here.
  try {
    ViewBuffer buffer(source.text());
    std::istream stream(&buffer);
    YAML::Parser parser(stream);
    TreeBuilder builder(source);
    if (!parser.HandleNextDocument(builder)) return YamlTree{{YamlNode{}}, 0};
    TreeBuilder rest(source);
    if (parser.HandleNextDocument(rest)) {
      const YamlTree second = std::move(rest).take();
      reporter.error("P002", second.nodes.empty() ? Span{} : second[second.root].at, "", "a second YAML document",
                     "one file holds one policy: remove the `---` between them");
      return std::nullopt;
    }
    return std::move(builder).take();
  } catch (const Refused& refused) {
    const std::size_t at = refused.mark.pos < 0 ? 0 : static_cast<std::size_t>(refused.mark.pos);
    reporter.error("P002", source.span_at(at, 1), "", refused.message, refused.repair);
  } catch (const YAML::Exception& failure) {
    const int at = failure.mark.pos;
    report_syntax_error(source, reporter, at < 0 ? source.text().size() : static_cast<std::size_t>(at), failure.msg);
  } catch (const std::exception&) {
    reporter.error("P002", {}, "", "not valid YAML");
  }
  return std::nullopt;
}

}  // namespace sallyport
