// FileView: what the command sees as its file system.
//
// Form     Built from inside the new mount namespace in three moves: the host's tree steps aside to /old, the view
// grows at
//          /new from overlays whose writes are thrown away, and /new becomes the root while /old is unmounted.
//
//            /            tmpfs, gone at the end
//            /old         the host's tree
//            /new         the view: one overlay per directory without a mount below it, then private /tmp, /run, /dev,
//                         /proc, /sys on top, then what is real: the working directory, --write, --bind
//            /store/N     the writable layer of overlay N
//
// Errors   What can't be made safe is a Failure; what can't be made writable is a note.
#pragma once

#include <sys/stat.h>

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "host/cell/failure.hpp"
#include "host/cell/mount_table.hpp"
#include "host/cell/taken_names.hpp"
#include "host/cell/unix_sockets.hpp"

namespace sallyport::cell {

// What has to be known before the namespaces are made, with all paths canonical.
struct FilePlan {
  std::string working_directory;  // canonical
  std::string home;               // canonical; empty: none
  std::vector<std::string> real;  // directories and files, parents first
  std::vector<std::string> binds;
  std::vector<std::string> protect;
  std::vector<std::string> brought_back;  // of private directories: HOME, CMD, PATH entries
  std::string terminal;                   // /dev/pts/3; empty: none
  bool working_directory_is_real = true;
  UnixSockets sockets;
  TakenNames names;                           // in the user's tree, for the warden to give back
  std::vector<std::string> new_repositories;  // real directories whose .git is NewRepository's place
  bool git_is_above = false;                  // the working directory's repository begins above it: behind a mount
  std::vector<std::string> notes;
};

// Resolves the options on the host.
CellResult<FilePlan> plan_files(const CellOptions& options);

class FileView {
 public:
  // mounts_are_locked: as they are in a user namespace below the host's. full_map: uid 0 in the cell is uid 0 on the
  // host.
  FileView(const FilePlan& plan, bool mounts_are_locked, bool full_map);

  Failure build();

  const std::vector<std::string>& notes() const noexcept { return notes_; }
  // No overlay could be mounted: host sockets are only covered by name, so the command must not have AF_UNIX at all.
  bool refuse_unix_sockets() const noexcept { return overlaid_.empty(); }

 private:
  // files.cpp
  Failure step_aside();
  Failure become_root();
  void cover(const std::string& path);
  void cover_entries(const std::string& path);
  bool cover_by_overlay(const std::string& path);
  bool cover_by_copy(const std::string& path, const struct stat& status);
  void cover_read_only(const std::string& path);
  void bring_back(const std::string& path);
  Failure own_etc();
  Failure own_etc_file(const std::string& name, std::string_view text);
  // real_directories.cpp
  Failure make_real(const std::string& path);
  Failure open_bind(const std::string& path);
  Failure protect_within(const std::string& root);
  Failure pin(const std::string& root, const std::string& path);
  Failure mask_sockets(const std::string& root);
  // devices.cpp
  Failure private_directories();
  Failure devices();
  Failure kernel_views();

  const FilePlan& plan_;
  const bool mounts_are_locked_;
  const bool full_map_;
  MountTable host_mounts_;
  std::vector<std::string> overlaid_;
  std::vector<std::string> pinned_;
  std::vector<std::string> read_only_;
  std::vector<std::string> notes_;
  int stores_ = 0;
};

// Host path to where it is while the view is built.
std::string in_old(const std::string& path);
std::string in_new(const std::string& path);

// Directories of the view that are the cell's own; nothing of the host's shows through unless brought back.
bool is_private_directory(std::string_view path);
bool is_within_private_directory(std::string_view path);

// At the top of a real directory: what an editor or a shell hook runs. Read-only where they are, looked for at the end
// where they are not.
inline constexpr std::array<const char*, 9> kEditorFiles = {
    ".vscode", ".idea", ".zed", ".envrc", ".husky", ".exrc", ".nvim.lua", ".githooks", ".devcontainer"};

inline constexpr const char* kMaskFile = "/mask";        // an empty file without permissions, to be bound over others
inline constexpr const char* kMaskDirectory = "/masks";  // an empty directory

}  // namespace sallyport::cell
