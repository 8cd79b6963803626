/* What a C function of Beast answers to its caller, and what a price request comes to.
 * Below the wrapper there are only these codes, above it only exceptions. */
#ifndef BEAST_STATUS_H
#define BEAST_STATUS_H

typedef enum beast_status {
    BEAST_OK = 0,
    BEAST_NO_MEMORY,    /* allocation failed */
    BEAST_BAD_ARGUMENT, /* the caller broke the function's contract */
    BEAST_FULL,         /* a fixed-size structure has no room left */
    BEAST_NOT_FOUND,
    BEAST_SYSTEM,       /* a system call failed: errno says why */
    BEAST_WRONG_STATE,  /* e.g. started twice */
    BEAST_TIMED_OUT,
} beast_status;

/* Every way a price request can end: name, wire code, HTTP status, reason phrase, message.
 * The wire code and the message are what clients see; docs/protocol.md lists them. */
#define BEAST_RESULTS(X)                                                                          \
    X(ANSWERED, "", 200, "OK", "")                                                                \
    X(BAD_REQUEST, "bad_request", 400, "Bad Request", "")                                         \
    X(UNAUTHORIZED, "unauthorized", 401, "Unauthorized", "the API key is missing or not valid")   \
    X(NO_SCOPE, "unauthorized", 401, "Unauthorized", "the API key has not the scope price")       \
    X(NO_NETWORK, "unauthorized", 401, "Unauthorized", "the API key is not to be used from this network") \
    X(UNKNOWN_ASSET, "unknown_asset", 404, "Not Found", "no price is kept for this asset")        \
    X(UNKNOWN_EXCHANGE, "unknown_exchange", 404, "Not Found", "there is no exchange of this name") \
    X(STALE, "stale", 503, "Service Unavailable", "no price is fresh enough")                     \
    X(RATE_LIMITED, "rate_limited", 429, "Too Many Requests", "too many requests for this key")   \
    X(QUOTA_EXCEEDED, "quota_exceeded", 402, "Payment Required", "the monthly quota is used up")  \
    X(UNAVAILABLE, "unavailable", 503, "Service Unavailable", "try again in a moment")

typedef enum beast_result {
#define X(name, code, http, reason, message) BEAST_RESULT_##name,
    BEAST_RESULTS(X)
#undef X
        BEAST_RESULT_COUNT
} beast_result;

/* Why a request is a bad_request: name and message. The first fault met, reading from the left,
 * is the one that is told; faults of the whole (BOTH_ASSETS, NO_ASSET) come last. */
#define BEAST_FAULTS(X)                                                                           \
    X(NONE, "")                                                                                   \
    X(TOO_LARGE, "the request is longer than 1232 bytes")                                         \
    X(SYNTAX, "the request is not one JSON object")                                               \
    X(UTF8, "the request is not valid UTF-8")                                                     \
    X(DEPTH, "the request is nested deeper than 8")                                               \
    X(TWICE, "a member is given twice")                                                           \
    X(API_KEY, "api_key must be a string")                                                        \
    X(ASSET, "asset must be a string that is not empty")                                          \
    X(ASSETS, "assets must be an array of 1 to 30 strings that are not empty")                    \
    X(EXCHANGE, "exchange must be a string that is not empty")                                    \
    X(ID, "id must be a string of at most 64 bytes or an integer")                                \
    X(MAX_AGE, "max_age_ms must be an integer from 0 to 9007199254740991")                        \
    X(ALLOW_STALE, "allow_stale must be true or false")                                           \
    X(BOTH_ASSETS, "asset and assets exclude each other")                                         \
    X(NO_ASSET, "asset or assets is missing")

typedef enum beast_fault {
#define X(name, message) BEAST_FAULT_##name,
    BEAST_FAULTS(X)
#undef X
        BEAST_FAULT_COUNT
} beast_fault;

#endif
