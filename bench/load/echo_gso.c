/* The machine's limit for UDP where kernel and clients merge: UDP_GRO in, UDP_SEGMENT out. As echo.c, no work at all;
 * what one peer sent in a row is answered by one send.
 * usage: echo_gso PORT */
#include <arpa/inet.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 32, ROOM = 65536, ANSWER = 180, SEGMENTS = 64 };

typedef union control {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
} control;

static char in[BATCH][ROOM], out[ANSWER * SEGMENTS];

/* How many datagrams the kernel joined. */
static unsigned joined(struct msghdr *message, unsigned whole)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(message);
    if (c == NULL || c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO)
        return 1;
    int size;
    memcpy(&size, CMSG_DATA(c), sizeof size);
    return (whole + (unsigned)size - 1) / (unsigned)size;
}

static void answer(int fd, struct sockaddr_in *peer, unsigned segments)
{
    const uint16_t size = ANSWER;
    struct iovec part = {out, ANSWER * segments};
    control room = {.room = {0}};
    struct msghdr message = {.msg_name = peer, .msg_namelen = sizeof *peer, .msg_iov = &part, .msg_iovlen = 1,
                             .msg_control = &room, .msg_controllen = CMSG_SPACE(sizeof size)};
    room.head = (struct cmsghdr){CMSG_LEN(sizeof size), IPPROTO_UDP, UDP_SEGMENT};
    memcpy(CMSG_DATA(&room.head), &size, sizeof size);
    if (segments == 1)
        message.msg_control = NULL, message.msg_controllen = 0;
    sendmsg(fd, &message, 0);
}

static void answer_all(int fd, struct mmsghdr *got, struct sockaddr_in *peers, int n)
{
    unsigned owed = 0;
    for (int i = 0; i < n; i++) {
        owed += joined(&got[i].msg_hdr, got[i].msg_len);
        int last = i + 1 == n || memcmp(&peers[i], &peers[i + 1], sizeof *peers) != 0;
        for (; owed > 0 && (last || owed >= SEGMENTS); owed -= owed < SEGMENTS ? owed : SEGMENTS)
            answer(fd, &peers[i], owed < SEGMENTS ? owed : SEGMENTS);
    }
}

int main(int argc, char **argv)
{
    static struct sockaddr_in peers[BATCH];
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct mmsghdr got[BATCH];
    struct iovec parts[BATCH];
    control controls[BATCH];
    int on = 1, buffer = 32 << 20, fd = socket(AF_INET, SOCK_DGRAM, 0);
    here.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    if (setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&here, sizeof here) != 0) {
        perror("echo_gso");
        return 1;
    }
    memset(out, 'x', sizeof out);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){in[i], ROOM};
            got[i].msg_hdr = (struct msghdr){.msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &parts[i],
                                             .msg_iovlen = 1, .msg_control = &controls[i],
                                             .msg_controllen = sizeof controls[i]};
        }
        answer_all(fd, got, peers, recvmmsg(fd, got, BATCH, MSG_WAITFORONE, NULL));
    }
}
