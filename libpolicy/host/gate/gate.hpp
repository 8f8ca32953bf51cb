// Gate: a running gateway: its workers, sockets, memory and audit, and the changes from one configuration to the next.
//
// Changes  One at a time, all or nothing (Transition). What was asked for meanwhile is done afterwards, once.
//          Prepare -> sockets -> kernel -> new workers serve -> commit: publish to those that stay, hand over
//          listeners, drain those that are replaced -> every worker has answered: live. Before the commit nothing that
//          runs has changed, and a failure goes back to it.
// Deaths   A worker that dies is started again at once with the same sockets, policy and memory. Three crashes in 60 s
//          keep it down, and its listeners are closed: the kernel refuses where a full queue would let clients hang.
// Threads  [main].
#pragma once

#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/decide.hpp"
#include "host/gate/gate_audit.hpp"
#include "host/gate/gate_memory.hpp"
#include "host/gate/group_worker.hpp"
#include "host/gate/prepared.hpp"
#include "host/gate/serve.hpp"
#include "host/gate/sockets.hpp"
#include "host/gate/status_socket.hpp"
#include "host/warden/address_watch.hpp"
#include "host/warden/file_watch.hpp"
#include "limits/quota_file.hpp"

namespace sallyport {

class Gate {
 public:
  explicit Gate(ServeOptions options) : options_(std::move(options)) {}
  int run();

 private:
  using Clock = std::chrono::steady_clock;

  struct Policy {
    std::uint64_t generation = 0;
    Descriptor memory;
    std::shared_ptr<const Snapshot> snapshot;
  };

  // A worker process with what belongs to it alone.
  struct Process {
    std::string name;  // of its group, for people
    std::unique_ptr<GroupWorker> worker;
    GateAudit::Source* audit = nullptr;
    int slot = -1;  // of GateMemory::applied
    Clock::time_point started{};
  };

  struct Group {
    PreparedGroup plan;
    std::shared_ptr<const Prepared> prepared;  // holds its plugins' files
    nlohmann::json setup;
    std::string signature;     // the same: the running process will do
    Process process;           // without a worker: down
    bool handed_over = false;  // its worker has its listeners
    std::deque<Clock::time_point> deaths;
    std::string why_down;
  };

  struct Transition {
    bool first = false;
    bool committed = false;
    Clock::time_point began{};
    std::shared_ptr<Prepared> prepared;
    Policy policy;
    nlohmann::json topology;
    std::list<Group> fresh;  // new, or changed
    std::vector<GateSocket> opened;
    std::set<std::string> kept;  // keys of groups whose workers stay
    bool kernel_changed = false;
  };

  // gate.cpp: start, loop, end
  bool set_up(const Prepared& prepared);
  absl::Status make_memory();
  void keep_quotas(Clock::time_point now);
  static LimitsTable::Now limits_time();
  void loop();
  int wait_ms(Clock::time_point now) const;
  void on_signals();
  void attend(Clock::time_point now);
  void attend(Group& group, Clock::time_point now);
  void shut_down();
  void notify(const std::string& state);

  // workers.cpp
  nlohmann::json setup_of(const Prepared& prepared, const PreparedGroup& plan, const nlohmann::json& topology) const;
  bool start_worker(Group& group, const Policy& policy, std::string& why);
  void hand_over(Group& group);
  void retire(Process process, std::chrono::milliseconds deadline);
  void bury(Process& process);
  void on_death(Group& group, Clock::time_point now);
  void take_down(Group& group, std::string why);

  // transition.cpp
  void begin(bool first);
  bool prepare(Transition& next);
  bool compile_policy(Transition& next);
  bool open_sockets(Transition& next);
  void advance(Clock::time_point now);
  void commit();
  void abandon(std::string_view why);
  void announce(Clock::time_point now);
  static std::uint32_t worker_uid(const GatewayModel& gateway);
  nlohmann::json topology_of(const Prepared& prepared, const std::vector<GateSocket>& sockets) const;

  // status.cpp
  std::string answer(const std::string& request);
  nlohmann::json status() const;
  bool healthy() const;
  void count_health();

  ServeOptions options_;
  std::string name_;
  int program_ = -1;
  std::optional<GateMemory> memory_;
  std::optional<QuotaFile> quotas_;  // none: no directory for it
  Clock::time_point quotas_kept_{};
  bool quotas_are_kept_ = true;
  std::unique_ptr<GateAudit> audit_;
  ActivatedSockets activated_;
  std::optional<StatusSocket> status_;
  FileWatch watch_;
  AddressWatch addresses_;
  std::vector<std::string> own_;             // addresses, when it started
  std::optional<WorkerProcess::Jail> jail_;  // once one was refused

  std::shared_ptr<const Prepared> prepared_;
  Policy policy_;
  nlohmann::json topology_;
  bool kernel_closed_ = false;
  std::vector<GateSocket> sockets_;
  std::list<Group> groups_;
  std::list<Process> draining_;
  std::unique_ptr<Transition> transition_;
  std::uint64_t generation_ = 0;  // the last one given out, live or not
  std::uint64_t live_ = 0;        // the last one that every worker has answered for
  std::int64_t trial_end_ = 0;    // of the next trial (mode: observe) of the policy, seconds since 1970; 0: none

  int signals_ = -1;
  bool reload_wanted_ = false;
  bool ready_ = false;
  bool failed_ = false;  // the start
  bool stopping_ = false;
  Clock::time_point stop_end_{};
  std::chrono::microseconds watchdog_{0};
  Clock::time_point fed_{}, attended_{};
};

// "sallyport: text" on stderr, one line.
void say(std::string_view text);

inline std::string text_of(const absl::Status& status) { return std::string(status.message()); }

}  // namespace sallyport
