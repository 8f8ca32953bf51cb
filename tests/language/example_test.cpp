// The policies that users copy are valid, without a warning.
#include <gtest/gtest.h>

#include <filesystem>

#include "language/load.hpp"

namespace sallyport {
namespace {

TEST(Examples, AreValid) {
  std::size_t seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator("examples/policies")) {
    if (entry.path().extension() != ".yaml") continue;
    ++seen;
    const LoadOutcome outcome = load_policy_file(entry.path().string());
    EXPECT_TRUE(outcome.ok() && outcome.diagnostics.empty()) << render(outcome.diagnostics, false);
  }
  EXPECT_GE(seen, 3u);
}

}  // namespace
}  // namespace sallyport
