/* Runs LLVMFuzzerTestOneInput without libFuzzer: the corpus as it is, then mutations of it until the time is up.
 * No coverage guides it; the sanitizers and the fuzzer's own assertions judge.
 *
 *     fuzz_x SECONDS SEED CRASH_FILE CORPUS_FOLDER */
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <fcntl.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));
const char *__asan_default_options(void);

#define INPUT_MAX 16384
#define CORPUS_MAX 4096

static struct {
    uint8_t *bytes;
    size_t len;
} corpus[CORPUS_MAX];
static size_t corpus_len;
static uint64_t state;

/* The input under test, for the signal handler to write down. */
static uint8_t input[INPUT_MAX];
static size_t input_len;
static const char *crash_file;

const char *__asan_default_options(void)
{
    return "abort_on_error=1:handle_abort=0";
}

static void keep_input(int number)
{
    int fd = open(crash_file, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    ssize_t ignored = write(fd, input, input_len);
    (void)ignored;
    fprintf(stderr, "the input is kept in %s\n", crash_file);
    signal(number, SIG_DFL);
    raise(number);
}

static uint64_t below(uint64_t bound) /* xorshift64* */
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (state * UINT64_C(0x2545F4914F6CDD1D) >> 11) % bound;
}

static void read_corpus(const char *folder)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    char path[1024];
    while (dir && (entry = readdir(dir)) && corpus_len < CORPUS_MAX) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!file)
            continue;
        uint8_t *bytes = malloc(INPUT_MAX);
        corpus[corpus_len].len = fread(bytes, 1, INPUT_MAX, file);
        corpus[corpus_len++].bytes = bytes;
        fclose(file);
    }
    if (dir)
        closedir(dir);
}

static void remove_bytes(size_t at, size_t n)
{
    n = n < input_len - at ? n : input_len - at;
    memmove(input + at, input + at + n, input_len - at - n);
    input_len -= n;
}

static void insert_bytes(size_t at, const uint8_t *bytes, size_t n)
{
    if (input_len + n > INPUT_MAX)
        return;
    memmove(input + at + n, input + at, input_len - at);
    memmove(input + at, bytes, n);
    input_len += n;
}

static void mutate(void)
{
    static const char *const words[] = {
        "\"", "\\", "\\u", "\\ud83d\\ude00", "\\udc00", "{", "}", "[", "]", ",", ":", "null", "true", "-0", "1e9",
        "\xC3\xA9", "\xF4\x90\x80\x80", "\r\n", "\r\n\r\n", " ", "\t", "%", "&", "=", "\"asset\":", "\"assets\":",
        "\"id\":", "Transfer-Encoding: chunked\r\n", "Host: a\r\n",
    };
    size_t at = below(input_len + 1);
    switch (below(7)) {
    case 0:
        if (at < input_len)
            input[at] ^= (uint8_t)(1u << below(8));
        break;
    case 1:
        if (at < input_len)
            input[at] = (uint8_t)below(256);
        break;
    case 2:
        remove_bytes(at, 1 + below(8));
        break;
    case 3:
        input_len = at; /* a prefix */
        break;
    case 4: { /* a piece of itself again */
        uint8_t piece[64];
        size_t n = below(sizeof piece);
        n = n < input_len - at ? n : input_len - at;
        memcpy(piece, input + at, n);
        insert_bytes(below(input_len + 1), piece, n);
        break;
    }
    case 5: { /* the end of another one */
        size_t other = below(corpus_len), from = below(corpus[other].len + 1), n = corpus[other].len - from;
        n = n < INPUT_MAX - at ? n : INPUT_MAX - at;
        memcpy(input + at, corpus[other].bytes + from, n);
        input_len = at + n;
        break;
    }
    default: {
        const char *word = words[below(sizeof words / sizeof *words)];
        insert_bytes(at, (const uint8_t *)word, strlen(word));
    }
    }
}

static void run_one(void)
{
    /* A copy of its very size lets the sanitizer see the first byte beyond. */
    uint8_t *exact = malloc(input_len ? input_len : 1);
    memcpy(exact, input, input_len);
    LLVMFuzzerTestOneInput(exact, input_len);
    free(exact);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: %s SECONDS SEED CRASH_FILE CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    time_t until = time(NULL) + atol(argv[1]);
    uint64_t runs = 0;
    state = strtoull(argv[2], NULL, 10) * 2 + 1;
    crash_file = argv[3];
    signal(SIGABRT, keep_input);
    signal(SIGSEGV, keep_input);
    if (LLVMFuzzerInitialize)
        LLVMFuzzerInitialize(&argc, &argv);
    read_corpus(argv[4]);
    if (corpus_len == 0)
        corpus[corpus_len++].bytes = input; /* start from nothing */
    for (size_t i = 0; i < corpus_len; i++, runs++) {
        input_len = corpus[i].len;
        memmove(input, corpus[i].bytes, input_len);
        run_one();
    }
    while (runs % 256 || time(NULL) < until) {
        size_t base = below(corpus_len);
        input_len = corpus[base].len;
        memmove(input, corpus[base].bytes, input_len);
        for (uint64_t n = 1 + below(6); n > 0; n--)
            mutate();
        run_one();
        runs++;
    }
    printf("%" PRIu64 " runs\n", runs);
    return 0;
}
