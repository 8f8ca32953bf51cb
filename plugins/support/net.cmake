list(APPEND SUPPORT_SOURCES admission.cpp client_counts.cpp config.cpp dialler.cpp event_loop.cpp flow_ticket.cpp json.cpp listeners.cpp pipe_pool.cpp reason.cpp relay.cpp sockets.cpp udp.cpp)
