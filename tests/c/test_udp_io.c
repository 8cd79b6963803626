/* The UDP sockets' own work: grouping, merging, what the kernel drops or refuses. */
#include <arpa/inet.h>
#include <unistd.h>

#include "udp_fixture.h"

#define ASK "{\"api_key\":\"tb_k\",\"asset\":\"BTC\"}"

static void kernel_drops_are_counted(void)
{
    beast_incoming *in = aligned_alloc(BEAST_CACHE_LINE, sizeof *in);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    beast_udp_features features;
    uint32_t got = 0;
    uint64_t drops = 0;
    int to, from = socket(AF_INET, SOCK_DGRAM, 0);

    to = beast_udp_open((struct sockaddr *)&address, len, true, 4096, &features);
    getsockname(to, (struct sockaddr *)&address, &len);
    in->drops_seen = 0;
    beast_incoming_init(in);
    for (int i = 0; i < 500; i++)
        sendto(from, ASK, strlen(ASK), 0, (struct sockaddr *)&address, len);
    for (uint32_t n; (n = beast_udp_receive(to, in, 0, &drops)); got += n)
        ;
    sendto(from, ASK, strlen(ASK), 0, (struct sockaddr *)&address, len);
    CHECK_EQ(beast_udp_receive(to, in, 0, &drops), 1); /* tells of those before it */
    CHECK(drops > 0);
    CHECK_EQ(got + drops, 500);
    close(from);
    close(to);
    free(in);
}

/* The order in which messages of `ports` are taken, as the first byte of each tells. */
static void take_ports(beast_incoming *in, uint32_t factor, uint32_t modulus, beast_datagram taken[BEAST_BATCH])
{
    struct sockaddr_in peer = {.sin_family = AF_INET};

    for (uint8_t i = 0; i < BEAST_BATCH; i++) {
        peer.sin_port = (in_port_t)(i * factor % modulus);
        beast_incoming_put(in, i, &i, 1, (struct sockaddr *)&peer);
    }
    beast_incoming_begin(in, BEAST_BATCH);
    CHECK_EQ(beast_incoming_take(in, taken), BEAST_BATCH);
    CHECK_EQ(beast_incoming_take(in, taken), 0);
}

static void peers_are_grouped_in_order(void)
{
    beast_incoming *in = aligned_alloc(BEAST_CACHE_LINE, sizeof *in);
    beast_datagram taken[BEAST_BATCH];

    beast_incoming_init(in);
    take_ports(in, 1, 5, taken);
    for (uint32_t i = 1; i < BEAST_BATCH; i++) {
        uint8_t now = taken[i].bytes[0], before = taken[i - 1].bytes[0];
        CHECK(now % 5 > before % 5 || (now % 5 == before % 5 && now > before));
        CHECK_EQ(taken[i].peer == taken[i - 1].peer, now % 5 == before % 5);
    }
    take_ports(in, 977, 65521, taken);
    for (uint32_t i = 0; i < BEAST_BATCH; i++)
        CHECK_EQ(taken[i].bytes[0], i);
    free(in);
}

/* One receive of `sent` messages that come from `clients` in turn. */
static uint32_t receive_of(uint32_t clients, uint32_t sent, beast_incoming *in)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    beast_udp_features features;
    int from[BEAST_BATCH], to = beast_udp_open((struct sockaddr *)&address, len, true, 1 << 20, &features);
    uint64_t drops = 0;

    getsockname(to, (struct sockaddr *)&address, &len);
    for (uint32_t i = 0; i < clients; i++)
        from[i] = socket(AF_INET, SOCK_DGRAM, 0);
    for (uint32_t i = 0; i < sent; i++)
        sendto(from[i % clients], ASK, strlen(ASK), 0, (struct sockaddr *)&address, len);
    uint32_t n = beast_udp_receive(to, in, 0, &drops);
    for (uint32_t i = 0; i < clients; i++)
        close(from[i]);
    close(to);
    return n;
}

static void more_is_received_where_peers_repeat(void)
{
    beast_incoming *in = aligned_alloc(BEAST_CACHE_LINE, sizeof *in);
    beast_datagram taken[BEAST_BATCH];

    in->drops_seen = 0;
    beast_incoming_init(in);
    CHECK_EQ(receive_of(BEAST_BATCH, 200, in), BEAST_BATCH);
    CHECK_EQ(in->peers, BEAST_BATCH);
    CHECK_EQ(receive_of(8, BEAST_BATCH, in), BEAST_BATCH);
    CHECK_EQ(receive_of(8, 100, in), 100);
    CHECK_EQ(receive_of(8, 200, in), BEAST_RECEIVE_MAX);
    CHECK_EQ(in->peers, 8);
    for (uint32_t round = 0; round < BEAST_RECEIVE_MAX / BEAST_BATCH; round++) { /* two peers fill a batch */
        CHECK_EQ(beast_incoming_take(in, taken), BEAST_BATCH);
        for (uint32_t i = 1; i < BEAST_BATCH; i++)
            CHECK_EQ(taken[i].peer == taken[i - 1].peer, i != BEAST_BATCH / 2);
    }
    CHECK_EQ(beast_incoming_take(in, taken), 0);
    free(in);
}

/* Adds `n` answers of `len` bytes, those of 200 bytes with a usage record; returns how many messages wait. */
static uint32_t add(beast_outgoing *out, const beast_peer *peer, uint32_t len, uint32_t n)
{
    while (n-- > 0) {
        memset(out->end, 'a' + (int)(n % 26), len);
        beast_outgoing_add(out, peer, len, len == 200);
    }
    return out->count;
}

static void answers_in_a_row_are_merged(void)
{
    beast_outgoing *out = aligned_alloc(BEAST_CACHE_LINE, sizeof *out);
    beast_peer a = {.v4 = {.sin_family = AF_INET, .sin_port = 1}}, b = {.v4 = {.sin_family = AF_INET, .sin_port = 2}};

    beast_outgoing_init(out, true, &flight);
    CHECK_EQ(add(out, &a, 256, 3), 1);
    CHECK_EQ(add(out, &a, 100, 1), 1); /* a shorter one ends it */
    CHECK_EQ(add(out, &a, 100, 1), 2);
    CHECK_EQ(add(out, &b, 100, 1), 3);
    CHECK_EQ(add(out, &a, 100, 1), 4);
    CHECK_EQ(add(out, &a, 101, 1), 5); /* nor can a longer one join */
    CHECK_EQ(add(out, &a, 101, 64), 6); /* 64 are the most */
    CHECK_EQ(out->datagrams[0], 4);
    CHECK_EQ(out->datagrams[4], 64);
    CHECK_EQ(out->part[0].iov_len, 3 * 256 + 100);
    beast_outgoing_init(out, false, &flight);
    CHECK_EQ(add(out, &a, 256, 5), 5);
    free(out);
}

static void what_cannot_be_merged_is_sent_apart(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int to = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), from = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    beast_outgoing *out = aligned_alloc(BEAST_CACHE_LINE, sizeof *out);
    beast_peer good = {.v4 = address}, bad = {.v4 = address};
    uint8_t buffer[512];
    uint32_t got = 0;

    CHECK_EQ(bind(to, (struct sockaddr *)&address, len), 0);
    getsockname(to, (struct sockaddr *)&address, &len);
    good.v4 = address; /* `bad` has port 0 */
    setsockopt(from, SOL_SOCKET, SO_NO_CHECK, &on, sizeof on); /* without checksums the kernel refuses to cut */
    beast_outgoing_init(out, true, &flight);
    add(out, &good, 200, 5);
    add(out, &good, 90, 1);
    add(out, &bad, 200, 3);
    add(out, &good, 200, 2);
    CHECK_EQ(out->records, 10);
    sent_sum sum = send_all(from, out);
    CHECK_EQ(sum.taken, 8);
    CHECK_EQ(sum.taken_records, 7);
    CHECK_EQ(sum.refused, 3);
    CHECK_EQ(sum.refused_records, 3);
    for (ssize_t size; (size = recv(to, buffer, sizeof buffer, 0)) > 0; got++)
        CHECK_EQ(size, got == 5 ? 90 : 200);
    CHECK_EQ(got, 8);
    close(to);
    close(from);
    free(out);
}

int main(void)
{
    RUN(kernel_drops_are_counted);
    RUN(peers_are_grouped_in_order);
    RUN(more_is_received_where_peers_repeat);
    RUN(answers_in_a_row_are_merged);
    RUN(what_cannot_be_merged_is_sent_apart);
    return harness_report();
}
