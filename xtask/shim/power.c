/* Power loss and failing disks for one process, by LD_PRELOAD.
 *
 * Does: for every file under POWER_DIR keeps the content that the last fsync of that file made durable, sector by sector, and
 *   every change of a folder since the last fsync of that folder. At the POWER_AT-th operation that changes a file it takes back
 *   what was not synced and ends the process by SIGKILL. POWER_MODE says what is taken back:
 *     all      everything,
 *     pages    each changed 4 KiB page or not, by chance (POWER_SEED), as a disk that writes back in its own order,
 *     sectors  each changed 512-byte sector or not: torn pages.
 *   With POWER_ERROR it lives, and that operation fails:
 *     eio      a write is not done; a sync takes back what it should have made durable,
 *     enospc   writes are not done, nor those of the next POWER_ERRORS - 1 operations; syncs and cuts are.
 *   Changes of folders are taken back from a random one on (all: from the first on), as a journalled file system would.
 * Never: touches a file outside POWER_DIR, or a *-shm, which is mapped memory that whoever starts the process again removes.
 * Limits: inherited descriptors, names that are exchanged, folders made or removed, mapped writes, O_SYNC, fallocate, copy_file_range and io_uring are not seen.
 * Threads: one lock around every operation on a tracked file; nothing changes while power is being lost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SECTOR = 512, PAGE = 4096, FILES = 256, FOLDER_CHANGES = 4096, BUCKETS = 4096, PATH_ROOM = 1024 };

/* What a sector held when its file was last synced. */
struct sector {
    uint64_t number;
    struct sector *next;
    unsigned char was[SECTOR];
};

struct file {
    int used;
    dev_t dev;
    ino_t ino;
    int fd; /* our own, never closed while the file has a name: closing would drop the process's locks on it */
    off_t synced_size;
    struct sector *buckets[BUCKETS]; /* sectors changed since the last sync */
};

enum change_kind { CREATED, UNLINKED, RENAMED };

struct change {
    enum change_kind kind;
    char path[PATH_ROOM];  /* created, unlinked, or renamed to */
    char from[PATH_ROOM];  /* renamed from */
    char saved[PATH_ROOM]; /* another name of what was unlinked or replaced; empty: nothing was */
};

enum mode { ALL, PAGES, SECTORS };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file files[FILES];
static struct change changes[FOLDER_CHANGES];
static int change_count;
static char folder[PATH_ROOM];
static size_t folder_length;
static enum mode mode;
static uint64_t chance;
static long at, operations;
static int failure; /* EIO, ENOSPC, or 0: power is lost */
static long failures;

__attribute__((constructor)) static void start(void) {
    const char *dir = getenv("POWER_DIR"), *how = getenv("POWER_MODE"), *seed = getenv("POWER_SEED"), *when = getenv("POWER_AT");
    if (!dir || !realpath(dir, folder)) return;
    folder_length = strlen(folder);
    mode = how && !strcmp(how, "pages") ? PAGES : how && !strcmp(how, "sectors") ? SECTORS : ALL;
    chance = seed ? strtoull(seed, NULL, 10) : 1;
    at = when ? atol(when) : 0;
    const char *error = getenv("POWER_ERROR"), *count = getenv("POWER_ERRORS");
    failure = !error ? 0 : !strcmp(error, "enospc") ? ENOSPC : EIO;
    failures = count ? atol(count) : 1;
}

/* The next random number (splitmix64). */
static uint64_t random_next(void) {
    uint64_t z = (chance += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The same answer for the same sector, and in PAGES mode for all sectors of a page. */
static int is_taken_back(int file, uint64_t number, uint64_t draw) {
    if (mode == ALL) return 1;
    uint64_t z = draw ^ ((uint64_t)file << 48) ^ (mode == PAGES ? number / (PAGE / SECTOR) : number);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z >> 40) & 1;
}

static void give_up(const char *why) {
    char line[256];
    int n = snprintf(line, sizeof line, "power shim: %s (%s)\n", why, strerror(errno));
    syscall(SYS_write, 2, line, n);
    _exit(99);
}

/* ---- files and their sectors ---- */

static int in_folder(const char *path) {
    return folder_length && !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_ROOM - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return 1;
}

static struct file *file_of(int fd) {
    struct stat s;
    if (!folder_length || fstat(fd, &s) || !S_ISREG(s.st_mode)) return NULL;
    for (int i = 0; i < FILES; i++)
        if (files[i].used && files[i].ino == s.st_ino && files[i].dev == s.st_dev) return &files[i];
    return NULL;
}

static int is_watched(const char *path) {
    size_t n = strlen(path);
    return in_folder(path) && !(n > 4 && !strcmp(path + n - 4, "-shm"));
}

/* Begins to watch an open file, if that is not done already, with what it holds now as what is durable. */
static void watch(int opened, const char *path) {
    struct stat s;
    if (fstat(opened, &s) || !S_ISREG(s.st_mode) || file_of(opened)) return;
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) give_up(path);
    for (int i = 0; i < FILES; i++) {
        if (files[i].used) continue;
        files[i] = (struct file){.used = 1, .dev = s.st_dev, .ino = s.st_ino, .fd = fd, .synced_size = s.st_size};
        return;
    }
    give_up("too many files");
}

static struct sector *find(struct file *f, uint64_t number) {
    struct sector *s = f->buckets[number % BUCKETS];
    while (s && s->number != number) s = s->next;
    return s;
}

/* Keeps what a range holds before it changes. */
static void keep(struct file *f, off_t from, off_t length) {
    if (length <= 0) return;
    for (uint64_t n = from / SECTOR; n <= (uint64_t)(from + length - 1) / SECTOR; n++) {
        if (find(f, n)) continue;
        struct sector *s = calloc(1, sizeof *s);
        if (!s) give_up("no memory");
        s->number = n;
        if (syscall(SYS_pread64, f->fd, s->was, SECTOR, (off_t)n * SECTOR) < 0) give_up("reading what is overwritten");
        s->next = f->buckets[n % BUCKETS];
        f->buckets[n % BUCKETS] = s;
    }
}

/* What the file holds now is durable. */
static void synced(struct file *f) {
    struct stat s;
    for (int b = 0; b < BUCKETS; b++) {
        while (f->buckets[b]) {
            struct sector *next = f->buckets[b]->next;
            free(f->buckets[b]);
            f->buckets[b] = next;
        }
    }
    if (!fstat(f->fd, &s)) f->synced_size = s.st_size;
}

/* ---- folders ---- */

static struct change *change(enum change_kind kind, const char *path) {
    if (change_count == FOLDER_CHANGES) give_up("too many changes of folders");
    struct change *c = &changes[change_count++];
    *c = (struct change){.kind = kind};
    snprintf(c->path, PATH_ROOM, "%s", path);
    return c;
}

/* Gives a file that loses its name another one. */
static void save(struct change *c, const char *path) {
    static int saved;
    int length = snprintf(c->saved, PATH_ROOM, "%s/.power-%d-%d", folder, (int)getpid(), saved++);
    if (length >= PATH_ROOM || syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, c->saved, 0)) c->saved[0] = 0;
}

static void remove_path(const char *path) { syscall(SYS_unlinkat, AT_FDCWD, path, 0); }
static void move_path(const char *from, const char *to) { syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to); }

/* A file without a name is forgotten: its number may be given to another. */
static void forget(const char *path) {
    struct stat s;
    if (stat(path, &s)) return;
    for (int i = 0; i < FILES; i++) {
        if (!files[i].used || files[i].ino != s.st_ino || files[i].dev != s.st_dev || s.st_nlink > 1) continue;
        synced(&files[i]);
        syscall(SYS_close, files[i].fd);
        files[i].used = 0;
    }
}

/* The changes of a folder are durable. */
static void folder_synced(const char *path) {
    size_t n = strlen(path);
    int left = 0;
    for (int i = 0; i < change_count; i++) {
        const char *slash = strrchr(changes[i].path, '/');
        if (slash && (size_t)(slash - changes[i].path) == n && !strncmp(changes[i].path, path, n)) {
            if (changes[i].saved[0]) {
                forget(changes[i].saved);
                remove_path(changes[i].saved);
            }
        } else {
            changes[left++] = changes[i];
        }
    }
    change_count = left;
}

static void take_back_changes(void) {
    int keeps = mode == ALL || !change_count ? 0 : random_next() % (change_count + 1);
    for (int i = change_count - 1; i >= 0; i--) {
        struct change *c = &changes[i];
        if (i >= keeps) {
            if (c->kind == CREATED) remove_path(c->path);
            if (c->kind == RENAMED) move_path(c->path, c->from);
            if (c->saved[0]) move_path(c->saved, c->path);
        } else if (c->saved[0]) {
            remove_path(c->saved);
        }
    }
}

/* ---- the end ---- */

static void take_back_file(int i, uint64_t draw) {
    static const unsigned char zeros[SECTOR];
    struct file *f = &files[i];
    struct stat s;
    if (fstat(f->fd, &s)) return;
    /* A file that was cut is whole again, unless by chance it was not. Where it grew it ends behind the last sector that stayed. */
    off_t end = f->synced_size;
    if (s.st_size < end && mode != ALL && (random_next() & 1)) end = s.st_size;
    for (int b = 0; b < BUCKETS; b++) {
        for (struct sector *k = f->buckets[b]; k; k = k->next) {
            off_t last = (off_t)(k->number + 1) * SECTOR < s.st_size ? (off_t)(k->number + 1) * SECTOR : s.st_size;
            if (last > end && !is_taken_back(i, k->number, draw)) end = last;
        }
    }
    if (end != s.st_size) syscall(SYS_ftruncate, f->fd, end);
    for (int b = 0; b < BUCKETS; b++) {
        for (struct sector *k = f->buckets[b]; k; k = k->next) {
            off_t from = (off_t)k->number * SECTOR, length = end - from < SECTOR ? end - from : SECTOR;
            /* Cut away and whole again: what stood there stands there. */
            if (length <= 0 || !(is_taken_back(i, k->number, draw) || from >= s.st_size)) continue;
            syscall(SYS_pwrite64, f->fd, from < f->synced_size ? k->was : zeros, length, from);
        }
    }
}

static void lose_power(void) {
    uint64_t draw = random_next();
    for (int i = 0; i < FILES; i++)
        if (files[i].used) take_back_file(i, draw);
    take_back_changes();
    for (;;) syscall(SYS_kill, getpid(), SIGKILL);
}

/* One more operation. Called behind a write, so that it is among what may be lost, and before a sync, so that it does not count. */
static void step(void) {
    if (++operations == at && !failure) lose_power();
}

/* With what the next operation fails instead of being done; 0: it does not. */
static int refusal(int needs_space) {
    int in_time = operations + 1 >= at && operations + 1 < at + failures;
    if (!in_time || !failure || (failure == ENOSPC && !needs_space)) return 0;
    operations++;
    return failure;
}

/* ---- what is intercepted ---- */

#define HOLD pthread_mutex_lock(&lock)
#define RELEASE pthread_mutex_unlock(&lock)

static int open_any(int dir, const char *path, int flags, mode_t permissions) {
    if (!folder_length || (flags & O_ACCMODE) == O_RDONLY || (flags & O_TMPFILE) == O_TMPFILE)
        return syscall(SYS_openat, dir, path, flags, permissions);
    HOLD;
    char full[PATH_ROOM];
    struct stat s;
    int existed = !fstatat(dir, path, &s, 0);
    /* Without O_TRUNC first: what is cut is looked at before. */
    int fd = syscall(SYS_openat, dir, path, flags & ~O_TRUNC, permissions), error = errno;
    if (fd >= 0 && path_of(fd, full) && is_watched(full)) {
        watch(fd, full);
        struct file *f = file_of(fd);
        if (f && !existed) {
            change(CREATED, full);
            step();
        }
        if (f && existed && (flags & O_TRUNC) && s.st_size) {
            keep(f, 0, s.st_size);
            syscall(SYS_ftruncate, fd, 0);
            step();
        }
    } else if (fd >= 0 && (flags & O_TRUNC) && existed && S_ISREG(s.st_mode)) {
        syscall(SYS_ftruncate, fd, 0);
    }
    RELEASE;
    errno = error;
    return fd;
}

#define OPEN_MODE                                                                                                                        \
    mode_t permissions = 0;                                                                                                              \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                                                               \
        va_list rest;                                                                                                                    \
        va_start(rest, flags);                                                                                                           \
        permissions = va_arg(rest, mode_t);                                                                                              \
        va_end(rest);                                                                                                                    \
    }

int open(const char *path, int flags, ...) { OPEN_MODE return open_any(AT_FDCWD, path, flags, permissions); }
int open64(const char *path, int flags, ...) { OPEN_MODE return open_any(AT_FDCWD, path, flags, permissions); }
int openat(int dir, const char *path, int flags, ...) { OPEN_MODE return open_any(dir, path, flags, permissions); }
int openat64(int dir, const char *path, int flags, ...) { OPEN_MODE return open_any(dir, path, flags, permissions); }

/* Where a plain write goes. */
static off_t place_of(int fd) {
    struct stat s;
    if (fcntl(fd, F_GETFL) & O_APPEND) return fstat(fd, &s) ? 0 : s.st_size;
    return lseek(fd, 0, SEEK_CUR);
}

static size_t sum(const struct iovec *parts, int count) {
    size_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    return length;
}

#define CHANGE(fd, from, length, needs_space, call)                                                                                      \
    HOLD;                                                                                                                                \
    struct file *f = file_of(fd);                                                                                                        \
    if (!f) {                                                                                                                            \
        RELEASE;                                                                                                                         \
        return call;                                                                                                                     \
    }                                                                                                                                    \
    int error = refusal(needs_space);                                                                                                    \
    if (error) {                                                                                                                         \
        RELEASE;                                                                                                                         \
        errno = error;                                                                                                                   \
        return -1;                                                                                                                       \
    }                                                                                                                                    \
    keep(f, from, length);                                                                                                               \
    long done = call;                                                                                                                    \
    error = errno;                                                                                                                       \
    step();                                                                                                                              \
    RELEASE;                                                                                                                             \
    errno = error;                                                                                                                       \
    return done

ssize_t write(int fd, const void *data, size_t length) { CHANGE(fd, place_of(fd), length, 1, syscall(SYS_write, fd, data, length)); }
ssize_t writev(int fd, const struct iovec *parts, int count) {
    CHANGE(fd, place_of(fd), sum(parts, count), 1, syscall(SYS_writev, fd, parts, count));
}
ssize_t pwrite(int fd, const void *data, size_t length, off_t from) {
    CHANGE(fd, from, length, 1, syscall(SYS_pwrite64, fd, data, length, from));
}
ssize_t pwrite64(int fd, const void *data, size_t length, off64_t from) {
    CHANGE(fd, from, length, 1, syscall(SYS_pwrite64, fd, data, length, from));
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t from) {
    CHANGE(fd, from, sum(parts, count), 1, syscall(SYS_pwritev, fd, parts, count, from, from >> 32));
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t from) {
    CHANGE(fd, from, sum(parts, count), 1, syscall(SYS_pwritev, fd, parts, count, from, from >> 32));
}

/* How much of a file a cut to this size takes away. */
static off_t cut(int fd, off_t size) {
    struct stat s;
    return fstat(fd, &s) ? 0 : s.st_size - size;
}
int ftruncate(int fd, off_t size) { CHANGE(fd, size, cut(fd, size), 0, syscall(SYS_ftruncate, fd, size)); }
int ftruncate64(int fd, off64_t size) { CHANGE(fd, size, cut(fd, size), 0, syscall(SYS_ftruncate, fd, size)); }

static int sync_any(int fd, long number) {
    if (!folder_length) return syscall(number, fd);
    HOLD;
    char path[PATH_ROOM];
    struct stat s;
    struct file *f = file_of(fd);
    int is_folder = !f && !fstat(fd, &s) && S_ISDIR(s.st_mode) && path_of(fd, path) && in_folder(path);
    int refused = f ? refusal(0) : 0;
    if (refused) {
        take_back_file(f - files, random_next());
        synced(f);
        RELEASE;
        errno = refused;
        return -1;
    }
    if (f || is_folder) step();
    int done = syscall(number, fd), error = errno;
    if (f && !done) synced(f);
    if (is_folder && !done) folder_synced(path);
    RELEASE;
    errno = error;
    return done;
}
int fsync(int fd) { return sync_any(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_any(fd, SYS_fdatasync); }

/* The whole path of a name whose folder exists. */
static int whole(int dir, const char *path, char *full) {
    char copy[PATH_ROOM], at_folder[PATH_ROOM];
    if (snprintf(copy, PATH_ROOM, "%s", path) >= PATH_ROOM) return 0;
    char *slash = strrchr(copy, '/');
    const char *name = slash ? slash + 1 : copy;
    if (slash) *slash = 0;
    int fd = syscall(SYS_openat, dir, slash == copy ? "/" : slash ? copy : ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    int ok = path_of(fd, at_folder) && snprintf(full, PATH_ROOM, "%s/%s", at_folder, name) < PATH_ROOM;
    syscall(SYS_close, fd);
    return ok;
}

static int unlink_any(int dir, const char *path, int flags) {
    char full[PATH_ROOM];
    if ((flags & AT_REMOVEDIR) || !whole(dir, path, full) || !is_watched(full)) return syscall(SYS_unlinkat, dir, path, flags);
    HOLD;
    struct change *c = change(UNLINKED, full);
    save(c, full);
    int done = syscall(SYS_unlinkat, dir, path, flags), error = errno;
    if (done) {
        if (c->saved[0]) remove_path(c->saved);
        change_count--;
    } else {
        step();
    }
    RELEASE;
    errno = error;
    return done;
}
int unlink(const char *path) { return unlink_any(AT_FDCWD, path, 0); }
int unlinkat(int dir, const char *path, int flags) { return unlink_any(dir, path, flags); }

static int rename_any(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    char full_from[PATH_ROOM], full_to[PATH_ROOM];
    if (!whole(from_dir, from, full_from) || !whole(to_dir, to, full_to) || !is_watched(full_from) || !is_watched(full_to))
        return syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    HOLD;
    struct change *c = change(RENAMED, full_to);
    snprintf(c->from, PATH_ROOM, "%s", full_from);
    save(c, full_to);
    int done = syscall(SYS_renameat2, from_dir, from, to_dir, to, flags), error = errno;
    if (done) {
        if (c->saved[0]) remove_path(c->saved);
        change_count--;
    } else {
        step();
    }
    RELEASE;
    errno = error;
    return done;
}
int rename(const char *from, const char *to) { return rename_any(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int from_dir, const char *from, int to_dir, const char *to) { return rename_any(from_dir, from, to_dir, to, 0); }
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    return rename_any(from_dir, from, to_dir, to, flags);
}
