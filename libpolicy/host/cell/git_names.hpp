// What git obeys in a git directory: the names that decide which programs it runs.
//
// Form     Paths as the caller sees the tree now (the host's before the cell is made, /new/... in it).
// Source   gitrepository-layout(5). `commondir` is among them: it moves config and hooks to another directory.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sallyport::cell {

bool exists(const std::string& path);        // a link counts by itself
bool is_directory(const std::string& path);  // a link does not count
// Names of the directories directly in one; at most `most`.
std::vector<std::string> directories_in(const std::string& path, std::size_t most = SIZE_MAX);

// A directory that git takes for a git directory.
bool is_git_directory(const std::string& path);

// The git directories a real directory leads to: itself, its .git, the .git of those directly in it, and their modules.
std::vector<std::string> git_directories(const std::string& root);

// What has to be read-only for these, whether it exists or not; and a .git that is a file, which says where git looks.
std::vector<std::string> names_git_obeys(const std::string& root);

// Where the repository that `directory` belongs to is found: the directory itself or one above that has a .git.
// Empty: none.
std::string repository_of(const std::string& directory);

// The git directory behind a .git, which may be a file that names it: of a linked worktree, the main one.
std::string git_directory_behind(const std::string& dot_git);

}  // namespace sallyport::cell
