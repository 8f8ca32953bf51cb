list(APPEND SUPPORT_SOURCES answer_cache.cpp answer_chain.cpp resolver.cpp upstream.cpp upstream_exchange.cpp)
