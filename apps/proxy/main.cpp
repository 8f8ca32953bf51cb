// sallyport-proxy: the http-proxy plugin behind one policy file. Composition only.
#include "thin/program.hpp"

int main(int argc, char** argv) {
  return sallyport::thin::run(
      {.name = "sallyport-proxy",
       .summary = "An explicit HTTP proxy (CONNECT and absolute-form requests) that lets through what a policy allows.",
       .plugin = "http-proxy",
       .listen = {"127.0.0.1:3128"},
       .credentials = true,
       .options = {{.name = "auth",
                    .value = "none|optional|required",
                    .key = "auth",
                    .help = "whether clients say who they are (Basic); default: none, with --credentials required",
                    .implied_by = "credentials",
                    .implies = "required"}}},
      argc, argv);
}
