#include "sockets.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 4096

beast_status beast_address_parse(const char *host, uint16_t port, beast_address *out)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *found;
    char service[8];

    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(host, service, &hints, &found))
        return BEAST_BAD_ARGUMENT;
    memcpy(&out->storage, found->ai_addr, found->ai_addrlen);
    out->len = found->ai_addrlen;
    freeaddrinfo(found);
    return BEAST_OK;
}

int beast_bound_port(int fd)
{
    struct sockaddr_storage storage;
    socklen_t len = sizeof storage;

    if (getsockname(fd, (struct sockaddr *)&storage, &len))
        return -1;
    if (storage.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&storage)->sin6_port);
    return ntohs(((struct sockaddr_in *)&storage)->sin_port);
}

static int set(int fd, int name)
{
    const int on = 1;
    return setsockopt(fd, SOL_SOCKET, name, &on, sizeof on);
}

int beast_tcp_open(const struct sockaddr *address, socklen_t len, bool first)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    if (set(fd, SO_REUSEADDR) || (!first && set(fd, SO_REUSEPORT)) || bind(fd, address, len) ||
        (first && set(fd, SO_REUSEPORT)) || listen(fd, BACKLOG)) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}
