/* Limits between nodes: leases, allowances as parts of a cap, and what is told of them; networks of keys. */
#include <arpa/inet.h>

#include "harness.h"
#include "key_settle.h"

#define SECOND INT64_C(1000000000)
#define START (1000 * SECOND)
#define NOTHING INT64_C(-1)

static const beast_readers nobody;
static const uint8_t DIGEST[BEAST_SHA256_LEN] = {9};

typedef struct node {
    beast_key_table *table;
    beast_key_cache *cache;
    beast_key *key;
    int64_t retry;
} node;

static node node_with(const beast_key_limits *limits, bool leasing)
{
    node n = {.table = beast_key_table_new(4), .cache = beast_key_cache_new(), .retry = -1};
    beast_key_terms_set(beast_key_terms_of(n.table), leasing, 1, 1, leasing, SECOND / 20);
    CHECK_EQ(beast_key_set(n.table, DIGEST, limits, &nobody), BEAST_OK);
    n.key = beast_key_by_digest(n.table, DIGEST);
    return n;
}

static void free_node(node *n)
{
    beast_key_cache_free(n->cache);
    beast_key_table_free(n->table);
}

static beast_result ask(node *n, int64_t now_ns) { return beast_key_admit(n->table, n->cache, n->key, now_ns, &n->retry); }

static uint32_t ask_often(node *n, int64_t now_ns, uint32_t times)
{
    uint32_t answered = 0;
    for (uint32_t i = 0; i < times; i++)
        answered += ask(n, now_ns) == BEAST_RESULT_ANSWERED;
    return answered;
}

static void a_lease_is_all_that_goes_ahead_of_settling(void)
{
    const beast_key_limits limits = {.id = 7, .quota_id = 5, .per_second = 10, .burst = 20, .lease = 4, .cap = BEAST_NO_CAP};
    node n = node_with(&limits, true);
    beast_key_dues dues[4];
    CHECK_EQ(ask_often(&n, START, 30), 4);
    CHECK_EQ(n.retry, SECOND / 20);
    int64_t arrival = n.key->arrival_ns;
    CHECK_EQ(ask(&n, START), BEAST_RESULT_RATE_LIMITED);
    CHECK_EQ(n.key->arrival_ns, arrival); /* who is refused for the lease has not used the rate */

    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues, 4), 1);
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues + 1, 3), 0);
    CHECK_EQ(beast_keys_collect(n.table, NULL, dues + 1, 3), 0);
    CHECK_EQ(dues[0].admitted, 4);
    CHECK_EQ(dues[0].quota_id, 5);
    CHECK_EQ(dues[0].interval_ns, SECOND / 10);
    CHECK_EQ(dues[0].answered, -1);
    CHECK_EQ(ask(&n, START), BEAST_RESULT_RATE_LIMITED); /* on its way is not settled */

    /* Nobody else has asked: the cluster is as far ahead as this node. */
    beast_key_settle(n.table, dues, START, 4 * SECOND / 10, NOTHING);
    CHECK_EQ(n.key->arrival_ns, arrival);
    CHECK_EQ(ask_often(&n, START, 30), 4);
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues, 4), 1);
    /* Others have: what is left of the burst is theirs. */
    beast_key_settle(n.table, dues, START, 21 * SECOND / 10, NOTHING);
    CHECK_EQ(ask(&n, START), BEAST_RESULT_RATE_LIMITED);
    CHECK_EQ(n.retry, 2 * SECOND / 10);
    CHECK_EQ(ask(&n, START + n.retry), BEAST_RESULT_ANSWERED);
    free_node(&n);
}

static void what_is_admitted_while_settling_counts_on_top(void)
{
    const beast_key_limits limits = {.id = 7, .per_second = 1, .burst = 10, .lease = 6, .cap = BEAST_NO_CAP};
    node n = node_with(&limits, true);
    beast_key_dues dues[4];
    CHECK_EQ(ask_often(&n, START, 2), 2);
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues, 4), 1);
    CHECK_EQ(ask_often(&n, START, 3), 3);
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues + 1, 3), 0); /* it is in the writer's hands */
    beast_key_settle(n.table, dues, START, 5 * SECOND, NOTHING);     /* 3 of another node's */
    CHECK_EQ(n.key->arrival_ns, START + 8 * SECOND);
    CHECK_EQ(beast_unsettled_of(n.key->balance), 3);
    CHECK_EQ(beast_keys_collect(n.table, NULL, dues, 4), 1); /* and comes again by itself */
    CHECK_EQ(dues[0].admitted, 3);
    beast_key_settle(n.table, dues, START, 8 * SECOND, NOTHING);
    CHECK_EQ(beast_keys_collect(n.table, NULL, dues, 4), 0);
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues, 4), 0);
    CHECK_EQ(ask_often(&n, START, 9), 2);
    free_node(&n);
}

static void a_cap_is_granted_in_parts(void)
{
    beast_key_limits limits = {.id = 7, .lease = 5, .cap = 12, .used = 1, .month = 3};
    node n = node_with(&limits, true);
    beast_key_dues dues[4];
    CHECK_EQ(ask_often(&n, START, 9), 5);
    CHECK_EQ(ask(&n, START), BEAST_RESULT_RATE_LIMITED); /* more is left, it only has to be asked for */
    CHECK_EQ(n.retry, SECOND / 20);
    beast_key_refund(n.key); /* one was no price */
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues, 4), 1);
    CHECK_EQ(dues[0].admitted, 5);
    CHECK_EQ(dues[0].answered, 4);
    CHECK_EQ(dues[0].month, 3);
    beast_key_settle(n.table, dues, START, NOTHING, 8); /* 1 + 4, and 3 of another node's */
    CHECK_EQ(beast_allowance_of(n.key->balance), 4);    /* all that is left */
    CHECK_EQ(ask_often(&n, START, 9), 4);
    CHECK_EQ(ask(&n, START), BEAST_RESULT_QUOTA_EXCEEDED);
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues, 4), 1);
    CHECK_EQ(dues[0].answered, 4);
    beast_key_settle(n.table, dues, START, NOTHING, 12);
    CHECK_EQ(ask(&n, START), BEAST_RESULT_QUOTA_EXCEEDED);

    limits.cap = 20; /* a larger tier helps at once */
    limits.used = 2; /* what the database knows is behind */
    CHECK_EQ(beast_key_set(n.table, DIGEST, &limits, &nobody), BEAST_OK);
    CHECK_EQ(ask_often(&n, START, 9), 5);
    limits.month = 4; /* and so does a new month; nobody needs to be told of the old one */
    limits.used = 0;
    CHECK_EQ(beast_key_set(n.table, DIGEST, &limits, &nobody), BEAST_OK);
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues, 4), 1);
    CHECK_EQ(dues[0].answered, 0);
    CHECK_EQ(dues[0].floor, 0);
    CHECK_EQ(dues[0].month, 4);
    dues[0].month = 3;
    dues[0].answered = 5;
    beast_key_settle(n.table, dues, START, NOTHING, 20); /* of the old month: too late to matter */
    CHECK_EQ(ask_often(&n, START, 9), 5);
    free_node(&n);
}

static void parts_of_a_cap_shrink_with_the_nodes(void)
{
    const beast_key_limits limits = {.id = 7, .lease = 50, .cap = 100, .used = 91};
    node n = node_with(&limits, true);
    beast_key_dues dues[4];
    beast_key_terms_set(beast_key_terms_of(n.table), true, 1, 4, true, SECOND / 20);
    CHECK_EQ(ask_often(&n, START, 1), 1);
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues, 4), 1);
    beast_key_settle(n.table, dues, START, NOTHING, 95);
    CHECK_EQ(beast_allowance_of(n.key->balance), 2); /* a quarter of 5, rounded up */
    CHECK_EQ(ask_often(&n, START, 9), 2);
    CHECK_EQ(ask(&n, START), BEAST_RESULT_RATE_LIMITED);
    free_node(&n);
}

static void without_a_cluster_all_is_this_nodes(void)
{
    beast_key_limits limits = {.id = 7, .per_second = 10, .burst = 8, .lease = 2, .cap = 9, .used = 3};
    node n = node_with(&limits, false);
    beast_key_dues dues[4];
    CHECK_EQ(ask_often(&n, START, 6), 6);
    CHECK_EQ(ask(&n, START), BEAST_RESULT_QUOTA_EXCEEDED);
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues, 4), 0);
    /* With the cluster back: what the database knows by now holds all that was answered meanwhile. */
    beast_key_terms_set(beast_key_terms_of(n.table), true, 1, 1, true, SECOND / 20);
    CHECK_EQ(ask(&n, START), BEAST_RESULT_QUOTA_EXCEEDED);
    limits.used = 4;
    CHECK_EQ(beast_key_set(n.table, DIGEST, &limits, &nobody), BEAST_OK);
    CHECK_EQ(ask_often(&n, START + 10 * SECOND, 9), 2);
    CHECK_EQ(beast_key_set(n.table, DIGEST, &limits, &nobody), BEAST_OK); /* which knows of these, too */
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues, 4), 1);
    CHECK_EQ(dues[0].floor, 4);
    CHECK_EQ(dues[0].answered, 2);
    beast_key_settle(n.table, dues, START, SECOND, 8);
    CHECK_EQ(ask_often(&n, START + 10 * SECOND, 9), 1);
    CHECK_EQ(ask(&n, START + 60 * SECOND), BEAST_RESULT_QUOTA_EXCEEDED);
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues, 4), 1);
    CHECK_EQ(dues[0].floor, -1);
    CHECK_EQ(dues[0].answered, 1);
    free_node(&n);
}

static void shared_out_limits_are_a_part_of_each(void)
{
    const beast_key_limits limits = {.id = 7, .per_second = 10, .burst = 8, .cap = 9, .used = 3};
    node n = node_with(&limits, false);
    beast_key_terms_set(beast_key_terms_of(n.table), false, 4, 4, false, SECOND);
    CHECK_EQ(beast_key_set(n.table, DIGEST, &limits, &nobody), BEAST_OK);
    CHECK_EQ(ask_often(&n, START, 9), 2); /* a quarter of the burst, and of the cap */
    CHECK_EQ(n.retry, 4 * SECOND / 10);
    CHECK_EQ(ask(&n, START + n.retry), BEAST_RESULT_RATE_LIMITED);
    CHECK_EQ(n.retry, SECOND);
    free_node(&n);
}

static void a_record_is_reused_only_when_it_is_settled(void)
{
    const beast_key_limits limits = {.id = 7, .per_second = 1, .burst = 9, .lease = 5, .cap = BEAST_NO_CAP};
    uint8_t other[BEAST_SHA256_LEN] = {10}, third[BEAST_SHA256_LEN] = {11};
    node n = node_with(&limits, true);
    beast_key_dues dues[4];
    CHECK_EQ(ask_often(&n, START, 2), 2);
    CHECK_EQ(beast_key_drop(n.table, DIGEST, &nobody), BEAST_OK);
    CHECK_EQ(beast_key_set(n.table, other, &limits, &nobody), BEAST_OK);
    CHECK(beast_key_by_digest(n.table, other) != n.key);
    CHECK_EQ(beast_keys_collect(n.table, n.cache, dues, 4), 0); /* a dropped key has nothing to settle */
    CHECK_EQ(beast_unsettled_of(n.key->balance), 0);
    CHECK_EQ(beast_key_set(n.table, third, &limits, &nobody), BEAST_OK);
    CHECK(beast_key_by_digest(n.table, third) == n.key);
    CHECK_EQ(ask_often(&n, START, 9), 5);
    free_node(&n);
}

static struct sockaddr_storage address(const char *text)
{
    struct sockaddr_storage out = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out;
    if (strchr(text, ':')) {
        v6->sin6_family = AF_INET6;
        CHECK_EQ(inet_pton(AF_INET6, text, &v6->sin6_addr), 1);
    } else {
        v4->sin_family = AF_INET;
        CHECK_EQ(inet_pton(AF_INET, text, &v4->sin_addr), 1);
    }
    return out;
}

static bool is_from(const node *n, const char *text)
{
    struct sockaddr_storage from = address(text);
    return beast_key_is_from(n->table, n->key, (struct sockaddr *)&from);
}

static beast_source_network network(const char *text, uint8_t bits)
{
    beast_source_network out = {.bits = bits};
    CHECK_EQ(inet_pton(AF_INET6, text, out.address), 1);
    return out;
}

static void networks_are_told_apart_to_the_bit(void)
{
    const beast_key_limits limits = {.id = 7, .flags = BEAST_KEY_NETWORKS, .cap = BEAST_NO_CAP};
    node n = node_with(&limits, false);
    CHECK(!is_from(&n, "10.0.0.1")); /* from nowhere, before it is told */
    const beast_source_network list[] = {
        network("::ffff:10.1.2.0", 96 + 23), network("2001:db8::", 33), network("::ffff:192.0.2.7", 128),
    };
    CHECK_EQ(beast_key_restrict(n.table, DIGEST, list, 3, &nobody), BEAST_OK);
    CHECK_EQ(beast_key_restrict(n.table, DIGEST, list, 3, &nobody), BEAST_OK);
    CHECK(is_from(&n, "10.1.2.0") && is_from(&n, "10.1.3.255") && is_from(&n, "::ffff:10.1.3.9"));
    CHECK(!is_from(&n, "10.1.4.0") && !is_from(&n, "10.1.1.255") && !is_from(&n, "::10.1.2.0"));
    CHECK(is_from(&n, "2001:db8:7fff::1") && !is_from(&n, "2001:db8:8000::1"));
    CHECK(is_from(&n, "192.0.2.7") && !is_from(&n, "192.0.2.6"));
    CHECK(!beast_key_is_from(n.table, n.key, NULL));

    beast_source_network many[BEAST_KEY_NETWORKS_MAX + 1];
    for (int i = 0; i <= BEAST_KEY_NETWORKS_MAX; i++)
        many[i] = network("::", 0);
    CHECK_EQ(beast_key_restrict(n.table, DIGEST, many, BEAST_KEY_NETWORKS_MAX + 1, &nobody), BEAST_FULL);
    CHECK_EQ(beast_key_restrict(n.table, DIGEST, many, BEAST_KEY_NETWORKS_MAX, &nobody), BEAST_OK);
    CHECK(is_from(&n, "10.1.4.0") && is_from(&n, "fe80::1"));
    many[0].bits = 129;
    CHECK_EQ(beast_key_restrict(n.table, DIGEST, many, 1, &nobody), BEAST_BAD_ARGUMENT);
    CHECK_EQ(beast_key_restrict(n.table, DIGEST, NULL, 0, &nobody), BEAST_OK);
    CHECK(!is_from(&n, "10.1.4.0"));
    free_node(&n);
}

int main(void)
{
    RUN(a_lease_is_all_that_goes_ahead_of_settling);
    RUN(what_is_admitted_while_settling_counts_on_top);
    RUN(a_cap_is_granted_in_parts);
    RUN(parts_of_a_cap_shrink_with_the_nodes);
    RUN(without_a_cluster_all_is_this_nodes);
    RUN(shared_out_limits_are_a_part_of_each);
    RUN(a_record_is_reused_only_when_it_is_settled);
    RUN(networks_are_told_apart_to_the_bit);
    return harness_report();
}
