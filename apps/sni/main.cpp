// sallyport-sni: the sni-filter plugin behind one policy file. Composition only.
#include "thin/program.hpp"

int main(int argc, char** argv) {
  return sallyport::thin::run(
      {.name = "sallyport-sni",
       .summary =
           "Takes TLS and clear HTTP connections that were led here, reads from SNI or Host whom they are for, and\n"
           "connects to that name if a policy allows it. The port that is listened on is the port that is dialled.",
       .plugin = "sni-filter",
       .listen = {"127.0.0.1:443", "127.0.0.1:80"},
       .transparent = true},
      argc, argv);
}
