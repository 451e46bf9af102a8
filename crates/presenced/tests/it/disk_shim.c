/* A disk that is full or hangs, for one process: loaded before the C library, it stands in front of the calls the store
 * writes with. Whoever tests says what the disk is like by files in the folder that PRESENCED_TEST_DISK names:
 *
 *   full   a write that would make a file longer is refused with ENOSPC, as file systems do: its first half still fits
 *   slow   a sync does not return before this file is gone
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int is_so(const char *what) {
    const char *folder = getenv("PRESENCED_TEST_DISK");
    char path[PATH_MAX];
    int saved = errno;
    if (folder == NULL || snprintf(path, sizeof path, "%s/%s", folder, what) >= (int)sizeof path) {
        return 0;
    }
    int found = access(path, F_OK) == 0;
    errno = saved;
    return found;
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
    static ssize_t (*next)(int, const void *, size_t, off64_t);
    if (next == NULL) {
        *(void **)&next = dlsym(RTLD_NEXT, "pwrite64");
    }
    struct stat64 now;
    if (is_so("full") && fstat64(file, &now) == 0 && S_ISREG(now.st_mode) && offset + (off64_t)count > now.st_size) {
        if (count < 2 || offset + (off64_t)(count / 2) > now.st_size + 4096) {
            errno = ENOSPC;
            return -1;
        }
        return next(file, bytes, count / 2, offset);
    }
    return next(file, bytes, count, offset);
}

int fdatasync(int file) {
    static int (*next)(int);
    if (next == NULL) {
        *(void **)&next = dlsym(RTLD_NEXT, "fdatasync");
    }
    while (is_so("slow")) {
        usleep(2000);
    }
    return next(file);
}
