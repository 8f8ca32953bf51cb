list(APPEND WIRE_PUBLIC dns_name.hpp dns_message.hpp dns_response.hpp dns_svcb.hpp dns_writer.hpp)
list(APPEND WIRE_SOURCES dns_name.cpp dns_message.cpp dns_response.cpp dns_svcb.cpp dns_writer.cpp dns_octets.hpp)
