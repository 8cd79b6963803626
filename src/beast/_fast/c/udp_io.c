#include "udp_io.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/udp.h>
#include <sys/time.h>
#include <unistd.h>

#define RECEIVE_TIMEOUT_US 100000 /* how late a stop may be noticed by an idle socket */
#define DRAINED_TIMEOUT_US 5000   /* longer than a datagram takes from the filter to the queue */

static int set(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

static int set_timeout(int fd, int32_t us)
{
    struct timeval timeout = {.tv_usec = us};
    return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
}

/* Beyond net.core.rmem_max with the privilege, up to it without. */
static uint32_t set_buffers(int fd, uint32_t bytes)
{
    int granted = 0;
    socklen_t len = sizeof granted;
    int want = bytes < INT32_MAX / 2 ? (int)bytes : INT32_MAX / 2;

    if (set(fd, SOL_SOCKET, SO_RCVBUFFORCE, want))
        set(fd, SOL_SOCKET, SO_RCVBUF, want);
    if (set(fd, SOL_SOCKET, SO_SNDBUFFORCE, want))
        set(fd, SOL_SOCKET, SO_SNDBUF, want);
    getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &granted, &len);
    return (uint32_t)granted / 2;
}

/* A fragment lost is an answer lost, and fragments can be forged: none is sent (RFC 8085, 3.2). */
static int forbid_fragments(int fd, sa_family_t family)
{
    if (family == AF_INET6)
        return set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO);
    return set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO);
}

/* Older kernels have neither of the two; Beast then does without. */
static void probe_merging(int fd, beast_udp_features *features)
{
    int size;
    socklen_t len = sizeof size;

    features->gro = set(fd, SOL_UDP, UDP_GRO, 1) == 0;
    features->segment = getsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, &len) == 0;
}

int beast_udp_open(const struct sockaddr *address, socklen_t len, bool first, uint32_t buffer,
                   beast_udp_features *features)
{
    int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    features->buffer = set_buffers(fd, buffer);
    probe_merging(fd, features);
    if ((!first && set(fd, SOL_SOCKET, SO_REUSEPORT, 1)) || set(fd, SOL_SOCKET, SO_RXQ_OVFL, 1) ||
        forbid_fragments(fd, address->sa_family) || set_timeout(fd, RECEIVE_TIMEOUT_US) || bind(fd, address, len) ||
        (first && set(fd, SOL_SOCKET, SO_REUSEPORT, 1))) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

beast_status beast_udp_refuse(int fd)
{
    struct sock_filter drop_all[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {.len = 1, .filter = drop_all};

    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) ||
        set_timeout(fd, DRAINED_TIMEOUT_US))
        return BEAST_SYSTEM;
    return BEAST_OK;
}

void beast_udp_stamp(int fd, bool on)
{
    set(fd, SOL_SOCKET, SO_TIMESTAMPNS, on);
}
