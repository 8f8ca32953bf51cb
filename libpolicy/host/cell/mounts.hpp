// The mount system calls a file view is made of. All paths are as the calling process sees them now.
//
// Errors   False, and errno says why.
#pragma once

#include <cstdint>
#include <string>

namespace sallyport::cell {

// Directories on the way, mode 0755.
bool make_directories(const std::string& path);
// An empty file, with the directories on the way, for something to be mounted on. True if something is there already.
bool make_mount_point(const std::string& path, bool directory);

bool mount_tmpfs(const std::string& target, unsigned mode, unsigned long flags);

// The mounts below the source come along.
bool bind(const std::string& source, const std::string& target);
// Adds MOUNT_ATTR_*, to the mounts below as well.
bool add_mount_attributes(const std::string& target, std::uint64_t attributes);
// bind() and add_mount_attributes(); on failure nothing stays mounted.
bool bind_with(const std::string& source, const std::string& target, std::uint64_t attributes);

// `store` becomes a directory of the writable layer. userxattr: in a user namespace below the host's.
bool mount_overlay(const std::string& lower, const std::string& store, const std::string& target, bool userxattr);

// new_root, a mount, becomes the root and the old one appears at put_old (below or equal to new_root).
bool pivot_root(const char* new_root, const char* put_old);

}  // namespace sallyport::cell
