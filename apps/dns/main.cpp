// sallyport-dns: the dns plugin behind one policy file. Composition only.
#include "thin/program.hpp"

int main(int argc, char** argv) {
  return sallyport::thin::run(
      {.name = "sallyport-dns",
       .summary =
           "Answers DNS queries over UDP and TCP for the names that a policy allows. For no other name is anything "
           "outside asked.",
       .plugin = "dns",
       .listen = {"127.0.0.1:53"},
       .udp = true,
       .options = {{.name = "answers",
                    .value = "real|gateway",
                    .key = "answers",
                    .help = "true addresses, or that of a gateway which sallyport-sni serves at; default: real",
                    .preset = "real",
                    .implied_by = "gateway-address",
                    .implies = "gateway"},
                   {.name = "gateway-address",
                    .value = "ADDRESS",
                    .key = "gateway_addresses",
                    .help = "what every allowed name gets; may be repeated; means --answers gateway",
                    .list = true},
                   {.name = "blocked-answer",
                    .value = "nxdomain|zero|refused",
                    .key = "blocked_answer",
                    .help = "what a denied name gets; default: nxdomain"}}},
      argc, argv);
}
