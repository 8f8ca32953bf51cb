// Writing a file whole or not at all.
//
// Threads  One.
#pragma once

#include <string>
#include <string_view>

namespace sallyport::policyctl {

// A new file takes the old one's place with its mode and owner (0644 less the umask, where there was none), once all of
// it is on the disk. A symbolic link is refused: the link would be replaced, not the file. Returns what went wrong,
// empty if nothing did; then nothing is left behind.
std::string write_file(const std::string& path, std::string_view content);

}  // namespace sallyport::policyctl
