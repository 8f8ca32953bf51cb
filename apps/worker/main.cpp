// sallyport-worker: started by the warden with its channel as descriptor 3; of no use by hand.
#include <fcntl.h>
#include <sys/socket.h>

#include <cstdio>

#include "host/worker/worker.hpp"

int main() {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(3, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET) {
    std::fputs("sallyport-worker is started by sallyport, not by hand\n", stderr);
    return 2;
  }
  ::fcntl(3, F_SETFD, FD_CLOEXEC);
  return sallyport::run_worker(3);
}
