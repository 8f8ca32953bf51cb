#include "language/format/layout.hpp"

#include <algorithm>
#include <utility>

#include "language/format/scan.hpp"

namespace sallyport {
namespace {

class Builder {
 public:
  Builder(const Source& source, const YamlTree& tree, Scan scan)
      : source_(source), tree_(tree), scan_(std::move(scan)) {}

  Layout run() {
    walk(tree_.root, Item::kNone);
    for (const FoundComment& comment : scan_.comments) place(comment);
    for (Item& item : layout_.items) settle(item);
    return std::move(layout_);
  }

 private:
  const Flow* flow_at(std::size_t first) const {
    const auto found = std::lower_bound(scan_.flows.begin(), scan_.flows.end(), first,
                                        [](const Flow& flow, std::size_t at) { return flow.first < at; });
    return found != scan_.flows.end() && found->first == first ? &*found : nullptr;
  }

  std::size_t start_of(const YamlNode& node) const {
    return node.kind == YamlNode::Kind::kScalar ? start_of_scalar(source_, node) : source_.offset_of(node.at);
  }

  void walk(std::uint32_t container, std::uint32_t owner) {
    const YamlNode& node = tree_[container];
    if (node.kind != YamlNode::Kind::kMap && node.kind != YamlNode::Kind::kSequence) return;
    const Flow* flow = flow_at(source_.offset_of(node.at));
    const std::size_t step = node.kind == YamlNode::Kind::kMap ? 2 : 1;
    for (std::size_t i = 0; i + step <= node.children.size(); i += step) {
      const auto index = static_cast<std::uint32_t>(layout_.items.size());
      Item& item = layout_.items.emplace_back();
      item.owner = owner;
      if (step == 2) item.key = node.children[i];
      item.value = node.children[i + step - 1];
      item.in_flow = flow != nullptr;
      item.container_last = flow != nullptr ? flow->last : 0;
      item.start = start_of(tree_[node.children[i]]);
      if (step == 1 && flow == nullptr) {
        const auto dash = std::lower_bound(scan_.dashes.begin(), scan_.dashes.end(), item.start);
        if (dash != scan_.dashes.begin()) item.start = *(dash - 1);
      }
      const Span span = source_.span_at(item.start, 1);
      item.column = span.column;
      item.after_gap = is_first_on_line(source_, item.start) && is_after_gap(source_, span.line);
      (owner == Item::kNone ? layout_.roots : layout_.items[owner].items).push_back(index);
      walk(node.children[i + step - 1], index);
    }
  }

  // The item's value is written in brackets that are open at this place.
  bool is_open(const Item& item, std::size_t at) const {
    const YamlNode& value = tree_[item.value];
    if (value.kind != YamlNode::Kind::kMap && value.kind != YamlNode::Kind::kSequence) return false;
    const Flow* flow = flow_at(source_.offset_of(value.at));
    return flow != nullptr && flow->first < at && at < flow->last;
  }

  // The last item that began before, out of all brackets that closed before.
  std::uint32_t last_before(std::uint32_t next, std::size_t at) const {
    std::uint32_t last = next == 0 ? Item::kNone : next - 1;
    while (last != Item::kNone && layout_.items[last].in_flow && layout_.items[last].container_last < at) {
      last = layout_.items[last].owner;
    }
    return last;
  }

  bool is_within(std::uint32_t item, std::uint32_t ancestor) const {
    while (item != Item::kNone && item != ancestor) item = layout_.items[item].owner;
    return item == ancestor;
  }

  void place(const FoundComment& comment) {
    while (next_ < layout_.items.size() && layout_.items[next_].start < comment.at) {
      ++next_;
      leads_ = false;
      foot_ = Item::kNone;
    }
    const std::uint32_t last = last_before(next_, comment.at);
    const Note note{comment.text, comment.after_gap};
    if (last == Item::kNone) {
      lead(note);
    } else if (!comment.alone && !leads_ && foot_ == Item::kNone) {
      Item& item = layout_.items[last];
      const bool bare_dash = item.key == Item::kNone && !item.in_flow && next_ < layout_.items.size() &&
                             layout_.items[next_].owner == last && !is_open(item, comment.at);
      if (bare_dash || item.beside) {
        add_lead(item, note.text);
      } else {
        item.beside = Note{note.text, false};
      }
    } else if (is_in_brackets(last, comment.at)) {
      const std::uint32_t owner = is_open(layout_.items[last], comment.at) ? last : layout_.items[last].owner;
      const bool more = next_ < layout_.items.size() && layout_.items[next_].owner == owner;
      (more ? layout_.items[next_].lead : layout_.items[owner].feet).push_back(note);
    } else {
      alone(comment, note, last);
    }
  }

  bool is_in_brackets(std::uint32_t last, std::size_t at) const {
    for (std::uint32_t i = last; i != Item::kNone; i = layout_.items[i].owner) {
      if (is_open(layout_.items[i], at)) return true;
    }
    return false;
  }

  void lead(const Note& note) {
    leads_ = true;
    (next_ < layout_.items.size() ? layout_.items[next_].lead : layout_.feet).push_back(note);
  }

  // On a line of its own: at the foot of what it is indented under, else it leads what follows.
  void alone(const FoundComment& comment, const Note& note, std::uint32_t last) {
    const bool more = next_ < layout_.items.size();
    const Item* following = more ? &layout_.items[next_] : nullptr;
    if (leads_ || (more && (comment.column <= following->column || is_within(next_, last)))) return lead(note);
    for (std::uint32_t i = foot_ != Item::kNone ? foot_ : last; i != Item::kNone; i = layout_.items[i].owner) {
      const Item& item = layout_.items[i];
      if (comment.column > item.column) {
        foot_ = i;
        layout_.items[i].feet.push_back(note);
        return;
      }
      if (more && item.owner == following->owner) break;
      if (comment.column == item.column) {
        foot_ = item.owner;
        (item.owner == Item::kNone ? layout_.feet : layout_.items[item.owner].feet).push_back(note);
        return;
      }
    }
    lead(note);
  }

  // Whether the value needs lines of its own.
  void settle(Item& item) {
    if (!item.feet.empty()) item.spread = true;
    for (std::size_t i = 0; i < item.items.size(); ++i) {
      const Item& inner = layout_.items[item.items[i]];
      if (inner.beside || !inner.lead.empty() || !inner.feet.empty() || (i > 0 && inner.after_gap)) item.spread = true;
    }
    if (!item.spread) return;
    for (std::uint32_t i = item.owner; i != Item::kNone && !layout_.items[i].spread; i = layout_.items[i].owner) {
      layout_.items[i].spread = true;
    }
  }

  const Source& source_;
  const YamlTree& tree_;
  const Scan scan_;
  Layout layout_;
  std::uint32_t next_ = 0;  // the first item behind the comment at hand
  // Of the comments between two items: one leads the next already; the item that the last one is at the foot of.
  bool leads_ = false;
  std::uint32_t foot_ = Item::kNone;
};

}  // namespace

void add_lead(Item& item, std::string text) {
  item.lead.push_back({std::move(text), std::exchange(item.after_gap, false)});
}

std::optional<Layout> lay_out(const Source& source, const YamlTree& tree, Reporter& reporter) {
  std::optional<Scan> found = scan(source, tree, reporter);
  if (!found) return std::nullopt;
  return Builder(source, tree, *std::move(found)).run();
}

std::vector<std::string> comments_of(const Layout& layout) {
  std::vector<std::string> out;
  const auto add = [&](const std::vector<Note>& notes) {
    for (const Note& note : notes) out.push_back(note.text);
  };
  add(layout.head);
  for (const Item& item : layout.items) {
    add(item.lead);
    if (item.beside) out.push_back(item.beside->text);
    add(item.feet);
  }
  add(layout.feet);
  return out;
}

}  // namespace sallyport
