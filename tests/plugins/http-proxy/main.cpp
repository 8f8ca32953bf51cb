#include <gtest/gtest.h>

#include <cstdio>

#include "support/private_network.hpp"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const std::string problem = sallyport::testing_kit::enter_private_network();
  if (!problem.empty()) {
    std::fprintf(stderr, "these tests need a network namespace of their own: %s\n", problem.c_str());
    return 1;
  }
  return RUN_ALL_TESTS();
}
