// The credentials file: `user:hash` lines, hashes as crypt(5) writes them.
//
// Errors   G018 with the place of the user; a hash is never shown, and neither is the line that holds it.
// Threads  Pure but for reading the file.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "language/diagnostic.hpp"

namespace sallyport {

// [{user, hash}]. Only what nobody but root and the caller could have written is read.
nlohmann::json load_credentials(const std::string& path, Diagnostics& diagnostics);
nlohmann::json read_credentials(std::string_view text, const std::string& path, Diagnostics& diagnostics);

}  // namespace sallyport
