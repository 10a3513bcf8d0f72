/* Preloaded by R08_disk.py: while the file named by LLORCH_EIO exists, fsync and fdatasync fail as
 * on a dying disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int dying(void) {
  const char *const mark = getenv("LLORCH_EIO");
  return mark != NULL && access(mark, F_OK) == 0;
}

static int sync_by(const char *name, int fd) {
  if (dying()) {
    errno = EIO;
    return -1;
  }
  int (*const real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  return real(fd);
}

int fsync(int fd) { return sync_by("fsync", fd); }
int fdatasync(int fd) { return sync_by("fdatasync", fd); }
