// What the warden and the cell's first process say to each other, over a SOCK_SEQPACKET pair.
//
// Form     One kind octet, then fields each ended by a NUL; listeners ride on kReady as SCM_RIGHTS.
// Trust    Both ends are ours; the command never holds this channel.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "host/cell/cell.hpp"

namespace sallyport::cell {

enum class MessageKind : char {
  kFailed = 'E',   // reason, remedy
  kReady = 'R',    // notes; the sockets
  kGo = 'G',       // to the cell: let the command run
  kSignal = 'S',   // to the cell: number
  kStopped = 'T',  // number
  kContinued = 'C',
  kExited = 'X',  // code, signal, errno of a failed exec
};

struct CellMessage {
  MessageKind kind = MessageKind::kFailed;
  std::vector<std::string> fields;
  CellSockets sockets;

  int number(std::size_t index) const;  // 0 if it is not there
};

bool send_message(int channel, MessageKind kind, const std::vector<std::string>& fields = {},
                  const CellSockets* sockets = nullptr);

// Nothing: no message now (wait false), or the other side is gone (closed is set).
std::optional<CellMessage> receive_message(int channel, bool wait, bool& closed);

}  // namespace sallyport::cell
