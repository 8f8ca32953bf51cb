list(APPEND SUPPORT_SOURCES config.cpp dialler.cpp event_loop.cpp json.cpp listeners.cpp pipe_pool.cpp reason.cpp relay.cpp sockets.cpp udp.cpp)
