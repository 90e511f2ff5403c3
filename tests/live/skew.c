/* Stands between a process and the C library: its wall clock is SKEW_SECONDS off, and its running time is not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t which, struct timespec *now) {
    static __typeof__(&clock_gettime) real;
    static long seconds;
    if (!real) {
        const char *skew = getenv("SKEW_SECONDS");
        seconds = skew ? atol(skew) : 0;
        real = (__typeof__(&clock_gettime))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int done = real(which, now);
    if (done == 0 && which == CLOCK_REALTIME) now->tv_sec += seconds;
    return done;
}
