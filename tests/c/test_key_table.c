/* API keys: adding, finding, dropping, admission. Its threads are tested in test_key_threads.c. */
#include "harness.h"
#include "key_table.h"

#define SECOND INT64_C(1000000000)
#define START (1000 * SECOND)
#define NO_CAP INT64_MAX

static const beast_readers nobody;

static beast_slice slice(const char *text) { return (beast_slice){(const uint8_t *)text, (uint32_t)strlen(text)}; }

static beast_key *find(beast_key_cache *cache, const beast_key_table *table, const char *text)
{
    beast_slice literal = slice(text);
    if (literal.len < 1000) /* flush against an unreadable page */
        literal.ptr = harness_at_end(text, literal.len);
    beast_key_search search;
    beast_key_prefetch(cache, literal, &search);
    return beast_key_find(cache, table, &search);
}

static beast_status put(beast_key_table *table, const char *text, uint32_t per_second, uint32_t burst, bool partner,
                        int64_t allowance)
{
    uint8_t digest[BEAST_SHA256_LEN];
    beast_sha256((const uint8_t *)text, strlen(text), digest);
    return beast_key_put(table, digest, 77, per_second, burst, partner, allowance, &nobody);
}

static beast_status drop(beast_key_table *table, const char *text)
{
    uint8_t digest[BEAST_SHA256_LEN];
    beast_sha256((const uint8_t *)text, strlen(text), digest);
    return beast_key_drop(table, digest, &nobody);
}

static void keys_are_found_until_they_are_dropped(void)
{
    beast_key_table *table = beast_key_table_new(100);
    beast_key_cache *cache = beast_key_cache_new(), *other = beast_key_cache_new();
    beast_key_cache *late = beast_key_cache_new();
    CHECK(find(cache, table, "tb_one") == NULL);
    CHECK_EQ(put(table, "tb_one", 1, 1, false, NO_CAP), BEAST_OK);
    beast_key *key = find(cache, table, "tb_one");
    CHECK(key != NULL);
    CHECK(find(cache, table, "tb_one") == key);
    CHECK(find(other, table, "tb_one") == key);
    CHECK(find(late, table, "tb_one") == key);
    CHECK(find(cache, table, "tb_on") == NULL);
    CHECK(find(cache, table, "tb_onf") == NULL);
    CHECK_EQ(beast_key_count(table), 1);
    CHECK_EQ(beast_key_number(table, key), 0);
    CHECK(beast_key_by_number(table, 0) == key);
    CHECK(beast_key_by_number(table, 1) == NULL);
    CHECK_EQ(key->id, 77);

    CHECK_EQ(drop(table, "tb_one"), BEAST_OK);
    CHECK_EQ(drop(table, "tb_one"), BEAST_NOT_FOUND);
    CHECK_EQ(beast_key_count(table), 0);
    CHECK(find(cache, table, "tb_one") == NULL);
    CHECK(find(other, table, "tb_one") == NULL);

    /* Its record becomes another's, and then it comes back. */
    CHECK_EQ(put(table, "tb_two", 1, 1, false, NO_CAP), BEAST_OK);
    CHECK(find(cache, table, "tb_two") == key);
    CHECK(find(late, table, "tb_one") == NULL); /* its lane remembers the record, not the drop */
    CHECK(find(cache, table, "tb_one") == NULL);
    CHECK(find(other, table, "tb_one") == NULL);
    CHECK_EQ(put(table, "tb_one", 1, 1, false, NO_CAP), BEAST_OK);
    CHECK(find(cache, table, "tb_one") == beast_key_by_number(table, 1));
    CHECK(find(other, table, "tb_one") == beast_key_by_number(table, 1));
    beast_key_cache_free(cache);
    beast_key_cache_free(other);
    beast_key_cache_free(late);
    beast_key_table_free(table);
}

static void every_length_of_literal_works(void)
{
    beast_key_table *table = beast_key_table_new(1000);
    beast_key_cache *cache = beast_key_cache_new();
    char text[BEAST_KEY_MAX + 72];
    for (uint32_t len = 0; len < sizeof text - 1; len++) {
        memset(text, 'k', len);
        text[len] = 0;
        bool possible = len > 0 && len <= BEAST_KEY_MAX;
        CHECK(find(cache, table, text) == NULL);
        CHECK_EQ(put(table, text, 0, 0, false, NO_CAP), BEAST_OK);
        for (int twice = 0; twice < 2; twice++)
            CHECK((find(cache, table, text) != NULL) == possible);
        if (possible) {
            text[len - 1] = 'x';
            CHECK(find(cache, table, text) == NULL);
            memset(text, 'k', len);
            CHECK_EQ(drop(table, text), BEAST_OK);
            CHECK(find(cache, table, text) == NULL);
        }
    }
    beast_key_search search;
    beast_key_prefetch(cache, (beast_slice){NULL, 0}, &search);
    CHECK(beast_key_find(cache, table, &search) == NULL);
    beast_key_cache_free(cache);
    beast_key_table_free(table);
}

static void one_other_byte_is_another_key(void)
{
    static const uint32_t lens[] = {1, 8, 15, 16, 17, 32, 33, 46, 47, 48, 49, 64, 111, 112, 113, BEAST_KEY_MAX};
    beast_key_table *table = beast_key_table_new(1000);
    beast_key_cache *cache = beast_key_cache_new();
    char text[BEAST_KEY_MAX + 1];
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        memset(text, 'k', lens[i]);
        text[lens[i]] = 0;
        CHECK_EQ(put(table, text, 0, 0, false, NO_CAP), BEAST_OK);
        beast_key *key = find(cache, table, text);
        CHECK(key != NULL);
        for (uint32_t at = 0; at < lens[i]; at++) {
            text[at] ^= 1;
            CHECK(find(cache, table, text) == NULL);
            text[at] ^= 1;
            CHECK(find(cache, table, text) == key);
        }
    }
    beast_key_cache_free(cache);
    beast_key_table_free(table);
}

static void preparing_changes_no_answer(void)
{
    beast_key_table *table = beast_key_table_new(1000);
    beast_key_cache *cache = beast_key_cache_new();
    char text[32];
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 500; i++) {
            snprintf(text, sizeof text, "tb_%d", i);
            beast_slice literal = slice(text);
            beast_key_search search;
            beast_key_prefetch(cache, literal, &search);
            if (!beast_key_recall(cache, table, &search))
                beast_key_digest(table, &search);
            beast_key_prefetch_record(table, &search);
            bool there = round == 1 || (round == 2 && i % 2);
            if (round == 1)
                CHECK_EQ(put(table, text, 0, 0, false, NO_CAP), BEAST_OK);
            if (round == 2 && i % 2 == 0)
                CHECK_EQ(drop(table, text), BEAST_OK);
            CHECK((beast_key_find(cache, table, &search) != NULL) == there);
        }
    beast_key_cache_free(cache);
    beast_key_table_free(table);
}

static void a_flood_of_unknown_literals_pushes_nobody_out(void)
{
    beast_key_table *table = beast_key_table_new(64);
    beast_key_cache *cache = beast_key_cache_new();
    beast_key_search search;
    char text[32];
    for (int i = 0; i < 64; i++) {
        snprintf(text, sizeof text, "tb_known_key_number_%d", i);
        CHECK_EQ(put(table, text, 0, 0, false, NO_CAP), BEAST_OK);
        CHECK(find(cache, table, text) != NULL);
    }
    for (int i = 0; i < 100000; i++) {
        snprintf(text, sizeof text, "unknown_%d", i);
        CHECK(find(cache, table, text) == NULL);
    }
    for (int i = 0; i < 64; i++) {
        snprintf(text, sizeof text, "tb_known_key_number_%d", i);
        beast_key_prefetch(cache, slice(text), &search);
        CHECK(beast_key_recall(cache, table, &search));
    }
    beast_key_cache_free(cache);
    beast_key_table_free(table);
}

static void a_full_table_says_so_and_takes_again_what_was_dropped(void)
{
    beast_key_table *table = beast_key_table_new(10);
    char text[32];
    CHECK(beast_key_table_new(0) == NULL);
    for (int i = 0; i < 10; i++) {
        snprintf(text, sizeof text, "tb_%d", i);
        CHECK_EQ(put(table, text, 1, 1, false, NO_CAP), BEAST_OK);
    }
    CHECK_EQ(put(table, "tb_more", 1, 1, false, NO_CAP), BEAST_FULL);
    CHECK_EQ(put(table, "tb_3", 2, 2, false, NO_CAP), BEAST_OK);
    for (int i = 0; i < 10000; i++) {
        snprintf(text, sizeof text, "tb_%d", i);
        CHECK_EQ(drop(table, text), BEAST_OK);
        snprintf(text, sizeof text, "tb_%d", i + 10);
        CHECK_EQ(put(table, text, 1, 1, false, NO_CAP), BEAST_OK);
    }
    CHECK_EQ(beast_key_count(table), 10);
    CHECK(beast_key_by_number(table, 10) == NULL);
    beast_key_table_free(table);
}

/* A digest that is its own number, hashed where need be. */
static void number_digest(uint32_t number, uint8_t digest[BEAST_SHA256_LEN])
{
    uint64_t random = number + 1;
    for (int i = 0; i < 4; i++) {
        uint64_t word = harness_random(&random);
        memcpy(digest + 8 * i, &word, sizeof word);
    }
}

#ifdef __SANITIZE_THREAD__
#define MANY 100000 /* a tenth of it takes as long */
#else
#define MANY 1000000
#endif

static void a_million_keys_fit(void)
{
    enum { N = MANY };
    beast_key_table *table = beast_key_table_new(1 << 20);
    uint8_t digest[BEAST_SHA256_LEN];
    int64_t before = harness_now_ns();
    for (uint32_t i = 0; i < N; i++) {
        number_digest(i, digest);
        CHECK_EQ(beast_key_put(table, digest, i, 1, 1, false, NO_CAP, &nobody), BEAST_OK);
    }
    printf("  %d keys put in %.0f ms\n", N, (double)(harness_now_ns() - before) / 1e6);
    CHECK_EQ(beast_key_count(table), N);
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < N; i++) {
        number_digest(i, digest);
        beast_key *key = beast_key_by_digest(table, digest);
        wrong += !key || key->id != i || beast_key_number(table, key) != i;
        wrong += i % 3 == 0 && beast_key_drop(table, digest, &nobody) != BEAST_OK;
    }
    for (uint32_t i = 0; i < N; i++) {
        number_digest(i, digest);
        wrong += (beast_key_by_digest(table, digest) != NULL) != (i % 3 != 0);
    }
    CHECK_EQ(wrong, 0);
    beast_key_table_free(table);
}

static void colliding_digests_are_told_apart(void)
{
    beast_key_table *table = beast_key_table_new(1000);
    uint8_t digest[BEAST_SHA256_LEN] = {0xFF, 0xFF, 0xFF, 0xFF}; /* all want the last place */
    for (int round = 0; round < 3; round++)
        for (uint32_t i = 0; i < 300; i++) {
            digest[30] = (uint8_t)(i >> 8);
            digest[31] = (uint8_t)i;
            if (round == 0) {
                CHECK_EQ(beast_key_put(table, digest, i, 1, 1, false, NO_CAP, &nobody), BEAST_OK);
            } else if (round == 1) {
                CHECK_EQ(beast_key_by_digest(table, digest)->id, i);
                if (i % 2)
                    CHECK_EQ(beast_key_drop(table, digest, &nobody), BEAST_OK);
            } else {
                CHECK((beast_key_by_digest(table, digest) == NULL) == (i % 2));
            }
        }
    beast_key_table_free(table);
}

static void rates_follow_the_generic_cell_rate(void)
{
    beast_key_table *table = beast_key_table_new(4);
    beast_key_cache *cache = beast_key_cache_new();
    int64_t retry = -1;
    CHECK_EQ(put(table, "tb_k", 10, 5, false, NO_CAP), BEAST_OK);
    beast_key *key = find(cache, table, "tb_k");
    for (int i = 0; i < 5; i++)
        CHECK_EQ(beast_key_admit(table, cache, key, START, &retry), BEAST_RESULT_ANSWERED);
    CHECK_EQ(beast_key_admit(table, cache, key, START, &retry), BEAST_RESULT_RATE_LIMITED);
    CHECK_EQ(retry, SECOND / 10);
    CHECK_EQ(beast_key_admit(table, cache, key, START + SECOND / 10 - 1, &retry), BEAST_RESULT_RATE_LIMITED);
    CHECK_EQ(retry, 1);
    CHECK_EQ(beast_key_admit(table, cache, key, START + SECOND / 10, &retry), BEAST_RESULT_ANSWERED);
    CHECK_EQ(beast_key_admit(table, cache, key, START + SECOND / 10, &retry), BEAST_RESULT_RATE_LIMITED);
    for (int i = 0; i < 7; i++) /* a long pause saves up a burst, no more */
        CHECK_EQ(beast_key_admit(table, cache, key, START + 60 * SECOND, &retry),
                 i < 5 ? BEAST_RESULT_ANSWERED : BEAST_RESULT_RATE_LIMITED);

    CHECK_EQ(put(table, "tb_k", 0, 0, false, NO_CAP), BEAST_OK); /* in place, at once */
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(beast_key_admit(table, cache, key, START, &retry), BEAST_RESULT_ANSWERED);
    CHECK_EQ(put(table, "tb_k", 1, 0, true, 0), BEAST_OK);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(beast_key_admit(table, cache, key, START, &retry), BEAST_RESULT_ANSWERED);
    CHECK_EQ(beast_allowance_of(key->balance), BEAST_NO_CAP);
    beast_key_cache_free(cache);
    beast_key_table_free(table);
}

static void allowances_are_taken_and_given_back(void)
{
    beast_key_table *table = beast_key_table_new(4);
    beast_key_cache *cache = beast_key_cache_new();
    int64_t retry = -1;
    CHECK_EQ(put(table, "tb_k", 0, 0, false, 2), BEAST_OK);
    beast_key *key = find(cache, table, "tb_k");
    CHECK_EQ(beast_key_admit(table, cache, key, START, &retry), BEAST_RESULT_ANSWERED);
    CHECK_EQ(beast_key_admit(table, cache, key, START, &retry), BEAST_RESULT_ANSWERED);
    CHECK_EQ(beast_key_admit(table, cache, key, START, &retry), BEAST_RESULT_QUOTA_EXCEEDED);
    CHECK_EQ(beast_allowance_of(key->balance), 0);
    beast_key_refund(key);
    CHECK_EQ(beast_key_admit(table, cache, key, START, &retry), BEAST_RESULT_ANSWERED);
    CHECK_EQ(beast_key_admit(table, cache, key, START, &retry), BEAST_RESULT_QUOTA_EXCEEDED);

    /* The rate is asked first, and a refused quota has counted against it. */
    CHECK_EQ(put(table, "tb_k", 1, 1, false, 0), BEAST_OK);
    CHECK_EQ(beast_key_admit(table, cache, key, START, &retry), BEAST_RESULT_QUOTA_EXCEEDED);
    CHECK_EQ(beast_key_admit(table, cache, key, START, &retry), BEAST_RESULT_RATE_LIMITED);

    CHECK_EQ(put(table, "tb_k", 0, 0, false, NO_CAP), BEAST_OK);
    CHECK_EQ(beast_key_admit(table, cache, key, START, &retry), BEAST_RESULT_ANSWERED);
    beast_key_refund(key);
    CHECK_EQ(beast_allowance_of(key->balance), BEAST_NO_CAP);
    beast_key_cache_free(cache);
    beast_key_table_free(table);
}

int main(void)
{
    RUN(keys_are_found_until_they_are_dropped);
    RUN(every_length_of_literal_works);
    RUN(one_other_byte_is_another_key);
    RUN(preparing_changes_no_answer);
    RUN(a_flood_of_unknown_literals_pushes_nobody_out);
    RUN(a_full_table_says_so_and_takes_again_what_was_dropped);
    RUN(a_million_keys_fit);
    RUN(colliding_digests_are_told_apart);
    RUN(rates_follow_the_generic_cell_rate);
    RUN(allowances_are_taken_and_given_back);
    return harness_report();
}
