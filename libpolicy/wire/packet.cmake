list(APPEND WIRE_PUBLIC packet.hpp quic_initial.hpp)
list(APPEND WIRE_SOURCES packet.cpp quic_initial.cpp)
