/* The machine's limit for UDP: recvmmsg(32), 180 bytes back to each sender by sendmmsg, and no work at all.
 * usage: echo PORT */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 32, ROOM = 2048, ANSWER = 180 };

int main(int argc, char **argv)
{
    static char in[BATCH][ROOM], out[ANSWER];
    struct sockaddr_in peers[BATCH], here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct mmsghdr got[BATCH] = {0}, send[BATCH] = {0};
    struct iovec in_parts[BATCH], out_part = {out, ANSWER};
    int buffer = 32 << 20, fd = socket(AF_INET, SOCK_DGRAM, 0);
    here.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) != 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    }
    if (bind(fd, (struct sockaddr *)&here, sizeof here) != 0) {
        perror("echo: bind");
        return 1;
    }
    memset(out, 'x', sizeof out);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            in_parts[i] = (struct iovec){in[i], ROOM};
            got[i].msg_hdr = (struct msghdr){
                .msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &in_parts[i], .msg_iovlen = 1};
        }
        int n = recvmmsg(fd, got, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < n; i++) {
            send[i].msg_hdr = (struct msghdr){.msg_name = &peers[i],
                                              .msg_namelen = got[i].msg_hdr.msg_namelen,
                                              .msg_iov = &out_part,
                                              .msg_iovlen = 1};
        }
        for (int done = 0; done < n;) {
            int sent = sendmmsg(fd, send + done, (unsigned)(n - done), 0);
            done += sent > 0 ? sent : 1;
        }
    }
}
