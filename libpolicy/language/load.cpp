#include "language/load.hpp"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <system_error>
#include <utility>

#include "engine/decide.hpp"
#include "language/convert.hpp"
#include "language/decode.hpp"
#include "language/policy_tests.hpp"
#include "language/source.hpp"
#include "language/suggest.hpp"
#include "language/trusted_file.hpp"
#include "language/yaml_tree.hpp"

namespace sallyport {
namespace {

std::string_view without_byte_order_mark(std::string_view text) {
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  if (text.starts_with(kMark)) text.remove_prefix(kMark.size());
  return text;
}

// One file, and what was found in it. Never moved: places and reporters refer to it.
struct File {
  File(std::string content, std::string_view name)
      : text(std::move(content)), source(without_byte_order_mark(text), name), reporter(source) {}

  const std::string text;
  const Source source;
  Reporter reporter;
  policy::v1::Policy message;
  Place place;
  std::string path;        // absolute; of a file that was opened
  bool is_policy = false;  // it could be decoded
  Excerpt included_at;     // of a file that another one includes
};

// "conf/base.yaml" for `base.yaml` in conf/policy.yaml.
std::string beside(std::string_view file, const std::string& name) {
  const std::size_t slash = file.rfind('/');
  return name.starts_with('/') || slash == std::string_view::npos ? name
                                                                  : std::string(file.substr(0, slash + 1)) + name;
}

// A policy and the files it includes, in the order of their rules.
class Loader {
 public:
  // may_open: the policy is a file itself, or its caller says so.
  Loader(const LoadOptions& options, bool may_open) : options_(options), may_open_(may_open) {}

  LoadOutcome text(std::string content, std::string_view name) {
    files_.push_back(std::make_unique<File>(std::move(content), name));
    return policy(*files_.back());
  }

  LoadOutcome file(const std::string& path) {
    outcome_.files.push_back(path);
    File* root = open(path);
    return root != nullptr ? policy(*root) : std::move(outcome_);
  }

 private:
  // nullptr: reported, at `asked` or as the failure of the policy's own file.
  File* open(const std::string& path, Reporter* asking = nullptr, const Span& asked = {}, const std::string& key = {});
  LoadOutcome policy(File& root);
  void decode_file(File& file);
  void include_all(File& file);
  void include(File& file, const std::string& name, const Place& entry);
  bool add_tests();
  void run_policy_tests();

  const LoadOptions& options_;
  const bool may_open_;
  std::vector<std::unique_ptr<File>> files_;  // as they were opened; the policy first
  std::vector<File*> order_;                  // as their rules stand; the policy last
  std::vector<const File*> open_;             // the policy, the file it includes, and so on down
  std::uint64_t octets_ = 0;
  LoadOutcome outcome_;
};

File* Loader::open(const std::string& path, Reporter* asking, const Span& asked, const std::string& key) {
  TrustedFile::Opened opened = TrustedFile::open(path, kMaxPolicyOctets);
  std::string text;
  std::optional<TrustFailure> failure = std::move(opened.failure);
  if (!failure) failure = opened.file->read(text);
  if (failure && asking != nullptr) {
    asking->error("P027", asked, key, "cannot include " + in_ticks(path) + ": " + failure->message, failure->repair);
    return nullptr;
  }
  if (failure) {
    const Source nothing({}, path);
    Reporter reporter(nothing);
    reporter.error("P001", {}, "", failure->message, failure->repair);
    outcome_.diagnostics = reporter.take();
    return nullptr;
  }
  files_.push_back(std::make_unique<File>(std::move(text), path));
  File& file = *files_.back();
  file.path = opened.file->path();
  return &file;
}

void Loader::decode_file(File& file) {
  Reporter& reporter = file.reporter;
  octets_ += file.source.text().size();
  if (octets_ > kMaxPolicyOctets) {
    reporter.error("P001", {}, "", "larger than " + std::to_string(kMaxPolicyOctets >> 20) + " MiB",
                   "is this the right file?");
    return;
  }
  const std::optional<YamlTree> tree = parse_yaml(file.source, reporter);
  if (!tree) return;
  if ((*tree)[tree->root].kind == YamlNode::Kind::kNull) {
    // What was truncated to nothing must not pass for "deny everything", nor for anything else.
    reporter.error("P006", {}, "", "the policy is empty", "write `version: 1`; that alone denies everything");
    return;
  }
  decode(*tree, tree->root, file.message, file.place, reporter);
  file.is_policy = (*tree)[tree->root].kind == YamlNode::Kind::kMap;
}

void Loader::include(File& file, const std::string& name, const Place& entry) {
  const std::string key = "include[" + std::to_string(entry.index) + "]";
  const auto refuse = [&](std::string message, std::string repair) -> Diagnostic& {
    return file.reporter.error("P027", entry.value, key, std::move(message), std::move(repair));
  };
  if (!may_open_) {
    refuse("a policy that is no file cannot include " + in_ticks(name), "name the policy's file instead");
    return;
  }
  if (name.empty() || name.find('\0') != std::string::npos) {
    refuse("no file to include", "write its name, relative to " + in_ticks(std::string(file.source.file())));
    return;
  }
  if (open_.size() > kMostIncludeDepth) {
    refuse("files that include files, " + std::to_string(open_.size()) + " deep",
           "at most " + std::to_string(kMostIncludeDepth) + "; include it from " +
               in_ticks(std::string(files_.front()->source.file())));
    return;
  }
  if (files_.size() > kMostIncludedFiles) {
    refuse("more than " + std::to_string(kMostIncludedFiles) + " included files", "put some of them together");
    return;
  }
  const std::string path = beside(file.source.file(), name);
  outcome_.files.push_back(path);
  File* opened = open(path, &file.reporter, entry.value, key);
  if (opened == nullptr) return;
  opened->included_at = file.source.excerpt(entry.value);
  const auto same = std::find_if(files_.begin(), files_.end(), [&](const std::unique_ptr<File>& other) {
    return other.get() != opened && other->path == opened->path;
  });
  if (same != files_.end()) {
    const bool cycle = std::find(open_.begin(), open_.end(), same->get()) != open_.end();
    Diagnostic& twice = refuse(cycle ? in_ticks(path) + " includes itself" : in_ticks(path) + " is included twice",
                               cycle ? "one of the two is too many" : "its rules stand once; remove one of the two");
    if ((*same)->included_at.line > 0) {
      twice.related.push_back((*same)->included_at);
      twice.related.back().label = "included here before";
    }
    files_.pop_back();
    return;
  }
  decode_file(*opened);
  include_all(*opened);
}

void Loader::include_all(File& file) {
  open_.push_back(&file);
  if (const Place* written = file.place.field(policy::v1::Policy::kIncludeFieldNumber)) {
    for (int i = 0; i < file.message.include_size(); ++i) {
      include(file, file.message.include(i), written->elements[static_cast<std::size_t>(i)]);
    }
  }
  open_.pop_back();
  order_.push_back(&file);
}

// False: it cannot be opened, and the outcome says why.
bool Loader::add_tests() {
  outcome_.files.push_back(options_.tests_file);
  File* file = open(options_.tests_file);
  if (file == nullptr) return false;
  decode_file(*file);
  for (const Place& field : file->place.fields) {
    if (field.number == policy::v1::Policy::kVersionFieldNumber ||
        field.number == policy::v1::Policy::kTestsFieldNumber)
      continue;
    const std::string& key = policy::v1::Policy::descriptor()->FindFieldByNumber(field.number)->name();
    file->reporter.error("P062", field.key, key, "a file of tests has no " + in_ticks(key),
                         "write `version` and `tests` alone");
  }
  order_.push_back(file);
  return true;
}

LoadOutcome Loader::policy(File& root) {
  decode_file(root);
  if (!options_.tests_file.empty() && !add_tests()) return std::move(outcome_);
  include_all(root);
  const bool readable =
      std::all_of(files_.begin(), files_.end(), [](const std::unique_ptr<File>& file) { return file->is_policy; });
  if (readable) {
    std::vector<PolicyPart> parts;
    for (File* file : order_) parts.push_back({&file->message, &file->place, &file->reporter});
    outcome_.model = convert(parts, options_, outcome_.files);
  }
  const auto failed = [&] {
    return std::any_of(files_.begin(), files_.end(),
                       [](const std::unique_ptr<File>& file) { return file->reporter.failed(); });
  };
  if (outcome_.model && options_.run_tests && !failed()) run_policy_tests();
  if (failed()) outcome_.model.reset();
  for (const std::unique_ptr<File>& file : files_) {
    if (!outcome_.ok() || file->path.empty() || file->text.ends_with('\n')) continue;
    file->reporter.warning("P043", file->source.span_at(file->text.size() - 1, 1), "",
                           "the file does not end with a line feed", "is it whole? end it with one");
  }
  for (const std::unique_ptr<File>& file : files_) {
    for (Diagnostic& diagnostic : file->reporter.take()) outcome_.diagnostics.push_back(std::move(diagnostic));
  }
  return std::move(outcome_);
}

// A policy that does not do what its tests say is not what its author meant.
void Loader::run_policy_tests() {
  const PolicyModel& model = *outcome_.model;
  if (model.tests.empty()) return;
  const Result<std::vector<std::byte>> bytes = compile(model, 1);
  if (!bytes.ok()) return;  // said by whoever compiles it for use
  const Result<std::shared_ptr<const Snapshot>> snapshot = Snapshot::open(*bytes);
  if (!snapshot.ok()) return;
  Reader reader(*snapshot);
  const std::vector<TestResult> results = run_tests(model, reader);
  std::size_t index = 0;
  for (File* file : order_) {
    const Place* written = file->place.field(policy::v1::Policy::kTestsFieldNumber);
    for (std::size_t i = 0; written != nullptr && i < written->elements.size(); ++i, ++index) {
      const TestResult& result = results[index];
      if (result.passed) continue;
      const TestModel& test = model.tests[index];
      const Place& entry = written->elements[i];
      const Place* target =
          entry.field(test.allow ? policy::v1::Test::kAllowFieldNumber : policy::v1::Test::kDenyFieldNumber);
      std::string who;
      if (!test.client.empty()) who = " for client " + in_ticks(test.client);
      if (!test.cell.empty()) who = " for cell " + in_ticks(test.cell);
      Diagnostic& failure = file->reporter.error(
          "P028", target->value, "tests[" + std::to_string(entry.index) + "]",
          "this test fails: " + in_ticks(test.target) + who + " must be " + (test.allow ? "allowed" : "denied"),
          "it is " + result.got);
      const std::vector<Step>& steps = result.explanation.steps;
      const std::uint32_t rule = steps.empty() ? kNoRuleIndex : steps.back().verdict.rule;
      if (rule >= model.rules.size()) continue;
      const SourcePosition& where = model.rules[rule].where;
      const File& holder = where.file == 0 ? *order_.back() : *order_[where.file - 1];
      if (where.line == 0) continue;
      const std::string_view key = holder.source.line(where.line).substr(where.column - 1);
      const auto length = static_cast<std::uint32_t>(std::max<std::size_t>(1, key.find_last_not_of(" ,}") + 1));
      failure.related.push_back(holder.source.excerpt({where.line, where.column, length}));
      failure.related.back().label = "this rule decides";
    }
  }
}

// Whoever watches them may have another working directory by then.
LoadOutcome with_absolute_files(LoadOutcome outcome) {
  for (std::string& file : outcome.files) {
    std::error_code unknown;
    const std::filesystem::path whole = std::filesystem::absolute(file, unknown);
    if (!unknown) file = whole.lexically_normal().string();
  }
  return outcome;
}

}  // namespace

LoadOutcome load_policy(std::string_view yaml, std::string_view file_name, const LoadOptions& options) {
  return with_absolute_files(Loader(options, options.opens_files).text(std::string(yaml), file_name));
}

LoadOutcome load_policy_file(const std::string& path, const LoadOptions& options) {
  LoadOptions with_files = options;
  with_files.opens_files = true;
  return with_absolute_files(Loader(with_files, true).file(path));
}

}  // namespace sallyport
