#include "usage_send.h"

#include <sys/socket.h>

/* The kernel writes what it took to where it is found after a crash. That costs some 200 ns, so it is done for a reason. */
ssize_t beast_usage_send(beast_usage_ring *ring, int fd, uint8_t *bytes, uint32_t len, uint32_t owed, int flags)
{
    if (owed == 0 || !beast_usage_outlives(ring))
        return send(fd, bytes, len, MSG_NOSIGNAL | flags);
    struct mmsghdr *message = &beast_usage_flight(ring)->message[BEAST_FLIGHT_SPARE];
    struct iovec piece = {.iov_base = bytes, .iov_len = len};
    *message = (struct mmsghdr){.msg_hdr = {.msg_iov = &piece, .msg_iovlen = 1}};
    beast_usage_sending(ring, beast_flight_stream(owed));
    int taken = sendmmsg(fd, message, 1, MSG_NOSIGNAL | flags);
    message->msg_hdr.msg_iov = NULL; /* it ends with this function */
    return taken > 0 ? (ssize_t)message->msg_len : -1;
}
