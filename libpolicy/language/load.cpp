#include "language/load.hpp"

#include <filesystem>
#include <system_error>
#include <utility>

#include "language/convert.hpp"
#include "language/decode.hpp"
#include "language/source.hpp"
#include "language/trusted_file.hpp"
#include "language/yaml_tree.hpp"

namespace sallyport {
namespace {

std::string_view without_byte_order_mark(std::string_view text) {
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  if (text.starts_with(kMark)) text.remove_prefix(kMark.size());
  return text;
}

std::string absolute(const std::string& path) {
  std::error_code unknown;
  const std::filesystem::path whole = std::filesystem::absolute(path, unknown);
  return unknown ? path : whole.lexically_normal().string();
}

std::optional<PolicyModel> read(const Source& source, const LoadOptions& options, Reporter& reporter,
                                std::vector<std::string>& files) {
  if (source.text().size() > kMaxPolicyOctets) {
    reporter.error("P001", {}, "", "larger than " + std::to_string(kMaxPolicyOctets >> 20) + " MiB",
                   "is this the right file?");
    return std::nullopt;
  }
  const std::optional<YamlTree> tree = parse_yaml(source, reporter);
  if (!tree) return std::nullopt;
  if ((*tree)[tree->root].kind == YamlNode::Kind::kNull) {
    // What was truncated to nothing must not pass for "deny everything", nor for anything else.
    reporter.error("P006", {}, "", "the policy is empty", "write `version: 1`; that alone denies everything");
    return std::nullopt;
  }
  policy::v1::Policy message;
  Place place;
  decode(*tree, tree->root, message, place, reporter);
  if ((*tree)[tree->root].kind != YamlNode::Kind::kMap) return std::nullopt;
  PolicyModel model = convert(message, place, options, reporter, files);
  if (reporter.failed()) return std::nullopt;
  return model;
}

}  // namespace

LoadOutcome load_policy(std::string_view yaml, std::string_view file_name, const LoadOptions& options) {
  const Source source(without_byte_order_mark(yaml), file_name);
  Reporter reporter(source);
  LoadOutcome outcome;
  outcome.model = read(source, options, reporter, outcome.files);
  for (std::string& file : outcome.files) file = absolute(file);
  outcome.diagnostics = reporter.take();
  return outcome;
}

LoadOutcome load_policy_file(const std::string& path, const LoadOptions& options) {
  const auto refuse = [&](const TrustFailure& failure) {
    const Source nothing({}, path);
    Reporter reporter(nothing);
    reporter.error("P001", {}, "", failure.message, failure.repair);
    return LoadOutcome{std::nullopt, reporter.take(), {absolute(path)}};
  };
  TrustedFile::Opened opened = TrustedFile::open(path, kMaxPolicyOctets);
  if (opened.failure) return refuse(*opened.failure);
  std::string text;
  if (const std::optional<TrustFailure> failure = opened.file->read(text)) return refuse(*failure);
  LoadOptions with_files = options;
  with_files.opens_files = true;
  LoadOutcome outcome = load_policy(text, path, with_files);
  outcome.files.insert(outcome.files.begin(), absolute(path));
  if (outcome.ok() && !text.ends_with('\n')) {
    const Source source(text, path);
    Reporter reporter(source);
    reporter.warning("P043", source.span_at(text.size() - 1, 1), "", "the file does not end with a line feed",
                     "is it whole? end it with one");
    for (Diagnostic& warning : reporter.take()) outcome.diagnostics.push_back(std::move(warning));
  }
  return outcome;
}

}  // namespace sallyport
