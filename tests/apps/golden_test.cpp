// What policyctl check says of broken policies, word for word (UX.md section 3; CFG-01).
//
// tests/language/golden/NN-name.yaml is the policy, NN-name.txt the output. SALLYPORT_GOLDEN=write in the environment
// writes the outputs anew; then read the diff.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "policyctl/command.hpp"

namespace sallyport::policyctl {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = SALLYPORT_GOLDEN_FOLDER;

std::vector<std::string> policies() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Golden : public testing::TestWithParam<std::string> {};

TEST_P(Golden, IsSaidWordForWord) {
  const fs::path before = fs::current_path();
  fs::current_path(kFolder);
  std::ostringstream out, err;
  const int status = run({"check", GetParam() + ".yaml"}, {out, err, false, false});
  fs::current_path(before);
  std::string said = out.str() + err.str();
  // The loader names files that it cannot open by their whole path.
  const std::string whole = kFolder.string() + "/";
  for (std::size_t at; (at = said.find(whole)) != std::string::npos;) said.erase(at, whole.size());
  const fs::path expected = kFolder / (GetParam() + ".txt");
  const char* mode = std::getenv("SALLYPORT_GOLDEN");
  if (mode != nullptr && std::string(mode) == "write") {
    std::ofstream(expected, std::ios::binary) << said;
    return;
  }
  EXPECT_EQ(said, content(expected));
  // 3: invalid. A warning alone leaves it valid.
  EXPECT_EQ(status, said.find("error[") != std::string::npos ? 3 : 0);
}

INSTANTIATE_TEST_SUITE_P(Policies, Golden, testing::ValuesIn(policies()), [](const auto& row) {
  std::string name = row.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(Golden, ThereAreFortyAndMore) { EXPECT_GE(policies().size(), 40u); }

}  // namespace
}  // namespace sallyport::policyctl
