/* The addresses and listening sockets of an engine. */
#ifndef BEAST_SOCKETS_H
#define BEAST_SOCKETS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "status.h"

typedef struct beast_address {
    struct sockaddr_storage storage;
    socklen_t len;
} beast_address;

static inline const struct sockaddr *beast_address_of(const beast_address *address)
{
    return (const struct sockaddr *)&address->storage;
}

/* A numeric IPv4 or IPv6 host, with its zone if it has one. BAD_ARGUMENT when it is neither. */
beast_status beast_address_parse(const char *host, uint16_t port, beast_address *out);
/* The port that `fd` is bound to, or -1. */
int beast_bound_port(int fd);
/* A bound, listening, non-blocking TCP socket, or -1 and errno; `first` as with beast_udp_open. */
int beast_tcp_open(const struct sockaddr *address, socklen_t len, bool first);

#endif
