// PolicyLists: the `lists` of a policy, each read when a rule first uses it, and what is wrong with them.
//
// Form     Files relative to the folder of the policy that names them, trusted as it is (language/trusted_file.hpp).
// Errors   P032 a file that cannot be used, P031 lines not understood, P033 an unknown list, P034 an unused one, P035
//          lines that say the opposite of the rule; P014, P015 and P018 of names that an allow rule may not list, P043.
//          Each list's own are reported once, however many rules use it.
//
// Internal to language/: it names generated types.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/model.hpp"
#include "language/decode.hpp"
#include "language/list_content.hpp"
#include "language/source.hpp"
#include "sallyport/policy/v1/policy.pb.h"

namespace sallyport {

class PolicyLists {
 public:
  // files: every file that was opened, or should have been, is added.
  PolicyLists(bool opens_files, std::vector<std::string>& files) : opens_files_(opens_files), files_(files) {}

  // The lists of a policy, before its rules. The reporter outlives *this.
  void declare(const policy::v1::Policy& policy, const Place& place, Reporter& reporter);

  // Fills in model.lists. The rule's action, domains and resolves_to are known. path: of the rule.
  void use(const policy::v1::Rule& rule, const Place& place, RuleModel& model, const std::string& path,
           Reporter& reporter);

  void report_unused();

 private:
  struct Declared {
    std::string name, shown;  // the file as messages call it
    ListFormat format = ListFormat::kDomains;
    std::uint32_t max_invalid = 0;
    Span name_at, file_at;
    Reporter* reporter = nullptr;
    bool whole = false;  // nothing of it was refused, so it can be read
    bool used = false;
    bool told_holes[2] = {}, told_opposite[2] = {};  // by action
    std::optional<ListContent> content;
    bool weighed = false;
  };

  void declare(const std::string& name, const policy::v1::List& list, const Place& place, Reporter& reporter);
  bool read(Declared& list, bool weigh);
  bool check_lines(Declared& list, Action action);
  void check_names(const Declared& list, const policy::v1::Rule& rule, const Place& place, const RuleModel& model,
                   const std::string& path, Reporter& reporter);
  void unknown(const std::string& name, const Place& place, const std::string& path, Reporter& reporter) const;

  const bool opens_files_;
  std::vector<std::string>& files_;
  std::vector<std::unique_ptr<Declared>> lists_;
  std::map<std::string, Declared*, std::less<>> by_name_;
};

// Every resolves_to is one host address: the gateway answers for the rule's names itself.
bool is_answered_here(const RuleModel& model);

}  // namespace sallyport
