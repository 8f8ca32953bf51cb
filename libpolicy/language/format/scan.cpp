#include "language/format/scan.hpp"

#include <algorithm>

namespace sallyport {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

class Scanner {
 public:
  Scanner(const Source& source, const YamlTree& tree, Reporter& reporter)
      : source_(source), text_(source.text()), reporter_(reporter) {
    for (const YamlNode& node : tree.nodes) {
      if (node.kind == YamlNode::Kind::kScalar) scalars_.push_back({start_of_scalar(source, node), &node});
    }
    // Nodes stand in the file's order, but a key of one pair (`[a: b]`) is told behind its mapping's start.
    std::sort(scalars_.begin(), scalars_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  }

  std::optional<Scan> run() {
    while (at_ < text_.size() && !failed_) step();
    if (!failed_ && next_ != scalars_.size()) refuse(0, 1, "a value whose place is not clear", "");
    if (failed_) return std::nullopt;
    std::sort(out_.flows.begin(), out_.flows.end(), [](const Flow& a, const Flow& b) { return a.first < b.first; });
    return std::move(out_);
  }

 private:
  void step() {
    if (next_ < scalars_.size() && at_ >= scalars_[next_].first) {
      at_ = scalars_[next_].first;
      skip_scalar(*scalars_[next_].second);
      ++next_;
      return;
    }
    const char c = text_[at_];
    const bool before = at_ == 0 || is_blank(text_[at_ - 1]);
    const bool behind = at_ + 1 >= text_.size() || is_blank(text_[at_ + 1]);
    const bool line_start = at_ == 0 || text_[at_ - 1] == '\n';
    if (c == '#' && before) return comment();
    if (c == '[' || c == '{') {
      open_.push_back(at_);
    } else if ((c == ']' || c == '}') && !open_.empty()) {
      out_.flows.push_back({open_.back(), at_});
      open_.pop_back();
    } else if (c == '-' && line_start && text_.substr(at_).starts_with("---")) {
      at_ += 2;
    } else if (c == '-' && behind && open_.empty()) {
      out_.dashes.push_back(at_);
    } else if (c == '&' || c == '*') {
      return refuse(at_, 1, c == '&' ? "an anchor" : "an alias", "write the values out, or leave the file as it is");
    } else if (c == '!') {
      return refuse(at_, 1, "a tag", "remove it: a policy needs none");
    } else if (c == '?' && behind) {
      return refuse(at_, 1, "a complex key", "write `key: value`");
    } else if (c == '%' && line_start) {
      return refuse(at_, 1, "a directive", "remove it: a policy needs none");
    }
    ++at_;
  }

  void comment() {
    const std::size_t end = std::min(text_.find('\n', at_), text_.size());
    std::string_view text = text_.substr(at_, end - at_);
    while (is_blank(text.back())) text.remove_suffix(1);
    const Span span = source_.span_at(at_, 1);
    out_.comments.push_back({at_, span.line, span.column, std::string(text), is_first_on_line(source_, at_),
                             is_after_gap(source_, span.line)});
    at_ = end;
  }

  void skip_scalar(const YamlNode& node) {
    const char c = text_[at_];
    if (c == '"' && node.quoted) {
      for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
        if (text_[at_] == '\\') ++at_;
      }
      ++at_;
    } else if (c == '\'' && node.quoted) {
      for (++at_; at_ < text_.size(); ++at_) {
        if (text_[at_] != '\'') continue;
        if (at_ + 1 >= text_.size() || text_[at_ + 1] != '\'') break;
        ++at_;
      }
      ++at_;
    } else if (c == '|' || c == '>') {
      refuse(at_, 1, "a block scalar", "write the value on one line, in quotes");
    } else {
      // Lines of a plain scalar are folded: where its text has blanks the file may have line ends.
      for (std::size_t i = 0; i < node.scalar.size() && at_ < text_.size();) {
        if (text_[at_] == node.scalar[i]) {
          ++at_;
          ++i;
          continue;
        }
        while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
        while (i < node.scalar.size() && is_blank(node.scalar[i])) ++i;
        if (at_ >= text_.size() || i >= node.scalar.size() || text_[at_] != node.scalar[i]) break;
      }
    }
  }

  void refuse(std::size_t at, std::size_t length, const std::string& what, std::string repair) {
    failed_ = true;
    reporter_.error("P060", source_.span_at(at, length), "", what + " has no canonical form", std::move(repair));
  }

  const Source& source_;
  std::string_view text_;
  Reporter& reporter_;
  std::vector<std::pair<std::size_t, const YamlNode*>> scalars_;
  std::vector<std::size_t> open_;
  std::size_t at_ = 0, next_ = 0;
  bool failed_ = false;
  Scan out_;
};

}  // namespace

std::size_t start_of_scalar(const Source& source, const YamlNode& scalar) {
  const std::size_t at = source.offset_of(scalar.at);
  const std::string_view text = source.text();
  if (!scalar.quoted || at == 0 || scalar.scalar.empty()) return at;
  // Its place is that of its text where that stands there as it reads.
  const bool inside = (text[at - 1] == '"' || text[at - 1] == '\'') && text.substr(at).starts_with(scalar.scalar);
  return inside ? at - 1 : at;
}

bool is_after_gap(const Source& source, std::uint32_t line) {
  if (line <= 1) return false;
  const std::string_view above = source.line(line - 1);
  return std::all_of(above.begin(), above.end(), is_blank);
}

bool is_first_on_line(const Source& source, std::size_t at) {
  const std::string_view text = source.text().substr(0, at);
  const std::string_view line = text.substr(text.rfind('\n') + 1);
  return std::all_of(line.begin(), line.end(), is_blank);
}

std::optional<Scan> scan(const Source& source, const YamlTree& tree, Reporter& reporter) {
  return Scanner(source, tree, reporter).run();
}

}  // namespace sallyport
