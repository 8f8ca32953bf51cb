// Rules that allow UDP by address and that nothing in this gateway lets through: the kernel's sets are filled by names,
// and by what decide() says of destinations that have none.
//
// Threads  Pure functions.
#pragma once

#include <string>
#include <vector>

#include "engine/model.hpp"
#include "host/gate/prepared.hpp"

namespace sallyport {

struct UnopenedRule {
  const RuleModel* rule = nullptr;  // of prepared.policy
  std::string why, remedy;
};

std::vector<UnopenedRule> unopened_rules(const Prepared& prepared);

}  // namespace sallyport
