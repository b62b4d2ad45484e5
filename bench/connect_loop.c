/* New TCP connections, one after the other, as cheaply as they can be made.
 *
 *   connect_loop listen ADDRESS PORT           accept and close until killed; says "ready"
 *   connect_loop connect ADDRESS PORT SECONDS  connect and reset; prints: made failed p50_ns p99_ns seconds cpu_s
 *
 * A client closes with a reset (SO_LINGER 0), so that no port is left in TIME_WAIT.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUCKETS 2000000 /* one for each 50 ns: up to 100 ms */
#define BUCKET_NS 50

static unsigned counts[BUCKETS];

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long percentile(long total, int percent) {
    long seen = 0, wanted = (total - 1) * percent / 100;
    for (long i = 0; i < BUCKETS; i++)
        if ((seen += counts[i]) > wanted)
            return i * BUCKET_NS;
    return (long long)BUCKETS * BUCKET_NS;
}

int main(int argc, char **argv) {
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *to;
    if (argc < 4 || getaddrinfo(argv[2], argv[3], &hints, &to))
        return 2;
    int one = 1;
    if (!strcmp(argv[1], "listen")) {
        int fd = socket(to->ai_family, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, to->ai_addr, to->ai_addrlen) || listen(fd, 4096))
            return perror("listen"), 1;
        puts("ready");
        fflush(stdout);
        for (;;)
            close(accept(fd, NULL, NULL));
    }
    struct linger reset = {1, 0};
    struct timeval limit = {0, 500000};
    long made = 0, failed = 0;
    long long begin = now_ns(), end = begin + (long long)(atof(argv[4]) * 1e9), then = begin;
    while (then < end) {
        int fd = socket(to->ai_family, SOCK_STREAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        long long before = now_ns();
        int result = connect(fd, to->ai_addr, to->ai_addrlen);
        then = now_ns();
        if (result)
            failed++;
        else {
            long long bucket = (then - before) / BUCKET_NS;
            counts[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
            made++;
        }
        close(fd);
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu_s = used.ru_utime.tv_sec + used.ru_stime.tv_sec +
                   (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("%ld %ld %lld %lld %.6f %.6f\n", made, failed, percentile(made, 50), percentile(made, 99),
           (then - begin) / 1e9, cpu_s);
    return 0;
}
