// Cell: one command in namespaces of its own, with nothing but loopback and the listeners that lead to the gateway.
//
// Form     Two phases. prepare() builds the whole cell (namespaces, routes, rules, listeners, file view) and holds the
//          command back; start() lets it go, once somebody serves the sockets. Paths are absolute and the host's.
// Lifetime The cell's first process ends with the thread that called prepare() and with this object, whichever goes
//          first, and the kernel ends everything in the cell with it. Sockets outlive the cell if they are kept open.
// Threads  prepare() forks: the caller has one thread. Everything else: one thread at a time.
// Signals  With a terminal, the command stays in the caller's process group: Ctrl-C and Ctrl-Z reach both, so the
// caller
//          survives SIGINT and SIGQUIT by a handler, leaves SIGTSTP alone, and forwards what reached it only (SIGTERM,
//          SIGHUP). Without one (shares_terminal() is false) the command has a session of its own: forward SIGINT as
//          well. start() takes SIGCONT. The worker belongs into a session of its own.
// Errors   CellError: what could not be made, and the one thing that helps. There is no weaker cell to fall back to.
// Source   docs/threat-model.md (what a cell holds and what it does not); the facts behind it are in DESIGN, "Cell".
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace sallyport {
namespace cell {
class TakenNames;
struct KeptMode;
}  // namespace cell

struct CellError {
  std::string reason;  // one line, lower case, no full stop
  std::string remedy;  // what the person can do; may be empty

  std::string text() const { return remedy.empty() ? reason : reason + "\n" + remedy; }
};

// A value or a CellError.
template <typename T>
class [[nodiscard]] CellResult {
 public:
  CellResult(T value) : held_(std::in_place_index<0>, std::move(value)) {}          // NOLINT: a value is a result
  CellResult(CellError error) : held_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: an error is a result

  bool ok() const noexcept { return held_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  T& operator*() & { return std::get<0>(held_); }
  const T& operator*() const& { return std::get<0>(held_); }
  T&& operator*() && { return std::get<0>(std::move(held_)); }
  T* operator->() { return &std::get<0>(held_); }
  const T* operator->() const { return &std::get<0>(held_); }
  const CellError& error() const { return std::get<1>(held_); }

 private:
  std::variant<T, CellError> held_;
};

struct CellOptions {
  std::string name;                      // for messages; the kernel does not know it
  std::vector<std::string> command;      // command[0] is looked up in PATH of `environment` if it has no slash
  std::vector<std::string> environment;  // NAME=VALUE, exactly what the command gets
  std::string working_directory;         // real for the command, unless it is `home` or above it
  std::string home;                      // the caller's; seen, writes thrown away; empty: none
  std::vector<std::string>
      writable;                      // --write: real directories or files, with the same protections as the working one
  std::vector<std::string> binds;    // --bind: real, with every socket in it; each has a note
  std::vector<std::string> protect;  // read-only where they lie in something real, their parents pinned in place
  std::string ula = "fd53:616c:6c79::";  // /64 of the synthetic IPv6 addresses; the cell's own is ...::1
  std::vector<int> ignored_signals;  // ignored when sallyport was started (nohup); all others start with their default
};

// The listeners inside the cell; -1 where the host has no IPv6. Non-blocking, close-on-exec, owned by the holder.
struct CellSockets {
  int dns_udp4 = -1;  // 0.0.0.0:53 with IP_PKTINFO: the captured destination, and the source of the answer
  int dns_udp6 = -1;  // [::]:53 with IPV6_RECVPKTINFO and IPV6_FREEBIND
  int dns_tcp4 = -1;  // 0.0.0.0:53; getsockname() of the accepted socket is the captured destination
  int dns_tcp6 = -1;
  int tcp4 = -1;  // every other port of every address but loopback: SO_ORIGINAL_DST
  int tcp6 = -1;  // the same: IP6T_SO_ORIGINAL_DST

  void close();
};

struct CellStatus {
  enum class Kind {
    kHeld,     // prepared, start() not called
    kRunning,  // the command runs
    kStopped,  // stopped by `signal` (job control): see Cell::stop_with_command()
    kExited,   // `code` is what sallyport exits with: the command's, 128+n for a signal, 126 or 127
    kLost,     // the cell's first process was killed: nothing of the cell is left; `code` is 128+n
  };
  Kind kind = Kind::kHeld;
  int code = 0;
  int signal = 0;         // that ended or stopped the command, else 0
  int exec_error = 0;     // errno of an exec that failed (code 126 or 127), else 0
  std::string exec_text;  // why, in words that begin with the command: "./x: its interpreter /y does not exist"

  bool over() const noexcept { return kind == Kind::kExited || kind == Kind::kLost; }
};

class Cell {
 public:
  // Builds the cell; the command is not started. Blocks for a few milliseconds.
  static CellResult<Cell> prepare(const CellOptions& options);

  Cell(Cell&& other) noexcept;
  Cell& operator=(Cell&& other) noexcept;
  ~Cell();  // kill()

  // Owned by the cell until taken: hand them to the worker, then close what is left with CellSockets::close().
  CellSockets take_sockets() noexcept { return std::exchange(sockets_, {}); }

  // For the banner: what is thrown away, read-only, opened knowingly.
  const std::vector<std::string>& notes() const noexcept { return notes_; }

  // After the end: what appeared in real directories that a program outside may obey, such as a git repository. For the
  // person, after everything else.
  const std::vector<std::string>& closing_notes() const noexcept { return closing_notes_; }

  // Lets the command run. False: the cell is gone already (poll() says how).
  bool start();

  // Readable when poll() has news; stays readable after the end.
  int wait_fd() const noexcept { return channel_; }

  // Never blocks, but for a moment at a stop (is it over already?) and at the end (output still in a copied pipe is
  // written out first).
  CellStatus poll();

  // Blocks until the command ends; stops and continues with it (a terminal's Ctrl-Z).
  CellStatus wait();

  // To be called on kStopped; write out what must not wait before. As the terminal's foreground job, and if a shell is
  // there to see it: stops this process as well (everything in the cell has been stopped by then), and continues all of
  // it when the shell continues this process. False: this process goes on, and the command is stopped until a SIGCONT
  // reaches it or this process, or forward_signal() continues it.
  bool stop_with_command();

  // Sends a signal to the command (SIGTERM, SIGHUP ... that reached sallyport alone; a terminal's reach both), and
  // continues it if it is stopped and this process is not.
  void forward_signal(int signal);

  // Ends everything in the cell at once, and waits for it. Safe at any time.
  void kill();

  // A terminal's signals reach the command by themselves.
  bool shares_terminal() const noexcept { return shares_terminal_; }

  // The cell's first process, as the host numbers it.
  pid_t pid() const noexcept { return init_; }

 private:
  Cell();
  void reap();
  void settle_copies();
  void resume();
  void give_back_names();

  pid_t init_ = -1;
  int channel_ = -1;
  CellSockets sockets_;
  CellStatus status_;
  std::vector<std::string> notes_;
  std::vector<std::string> closing_notes_;
  std::unique_ptr<cell::TakenNames> names_;
  std::string command_;  // for exec_text: command[0], the files it may mean, and where they are looked for
  std::vector<std::string> candidates_;
  std::string working_directory_;
  std::vector<pid_t> input_copies_;
  std::vector<pid_t> output_copies_;
  std::vector<cell::KeptMode> kept_modes_;  // of the caller's output files
  bool shares_terminal_ = false;
  bool asked_to_end_ = false;          // by a signal, since the command was last continued
  bool stop_is_the_commands_ = false;  // this stop has been decided on
  int terminal_ = -1;                  // descriptor of the controlling terminal among 0, 1, 2
  pid_t terminal_group_ = -1;          // its foreground group before the command ran
};

}  // namespace sallyport
