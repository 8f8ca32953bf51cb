// On a fatal signal: one message {type: crashed, text} that names the module it happened in, then the end.
#pragma once

#include <string>

namespace sallyport {

// fd: the channel; stays open. Call once, before threads start.
void install_crash_handler(int fd);

// A module whose text may be running, so that the message can name it. At most 32; name is copied.
void name_module(const std::string& name, const void* address_inside);

}  // namespace sallyport
