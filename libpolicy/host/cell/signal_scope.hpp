// The reach of the command's signals. kill(0, ...) means "my process group", and on a terminal that group is the
// caller's: it would reach the calling shell, its jobs and sallyport itself, across the pid namespace.
#pragma once

namespace sallyport::cell {

// Confines signals to the cell (Landlock's LANDLOCK_SCOPE_SIGNAL, Linux 6.12 on). False: this kernel cannot; the
// seccomp filter then refuses signals to the own group. After no_new_privs, for the calling process and all it will
// start.
bool confine_signals() noexcept;

}  // namespace sallyport::cell
