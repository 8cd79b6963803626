/* Merged datagrams over real sockets, of both families: UDP_SEGMENT out, UDP_GRO in, in both directions. */
#include <arpa/inet.h>
#include <netinet/udp.h>
#include <unistd.h>

#include "udp_fixture.h"

#define PIECE 100
#define PIECES 20
#define REST 37 /* the last one is shorter */
#define WHOLE (PIECES * PIECE + REST)

static beast_incoming *in;

static socklen_t loopback(int family, beast_peer *address)
{
    memset(address, 0, sizeof *address);
    address->any.sa_family = (sa_family_t)family;
    if (family == AF_INET6) {
        address->v6.sin6_addr = in6addr_loopback;
        return sizeof address->v6;
    }
    address->v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof address->v4;
}

/* A server's socket that takes merged datagrams; -1: this kernel has none of this. */
static int open_server(int family, beast_peer *address, socklen_t *len)
{
    beast_udp_features features;
    *len = loopback(family, address);
    int fd = beast_udp_open(&address->any, *len, true, 1 << 20, &features);
    CHECK(fd >= 0);
    getsockname(fd, &address->any, len);
    if (features.gro && features.segment)
        return fd;
    close(fd);
    return -1;
}

/* One send that the kernel cuts, or would, were the other end not able to take it whole. */
static void send_merged(int fd, const beast_peer *to, socklen_t len)
{
    uint8_t bytes[WHOLE];
    uint16_t piece = PIECE;
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof piece)];
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {.msg_name = (void *)(uintptr_t)to, .msg_namelen = len, .msg_iov = &part, .msg_iovlen = 1,
                             .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i / PIECE);
    *head = (struct cmsghdr){.cmsg_level = SOL_UDP, .cmsg_type = UDP_SEGMENT, .cmsg_len = CMSG_LEN(sizeof piece)};
    memcpy(CMSG_DATA(head), &piece, sizeof piece);
    CHECK_EQ(sendmsg(fd, &message, 0), WHOLE);
}

static void check_pieces(const beast_datagram *taken, uint32_t n, int family)
{
    CHECK_EQ(n, PIECES + 1);
    for (uint32_t i = 0; i < n; i++) {
        CHECK_EQ(taken[i].len, i < PIECES ? PIECE : REST);
        CHECK_EQ(taken[i].peer->any.sa_family, family);
        CHECK(taken[i].bytes[0] == i && taken[i].bytes[taken[i].len - 1] == i);
    }
}

static void merged_datagrams_are_cut(int family)
{
    beast_peer address;
    socklen_t len;
    beast_datagram taken[BEAST_BATCH];
    uint64_t drops = 0;
    int to = open_server(family, &address, &len), from = socket(family, SOCK_DGRAM, 0);

    if (to >= 0) {
        send_merged(from, &address, len);
        CHECK_EQ(beast_udp_receive(to, in, 0, &drops), 1); /* one message: the kernel left them together */
        CHECK_EQ(in->cut[0], PIECE);
        check_pieces(taken, beast_incoming_take(in, taken), family);
        CHECK_EQ(beast_incoming_take(in, taken), 0);
        close(to);
    }
    close(from);
}

/* Answers to merged requests go back merged, and one who has no UDP_GRO receives each by itself. */
static void merged_answers_arrive_one_by_one(int family)
{
    beast_peer address;
    socklen_t len;
    beast_datagram taken[BEAST_BATCH];
    uint64_t drops = 0;
    uint8_t answer[512];
    beast_outgoing *out = aligned_alloc(BEAST_CACHE_LINE, sizeof *out);
    int to = open_server(family, &address, &len), from = socket(family, SOCK_DGRAM, 0);

    if (to >= 0) {
        send_merged(from, &address, len);
        beast_udp_receive(to, in, 0, &drops);
        uint32_t n = beast_incoming_take(in, taken);
        beast_outgoing_init(out, true, &flight);
        for (uint32_t i = 0; i < n; i++) {
            memcpy(out->end, taken[i].bytes, taken[i].len);
            beast_outgoing_add(out, taken[i].peer, taken[i].len, true);
        }
        CHECK_EQ(out->count, 1);
        sent_sum sum = send_all(to, out);
        CHECK_EQ(sum.taken, PIECES + 1);
        CHECK_EQ(sum.taken_records, PIECES + 1);
        CHECK_EQ(sum.refused, 0);
        for (uint32_t i = 0; i <= PIECES; i++) {
            CHECK_EQ(recv(from, answer, sizeof answer, MSG_DONTWAIT), i < PIECES ? PIECE : REST);
            CHECK_EQ(answer[0], i);
        }
        close(to);
    }
    close(from);
    free(out);
}

static void over_ipv4(void)
{
    merged_datagrams_are_cut(AF_INET);
    merged_answers_arrive_one_by_one(AF_INET);
}

static void over_ipv6(void)
{
    merged_datagrams_are_cut(AF_INET6);
    merged_answers_arrive_one_by_one(AF_INET6);
}

int main(void)
{
    in = aligned_alloc(BEAST_CACHE_LINE, sizeof *in);
    memset(in, 0, offsetof(beast_incoming, bytes));
    beast_incoming_init(in);
    RUN(over_ipv4);
    RUN(over_ipv6);
    free(in);
    return harness_report();
}
