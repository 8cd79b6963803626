/* What engine.c (its life in memory) and engine_run.c (its life in threads) share. */
#ifndef BEAST_ENGINE_INNER_H
#define BEAST_ENGINE_INNER_H

#include <pthread.h>

#include "engine.h"
#include "worker.h"

typedef enum beast_engine_state { BEAST_MADE, BEAST_RUNNING, BEAST_STOPPED } beast_engine_state;

typedef struct beast_worker {
    beast_engine *engine;
    uint32_t number;
    int udp_fd, http_fd; /* -1: none */
    beast_batch *batch;
    beast_http *http;
    pthread_t udp_thread, http_thread;
    bool udp_runs, http_runs;
} beast_worker;

struct beast_engine {
    beast_shared shared;
    beast_engine_config config;
    beast_engine_state state;
    char host[64];
    int udp_port, http_port;
    beast_udp_features udp; /* the least of all sockets */
    _Atomic int64_t deadline_ns;
    beast_batch *own; /* the main thread's */
    uint32_t n_lanes;
    beast_lane *lanes;
    beast_worker *workers;
};

#endif
