// init_files(): writes what generate() gives. The whole of `sallyport init` but its command line.
//
// Never    Writes over a file, or through a symbolic link, unless --force says so; a file that is there already means
//          that none is written.
// Errors   A text on stderr. 0: written; 1: files are there, are missing, or could not be written; 2: the command line.
#pragma once

#include "host/init/generate.hpp"

namespace sallyport {

int init_files(const InitOptions& options);

}  // namespace sallyport
