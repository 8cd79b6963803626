/* Command line of the load client, for the benches. Prints one JSON object.
 * usage: load udp|segment|http HOST PORT SOCKETS IN_FLIGHT RATE MILLISECONDS none|id|all grouped|interleaved < NAMES
 * NAMES: API keys, an empty line, assets; one a line. RATE 0 is the closed loop. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load_client.h"

typedef struct names {
    beast_slice *at;
    uint32_t n;
} names;

/* Lines up to an empty one or the end. */
static names read_names(void)
{
    names read = {NULL, 0};
    char *line = NULL;
    size_t room = 0;
    for (ssize_t len; (len = getline(&line, &room, stdin)) > 1; read.n++) {
        if ((read.n & (read.n - 1)) == 0)
            read.at = realloc(read.at, (read.n == 0 ? 1 : 2 * (size_t)read.n) * sizeof *read.at);
        len -= line[len - 1] == '\n';
        read.at[read.n] = (beast_slice){(const uint8_t *)strndup(line, (size_t)len), (uint32_t)len};
    }
    free(line);
    return read;
}

static int one_of(const char *word, const char *const *words)
{
    for (int i = 0; words[i] != NULL; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    fprintf(stderr, "load: %s is not known\n", word);
    exit(2);
}

/* The upper edge of the bucket: never too low. */
static double percentile_us(const beast_load_report *report, double share)
{
    uint64_t seen = 0;
    for (uint32_t i = 0; i < BEAST_LOAD_BUCKETS - 1; i++) {
        seen += report->latency[i];
        if (seen > 0 && (double)seen >= share * (double)report->answered) {
            uint64_t edge = beast_load_bucket_ns(i + 1), worst = (uint64_t)report->worst_ns;
            return (double)(edge < worst ? edge : worst) / 1e3;
        }
    }
    return 0;
}

static uint64_t sum(const _Atomic uint64_t *figures, int n)
{
    uint64_t total = 0;
    for (int i = 0; i < n; i++)
        total += figures[i];
    return total;
}

static void print(const beast_load_report *r)
{
    printf("{\"sent\":%llu,\"answered\":%llu,\"lost\":%llu,\"wrong\":%llu,\"refused\":%llu,\"unsent\":%llu,"
           "\"seconds\":%.6f,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f}\n",
           (unsigned long long)r->sent, (unsigned long long)r->answered, (unsigned long long)r->lost,
           (unsigned long long)sum(r->wrong, BEAST_LOAD_FAULT_COUNT),
           (unsigned long long)sum(r->refused, BEAST_RESULT_COUNT), (unsigned long long)r->unsent,
           (double)r->elapsed_ns / 1e9, percentile_us(r, 0.5), percentile_us(r, 0.9), percentile_us(r, 0.99),
           percentile_us(r, 0.999), (double)r->worst_ns / 1e3);
    if (r->sample_len > 0)
        fprintf(stderr, "load: first wrong answer: %.*s\n", (int)r->sample_len, (const char *)r->sample);
}

int main(int argc, char **argv)
{
    static const char *const protocols[] = {"udp", "segment", "http", NULL}, *const checks[] = {"none", "id", "all", NULL};
    static const char *const orders[] = {"grouped", "interleaved", NULL};
    static beast_load_report report;
    static atomic_bool stop;
    if (argc != 10) {
        fputs("usage: load udp|segment|http HOST PORT SOCKETS IN_FLIGHT RATE MILLISECONDS none|id|all "
              "grouped|interleaved\n", stderr);
        return 2;
    }
    names keys = read_names(), assets = read_names();
    beast_load_config config = {
        .protocol = (beast_load_protocol)one_of(argv[1], protocols),
        .sockets = (uint32_t)atoi(argv[4]),
        .in_flight = (uint32_t)atoi(argv[5]),
        .rate = (uint32_t)atoi(argv[6]),
        .burst = 1,
        .duration_ns = atoll(argv[7]) * 1000000,
        .timeout_ns = 1000000000,
        .check = (beast_load_check)one_of(argv[8], checks),
        .interleaved = one_of(argv[9], orders) == 1,
        .max_age_ms = -1,
        .keys = keys.at,
        .n_keys = keys.n,
        .assets = assets.at,
        .n_assets = assets.n,
    };
    beast_status status = beast_address_parse(argv[2], (uint16_t)atoi(argv[3]), &config.peer);
    if (status == BEAST_OK)
        status = beast_load_run(&config, &stop, &report);
    if (status != BEAST_OK) {
        fprintf(stderr, "load: failed with status %d\n", (int)status);
        perror("load");
        return 1;
    }
    print(&report);
    return 0;
}
