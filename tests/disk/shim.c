/* Stands between a process and the C library: writes down what it does below a folder, in order, and fails one call.
 *
 *   DISK_ROOT   what lies below it is watched; calls below DISK_ROOT/DISK_PART can fail
 *   DISK_PART   store, unless it says otherwise
 *   DISK_LOG    a line per effect: operation, result, path, second path, bytes in hexadecimal, between tabs
 *   DISK_FAIL   OPERATION:N, the N-th of which answers EIO, once; what comes after it is well again
 *
 * A sync that fails loses what it was to keep: the file's bytes become zeros, as on a disk whose dirty pages were dropped
 * and marked clean. `linked` fails after the link was made.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX], store[PATH_MAX], fail_op[32];
static long fail_at;
static int to = -1;

__attribute__((constructor)) static void begin(void) {
    const char *where = getenv("DISK_ROOT"), *log = getenv("DISK_LOG"), *fail = getenv("DISK_FAIL");
    if (!where || !log) return;
    snprintf(root, sizeof root, "%s/", where);
    const char *part = getenv("DISK_PART");
    snprintf(store, sizeof store, "%s/%s/", where, part ? part : "store");
    to = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const char *colon = fail ? strchr(fail, ':') : NULL;
    if (colon) {
        snprintf(fail_op, sizeof fail_op, "%.*s", (int)(colon - fail), fail);
        fail_at = atol(colon + 1);
    }
}

static int below(const char *top, const char *path) {
    return to >= 0 && top[0] && strncmp(path, top, strlen(top)) == 0;
}

/* Also the folder DISK_ROOT/store itself is of the store. */
static int strikes(const char *op, const char *path) {
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s/", path);
    if (!fail_at || strcmp(op, fail_op) != 0 || !below(store, full)) return 0;
    return --fail_at == 0;
}

static void put(const char *text, size_t bytes) {
    while (bytes > 0) {
        long done = syscall(SYS_write, to, text, bytes);
        if (done <= 0) abort();
        text += done;
        bytes -= done;
    }
}

static void note(const char *op, int failed, const char *path, const char *other, const unsigned char *data, size_t bytes) {
    size_t room = strlen(op) + strlen(path) + strlen(other) + 2 * bytes + 16;
    char *line = malloc(room), *end = line;
    if (!line) abort();
    end += sprintf(end, "%s\t%s\t%s\t%s\t", op, failed ? "EIO" : "ok", path, other);
    for (size_t at = 0; at < bytes; at++) end += sprintf(end, "%02x", data[at]);
    *end++ = '\n';
    put(line, end - line);
    free(line);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return 1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define LOCK pthread_mutex_lock(&turn)
#define UNLOCK pthread_mutex_unlock(&turn)

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    if (!(flags & O_CREAT) || !below(root, path)) return real(path, flags, mode);
    LOCK;
    int failed = strikes("create", path);
    struct stat was;
    int is_new = stat(path, &was) != 0;
    int fd = failed ? -1 : real(path, flags, mode), error = failed ? EIO : errno;
    if (failed || (fd >= 0 && is_new)) note("create", failed, path, "", NULL, 0);
    UNLOCK;
    errno = error;
    return fd;
}

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...) {                \
        va_list more;                                           \
        va_start(more, flags);                                  \
        mode_t mode = va_arg(more, mode_t);                     \
        va_end(more);                                           \
        REAL(name);                                            \
        return opened(real, path, flags, mode);                 \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *data, size_t bytes) {
    REAL(write);
    char path[PATH_MAX];
    if (to < 0 || fd == to || !path_of(fd, path) || !below(root, path)) return real(fd, data, bytes);
    LOCK;
    int failed = strikes("write", path);
    ssize_t done = failed ? -1 : real(fd, data, bytes);
    int error = failed ? EIO : errno;
    note("write", failed, path, "", data, done > 0 ? done : 0);
    UNLOCK;
    errno = error;
    return done;
}

/* What writes at a place in a file, or changes its size, is failed and not written down: no power is cut behind it. */
static int fails_at(const char *op, int fd) {
    char path[PATH_MAX];
    if (to < 0 || !path_of(fd, path) || !below(root, path)) return 0;
    LOCK;
    int failed = strikes(op, path);
    if (failed) note(op, 1, path, "", NULL, 0);
    UNLOCK;
    if (failed) errno = EIO;
    return failed;
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t at) {
    REAL(pwrite64);
    return fails_at("writeat", fd) ? -1 : real(fd, data, bytes, at);
}

int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    return fails_at("resize", fd) ? -1 : real(fd, size);
}

int sync_file_range(int fd, off64_t at, off64_t bytes, unsigned int flags) {
    REAL(sync_file_range);
    return fails_at("syncrange", fd) ? -1 : real(fd, at, bytes, flags);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return fails_at("syncdata", fd) ? -1 : real(fd);
}

int fsync(int fd) {
    REAL(fsync);
    char path[PATH_MAX];
    struct stat about;
    if (to < 0 || !path_of(fd, path) || fstat(fd, &about) != 0) return real(fd);
    int folder = S_ISDIR(about.st_mode);
    char full[PATH_MAX + 1];
    snprintf(full, sizeof full, "%s/", path);
    if (!below(root, full)) return real(fd);
    LOCK;
    int failed = strikes(folder ? "syncdir" : "sync", path);
    if (failed && !folder)
        for (off_t at = 0; at < about.st_size; at++) syscall(SYS_pwrite64, fd, "", 1, at);
    int done = failed ? -1 : real(fd), error = failed ? EIO : errno;
    note(folder ? "syncdir" : "sync", done != 0, path, "", NULL, 0);
    UNLOCK;
    errno = error;
    return done;
}

ssize_t pread64(int fd, void *data, size_t bytes, off64_t at) {
    REAL(pread64);
    char path[PATH_MAX];
    if (to < 0 || !path_of(fd, path) || !below(root, path)) return real(fd, data, bytes, at);
    LOCK;
    int failed = strikes("read", path);
    if (failed) note("read", 1, path, "", NULL, 0);
    UNLOCK;
    if (failed) {
        errno = EIO;
        return -1;
    }
    return real(fd, data, bytes, at);
}

/* An effect on names. `late` is what fails after it was done. */
#define NAMES(op, late, call, path, other)                          \
    if (!below(root, path)) return call;                            \
    LOCK;                                                           \
    int before = strikes(op, path);                                 \
    int done = before ? -1 : call, error = before ? EIO : errno;    \
    int after = done == 0 && strikes(late, path);                   \
    if (before || done == 0) note(op, before, path, other, NULL, 0); \
    if (after) {                                                    \
        note(late, 1, path, other, NULL, 0);                        \
        done = -1;                                                  \
        error = EIO;                                                \
    }                                                               \
    UNLOCK;                                                         \
    errno = error;                                                  \
    return done;

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    NAMES("mkdir", "made", real(path, mode), path, "")
}

int rmdir(const char *path) {
    REAL(rmdir);
    NAMES("rmdir", "rmdired", real(path), path, "")
}

int unlink(const char *path) {
    REAL(unlink);
    NAMES("unlink", "unlinked", real(path), path, "")
}

int rename(const char *from, const char *path) {
    REAL(rename);
    NAMES("rename", "renamed", real(from, path), path, from)
}

int link(const char *from, const char *path) {
    REAL(link);
    NAMES("link", "linked", real(from, path), path, from)
}

int linkat(int at, const char *from, int there, const char *path, int flags) {
    REAL(linkat);
    NAMES("link", "linked", real(at, from, there, path, flags), path, from)
}
