// Why a command could not be executed, in words: the errno alone does not say which of the files is missing.
#pragma once

#include <string>
#include <vector>

namespace sallyport::cell {

// Looks at the files on the host. `candidates` are what execvp tries for `command`, relative to `directory`.
std::string exec_error_text(const std::string& command, const std::vector<std::string>& candidates,
                            const std::string& directory, int error);

}  // namespace sallyport::cell
