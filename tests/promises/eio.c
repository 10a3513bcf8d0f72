/* Preloaded by R08_disk.py: while the file named by LLORCH_EIO exists, what it says fails as on a
 * dying disk: "sync" fsync and fdatasync, "write" writes to plain files. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int dying(char what) {
  const char *const mark = getenv("LLORCH_EIO");
  if (mark == NULL) return 0;
  const int fd = open(mark, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char first = 0;
  const int said = read(fd, &first, 1) == 1 && first == what;
  close(fd);
  return said;
}

static int plain_file(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

static int sync_by(const char *name, int fd) {
  if (dying('s')) {
    errno = EIO;
    return -1;
  }
  int (*const real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  return real(fd);
}

int fsync(int fd) { return sync_by("fsync", fd); }
int fdatasync(int fd) { return sync_by("fdatasync", fd); }

ssize_t write(int fd, const void *bytes, size_t size) {
  if (plain_file(fd) && dying('w')) {
    errno = EIO;
    return -1;
  }
  ssize_t (*const real)(int, const void *, size_t) =
      (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  return real(fd, bytes, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  if (plain_file(fd) && dying('w')) {
    errno = EIO;
    return -1;
  }
  ssize_t (*const real)(int, const struct iovec *, int) =
      (ssize_t (*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
  return real(fd, parts, count);
}
