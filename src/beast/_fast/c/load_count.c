/* What became of the requests: counts and latencies, written by one thread and read by any. */
#include "load_inner.h"

static const char *const FAULT_NAMES[] = {
#define X(name, message) #name,
    BEAST_LOAD_FAULTS(X)
#undef X
};

static const char *const FAULT_MESSAGES[] = {
#define X(name, message) message,
    BEAST_LOAD_FAULTS(X)
#undef X
};

const char *beast_load_fault_name(beast_load_fault fault)
{
    return FAULT_NAMES[fault];
}

const char *beast_load_fault_message(beast_load_fault fault)
{
    return FAULT_MESSAGES[fault];
}

uint32_t beast_load_bucket(uint64_t ns)
{
    if (ns < 16)
        return (uint32_t)ns;
    uint32_t power = 63u - (uint32_t)__builtin_clzll(ns);
    return (power - 3) * 16 + (uint32_t)((ns >> (power - 4)) & 15);
}

uint64_t beast_load_bucket_ns(uint32_t bucket)
{
    return bucket < 16 ? bucket : (uint64_t)(16 + bucket % 16) << (bucket / 16 - 1);
}

static void count_latency(beast_load_report *report, int64_t ns)
{
    beast_load_add(&report->latency[beast_load_bucket(ns < 0 ? 0 : (uint64_t)ns)], 1);
    if (ns > atomic_load_explicit(&report->worst_ns, memory_order_relaxed))
        atomic_store_explicit(&report->worst_ns, ns, memory_order_relaxed);
}

void beast_load_wrong(beast_load *load, beast_load_fault fault, const uint8_t *text, size_t len)
{
    beast_load_report *report = load->report;
    beast_load_add(&report->wrong[fault], 1);
    if (len == 0 || atomic_load_explicit(&report->sample_len, memory_order_relaxed) > 0)
        return;
    uint32_t kept = len < BEAST_LOAD_SAMPLE ? (uint32_t)len : BEAST_LOAD_SAMPLE;
    memcpy(report->sample, text, kept);
    atomic_store_explicit(&report->sample_len, kept, memory_order_release);
}

void beast_load_count(beast_load *load, const beast_flight *flight, beast_load_answer answer, const uint8_t *text,
                      size_t len)
{
    if (answer.fault != BEAST_LOAD_FAULT_NONE) {
        beast_load_wrong(load, answer.fault, text, len);
    } else if (answer.result != BEAST_RESULT_ANSWERED) {
        beast_load_add(&load->report->refused[answer.result], 1);
    } else {
        beast_load_add(&load->report->answered, 1);
        count_latency(load->report, load->received_ns - flight->due_ns);
    }
}
