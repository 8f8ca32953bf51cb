#include "language/gateway/gateway_load.hpp"

#include <filesystem>

#include "language/decode.hpp"
#include "language/gateway/gateway_convert.hpp"
#include "language/gateway/lower.hpp"
#include "language/trusted_file.hpp"
#include "language/values.hpp"

namespace sallyport {

namespace fs = std::filesystem;

GatewayOutcome load_gateway(std::string text, const std::string& file_name, std::vector<std::string> options) {
  auto shared = std::make_shared<GatewayText>();
  if (text.starts_with("\xef\xbb\xbf")) text.erase(0, 3);
  shared->file = file_name;
  shared->text = std::move(text);
  shared->source = std::make_unique<Source>(shared->text, shared->file, std::move(options));
  Reporter reporter(*shared->source);
  GatewayOutcome outcome;
  std::error_code error;
  outcome.name = fs::path(file_name).stem().string();
  if (!is_plain_name(outcome.name)) outcome.name = plain_name_of(outcome.name);
  if (outcome.name.empty()) outcome.name = "gateway";
  if (std::optional<YamlTree> tree = parse_yaml(*shared->source, reporter)) {
    shared->tree = *std::move(tree);
    const YamlNode& root = shared->tree[shared->tree.root];
    if (root.kind == YamlNode::Kind::kNull) {
      reporter.error("P006", {}, "", "the file is empty",
                     "docs/gateway.md shows a gateway; `sallyport init` writes one");
    } else {
      gateway::v1::Gateway message;
      Place place;
      const YamlTree lowered = lower(shared->tree);
      decode(lowered, lowered.root, message, place, reporter);
      if (root.kind == YamlNode::Kind::kMap) {
        GatewayModel model = convert_gateway(message, place, shared->tree, file_name, reporter);
        if (is_plain_name(model.name)) outcome.name = model.name;
        model.source = shared;
        if (!reporter.failed()) outcome.model = std::move(model);
      }
    }
  }
  outcome.diagnostics = reporter.take();
  return outcome;
}

GatewayOutcome load_gateway_file(const std::string& path) {
  const auto refuse = [&](const TrustFailure& failure) {
    GatewayOutcome outcome = load_gateway("version: 1", path);  // for the name alone
    const Source nothing({}, path);
    Reporter reporter(nothing);
    reporter.error("P001", {}, "", failure.message, failure.repair);
    outcome.model.reset();
    outcome.diagnostics = reporter.take();
    return outcome;
  };
  TrustedFile::Opened opened = TrustedFile::open(path, kMaxGatewayOctets);
  if (opened.failure) return refuse(*opened.failure);
  std::string text;
  if (const std::optional<TrustFailure> failure = opened.file->read(text)) return refuse(*failure);
  return load_gateway(std::move(text), path);
}

}  // namespace sallyport
