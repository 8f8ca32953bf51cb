list(APPEND WIRE_PUBLIC client_hello.hpp authority.hpp first_flight.hpp http_head.hpp http_chunked.hpp)
list(APPEND WIRE_SOURCES client_hello.cpp authority.cpp first_flight.cpp http_head.cpp http_fault.cpp http_chunked.cpp)
