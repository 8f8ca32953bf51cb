list(APPEND SUPPORT_SOURCES admission.cpp config.cpp dialler.cpp event_loop.cpp json.cpp listeners.cpp pipe_pool.cpp reason.cpp relay.cpp sockets.cpp udp.cpp)
