/* A server is killed at random while clients of both protocols load it: what it leaves behind, in its spool and in its
 * rings, is exactly what its clients were answered. Each round is a process of its own; its main thread takes records
 * out of the rings, appends them to a file and releases them, as the drainer does.
 *
 *     test_usage_crash [ROUNDS] */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine_fixture.h"

#define UDP_CLIENTS 4
#define HTTP_CLIENTS 3
#define WINDOW 8 /* requests in flight of each */
#define LANES 3
#define SPOOL "%s/spool"

static uint64_t chance = 42;
static char folder[] = "/tmp/beast-usage-XXXXXX";

/* ---- the server ---- */

static void spool(fixture *f, int fd)
{
    static beast_usage records[1 << 12];

    for (uint32_t lane = 0; lane < beast_engine_lanes(f->engine); lane++) {
        beast_usage_ring *ring = beast_engine_lane(f->engine, lane)->usage;
        uint32_t n = beast_usage_read(ring, records, 1 << 12);
        if (n && write(fd, records, n * sizeof *records) == (ssize_t)(n * sizeof *records))
            beast_usage_release(ring, n);
    }
}

static void serve(int64_t boot, int ports_fd)
{
    static fixture f;
    const char *where;
    char path[64];
    int ports[2], fd;
    beast_engine_config config = fixture_config();

    config.http_port = 0;
    config.usage_folder = folder;
    config.boot = boot;
    fixture_open(&f, &config);
    for (uint32_t id = 0; id < INSTRUMENTS; id++)
        fixture_publish(&f, id, "83421.57", harness_now_ns());
    snprintf(path, sizeof path, SPOOL, folder);
    fd = open(path, O_CREAT | O_APPEND | O_WRONLY, 0600);
    if (beast_engine_start(f.engine, &where) != BEAST_OK)
        exit(EXIT_FAILURE);
    ports[0] = beast_engine_udp_port(f.engine);
    ports[1] = beast_engine_http_port(f.engine);
    if (write(ports_fd, ports, sizeof ports) != sizeof ports)
        exit(EXIT_FAILURE);
    for (;;) {
        usleep(300);
        spool(&f, fd);
    }
}

/* ---- its clients ---- */

typedef struct client {
    int fd;
    bool udp;
    uint64_t answers; /* with a price, whole */
    size_t len;
    char bytes[1 << 16]; /* of a stream, not yet looked at */
} client;

static client clients[UDP_CLIENTS + HTTP_CLIENTS];
static bool killed; /* nobody is there to be asked; a refusal by the port would hide answers behind it */

static void ask(const client *c)
{
    if (killed)
        return;
    static const char *const datagrams[] = {
        "{\"api_key\":\"tb_k\",\"asset\":\"BTC\",\"id\":7}",
        "{\"api_key\":\"tb_k\",\"asset\":\"ETH\",\"exchange\":\"kraken\"}",
        "{\"api_key\":\"tb_k\",\"asset\":\"NONE\"}",
        /* in several datagrams, of which the last one counts */
        "{\"api_key\":\"tb_k\",\"assets\":[\"A1\",\"A2\",\"A3\",\"A4\",\"A5\",\"A6\",\"A7\",\"A8\",\"A9\",\"B1\",\"B2\",\"B3\",\"B4\","
        "\"B5\",\"B6\",\"B7\",\"B8\",\"B9\",\"BTC\",\"ETH\"]}",
    };
    static const char *const requests[] = {
        "GET /price?asset=BTC HTTP/1.1\r\nHost: h\r\nX-API-Key: tb_k\r\n\r\n",
        "GET /prices?assets=BTC,ETH HTTP/1.1\r\nHost: h\r\nX-API-Key: tb_k\r\n\r\n",
        "GET /price?asset=NONE HTTP/1.1\r\nHost: h\r\nX-API-Key: tb_k\r\n\r\n",
        "GET /price?asset=ETH HTTP/1.1\r\nHost: h\r\nX-API-Key: tb_k\r\n\r\n",
    };
    const char *text = (c->udp ? datagrams : requests)[harness_random(&chance) % 4];
    ssize_t ignored = send(c->fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)ignored;
}

static void open_client(client *c, bool udp, int port)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1;

    *c = (client){.fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0), .udp = udp};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK_EQ(connect(c->fd, (struct sockaddr *)&server, sizeof server), 0);
    if (!udp)
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (int i = 0; i < WINDOW; i++)
        ask(c);
}

/* An answer with a price, by its last datagram; *whole: no more datagrams follow. */
static bool is_price(char *bytes, ssize_t len, bool *whole)
{
    unsigned part = 1, parts = 1;

    bytes[len] = 0;
    const char *at = strstr(bytes, "],\"part\":");
    if (at)
        sscanf(at, "],\"part\":%u,\"parts\":%u", &part, &parts);
    *whole = part == parts;
    return *whole && !strstr(bytes, "{\"error\"");
}

static bool hear_datagram(client *c)
{
    bool whole;
    ssize_t len = recv(c->fd, c->bytes, sizeof c->bytes - 1, MSG_DONTWAIT);

    if (len < 0 && errno == ECONNREFUSED)
        return true; /* of a request sent after its death: told once */
    if (len <= 0)
        return false;
    c->answers += is_price(c->bytes, len, &whole);
    if (whole)
        ask(c);
    return true;
}

static bool hear_stream(client *c)
{
    ssize_t len = recv(c->fd, c->bytes + c->len, sizeof c->bytes - 1 - c->len, MSG_DONTWAIT);
    char *at = c->bytes, *body;
    unsigned body_len;

    if (len <= 0)
        return false;
    c->len += (size_t)len;
    c->bytes[c->len] = 0;
    while ((body = strstr(at, "\r\n\r\n")) && sscanf(strstr(at, "Content-Length"), "Content-Length: %u", &body_len) == 1 &&
           body + 4 + body_len <= c->bytes + c->len) {
        c->answers += strncmp(at, "HTTP/1.1 200", 12) == 0;
        at = body + 4 + body_len;
        ask(c);
    }
    c->len -= (size_t)(at - c->bytes);
    memmove(c->bytes, at, c->len);
    return true;
}

static void hear(client *c)
{
    while (c->udp ? hear_datagram(c) : hear_stream(c))
        ;
}

static void load_for(int64_t ns)
{
    struct pollfd waits[UDP_CLIENTS + HTTP_CLIENTS];
    int64_t until = harness_now_ns() + ns;

    for (int i = 0; i < UDP_CLIENTS + HTTP_CLIENTS; i++)
        waits[i] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
    while (harness_now_ns() < until) {
        poll(waits, UDP_CLIENTS + HTTP_CLIENTS, 1);
        for (int i = 0; i < UDP_CLIENTS + HTTP_CLIENTS; i++)
            if (waits[i].revents)
                hear(&clients[i]);
    }
}

/* ---- what is left ---- */

typedef struct left {
    uint64_t records[LANES], last[LANES];
    uint64_t recovered; /* out of the rings */
    bool in_flight;     /* it died in, or right beside, a system call that sends */
    bool gap;
} left;

/* Whoever died between the spool and the release has left records in both: their sequences tell. */
static void add(left *all, const beast_usage *record)
{
    uint32_t lane = record->lane;

    if (record->sequence <= all->last[lane])
        return;
    all->gap |= record->sequence != all->last[lane] + 1;
    all->last[lane] = record->sequence;
    all->records[lane]++;
}

static void read_spool(left *all)
{
    char path[64];
    beast_usage record;
    snprintf(path, sizeof path, SPOOL, folder);
    FILE *file = fopen(path, "rb");

    while (file && fread(&record, sizeof record, 1, file) == 1)
        add(all, &record);
    if (file)
        fclose(file);
    unlink(path);
}

static bool was_in_flight(const char *path)
{
    beast_usage_page page;
    FILE *file = fopen(path, "rb");
    bool flies = file && fread(&page, sizeof page, 1, file) == 1 && page.sending != 0;

    if (file)
        fclose(file);
    return flies;
}

static void read_rings(left *all, int64_t boot)
{
    char path[96];
    beast_usage_found found;

    for (uint32_t lane = 0; lane < LANES; lane++) {
        snprintf(path, sizeof path, "%s/%020lld-%03u.ring", folder, (long long)boot, lane);
        all->in_flight |= was_in_flight(path);
        CHECK_EQ(beast_usage_recover(path, &found), BEAST_OK);
        CHECK_EQ(found.boot, boot);
        CHECK_EQ(found.lane, lane);
        for (uint32_t i = 0; i < found.n; i++)
            add(all, &found.records[i]);
        all->recovered += found.n;
        free(found.records);
        unlink(path);
    }
}

static left play(int64_t boot)
{
    int link[2], ports[2];
    left all = {0};
    uint64_t answers[2] = {0};

    CHECK_EQ(pipe(link), 0);
    pid_t child = fork();
    if (child == 0)
        serve(boot, link[1]);
    close(link[1]);
    if (read(link[0], ports, sizeof ports) != sizeof ports) {
        CHECK(!"the server did not start");
        return all;
    }
    killed = false;
    for (int i = 0; i < UDP_CLIENTS + HTTP_CLIENTS; i++)
        open_client(&clients[i], i < UDP_CLIENTS, ports[i >= UDP_CLIENTS]);
    load_for((int64_t)(harness_random(&chance) % (20 * MS)));
    kill(child, SIGKILL);
    killed = true;
    waitpid(child, NULL, 0);
    usleep(2000); /* for what is on its way inside the kernel */
    for (int i = 0; i < UDP_CLIENTS + HTTP_CLIENTS; i++) {
        hear(&clients[i]);
        answers[i >= UDP_CLIENTS] += clients[i].answers;
        close(clients[i].fd);
    }
    close(link[0]);
    read_spool(&all);
    read_rings(&all, boot);
    CHECK(!all.gap);
    CHECK_EQ(all.records[0], answers[0]);
    CHECK_EQ(all.records[1], answers[1]);
    CHECK_EQ(all.records[2], 0);
    return all;
}

int main(int argc, char **argv)
{
    int64_t rounds = argc > 1 ? atoll(argv[1]) : 60;
    uint64_t recovered = 0, flights = 0;

    harness_test = "a_killed_server_leaves_what_was_answered";
    CHECK(mkdtemp(folder) != NULL);
    for (int64_t round = 1; round <= rounds; round++) {
        left all = play(round);
        recovered += all.recovered;
        flights += all.in_flight;
    }
    CHECK(recovered > 0);
    printf("  %lld kills, %llu of them in flight, %llu records out of rings\n", (long long)rounds,
           (unsigned long long)flights, (unsigned long long)recovered);
    rmdir(folder);
    return harness_report();
}
