#include "language/list_content.hpp"

#include <utility>

#include "language/source.hpp"

namespace sallyport {
namespace {

class Collector : public ListSink {
 public:
  Collector(const std::string& shown, bool weigh, ListContent& content)
      : shown_(shown), weigh_(weigh), content_(content) {}

  void name(const DomainName& name, PatternKind kind, EntrySense sense, const LinePart& where) override {
    names_->add(name, kind);
    if (sense == EntrySense::kBlocks) count(content_.blocks, name, kind, where);
    if (sense == EntrySense::kPasses) count(content_.passes, name, kind, where);
    if (!weigh_) return;
    switch (breadth({name, kind})) {
      case Breadth::kOrganisation:
        break;
      case Breadth::kMultiTenant:
        count(content_.many_tenants, name, kind, where);
        return;
      case Breadth::kPublicSuffix:
      case Breadth::kTooBroad:
        count(content_.public_suffixes, name, kind, where);
        return;
    }
    if (name.labels() == 1 && kind == PatternKind::kExact) count(content_.single_labels, name, kind, where);
  }

  void invalid(const InvalidLine& why, const LinePart& where) override {
    if (content_.invalid.count++ > 0) return;
    content_.invalid.first = excerpt(where);
    content_.invalid.what = why.reason;
    content_.invalid.is_mistake = why.is_mistake;
  }

  void finish(const ListParser& parser) {
    content_.lines = parser.lines();
    content_.ends_with_line_feed = parser.ends_with_line_feed();
    content_.names = std::move(names_);
  }

 private:
  void count(ListTally& tally, const DomainName& name, PatternKind kind, const LinePart& where) {
    if (tally.count++ > 0) return;
    tally.first = excerpt(where);
    tally.what = Pattern{name, kind}.text();
  }

  Excerpt excerpt(const LinePart& where) const {
    Excerpt excerpt = excerpt_of(shown_, where.text, {where.line, where.column, where.length});
    excerpt.entry_column = 1;
    return excerpt;
  }

  const std::string& shown_;
  const bool weigh_;
  ListContent& content_;
  std::shared_ptr<PatternSet> names_ = std::make_shared<PatternSet>();
};

}  // namespace

ListContent read_list(std::string_view text, ListFormat format, const std::string& shown, bool weigh) {
  ListContent content;
  Collector collector(shown, weigh, content);
  ListParser parser(format, collector);
  parser.feed(text);
  parser.finish();
  collector.finish(parser);
  return content;
}

std::optional<TrustFailure> read_list(TrustedFile& file, ListFormat format, const std::string& shown, bool weigh,
                                      ListContent& content) {
  Collector collector(shown, weigh, content);
  ListParser parser(format, collector);
  std::optional<TrustFailure> failure = file.read([&](std::string_view piece) { parser.feed(piece); });
  if (failure) return failure;
  parser.finish();
  collector.finish(parser);
  return std::nullopt;
}

}  // namespace sallyport
