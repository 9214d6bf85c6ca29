/* SPDX-License-Identifier: MIT */
#include "base/file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The folder of path, opened, and where its last component starts. */
static int open_folder(const char *path, const char **base, struct err *err)
{
	const char *slash = strrchr(path, '/');
	*base = slash ? slash + 1 : path;
	if (**base == '\0')
		return err_set(err, "'%s' names a folder; give a file's name", path);
	char folder[PATH_MAX];
	size_t length = slash ? (size_t)(slash - path) : 1;
	if (slash == path)
		length = 1; /* "/name" */
	if (length >= sizeof(folder)) {
		errno = ENAMETOOLONG;
		return err_errno(err, "cannot write '%s'", path);
	}
	memcpy(folder, slash ? path : ".", length);
	folder[length] = '\0';
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_errno(err, "cannot write '%s'", path);
	return fd;
}

/* A fresh file beside the target. O_EXCL neither follows a symlink that
 * someone planted nor opens a file of theirs. */
static int create_neighbour(int folder, const char *base, char *name, size_t name_size,
			    mode_t mode)
{
	for (int attempt = 0; attempt < 100; attempt++) {
		uint64_t random;
		if (getrandom(&random, sizeof(random), 0) != sizeof(random))
			return -1;
		/* A long name is cut: the neighbour's must fit NAME_MAX as well. */
		snprintf(name, name_size, ".%.200s.%016llx", base, (unsigned long long)random);
		int fd = openat(folder, name,
				O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
		if (fd >= 0 || errno != EEXIST)
			return fd;
	}
	return -1;
}

/* -- what killed writers left -------------------------------------------------------- */

enum { LEFT_AFTER_S = 60, NEIGHBOUR_LETTERS = 16 };

static bool is_neighbour(const char *name, const char *base, size_t letters)
{
	char stem[NAME_MAX + 1];
	int length = snprintf(stem, sizeof(stem), ".%.200s.", base);
	if (strncmp(name, stem, (size_t)length) != 0 || strlen(name + length) != letters)
		return false;
	for (const char *c = name + length; *c; c++)
		if (!isalnum((unsigned char)*c))
			return false;
	return true;
}

/* Nobody writes it any more; SQLite locks what it writes. */
static bool is_left(int folder, const char *name)
{
	struct stat st;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode) ||
	    st.st_uid != geteuid() || time(NULL) - st.st_mtime < LEFT_AFTER_S)
		return false;
	int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return false;
	bool left = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
	close(fd);
	return left;
}

static void sweep(int folder, const char *base, size_t letters)
{
	int again = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *list = again >= 0 ? fdopendir(again) : NULL;
	if (!list) {
		if (again >= 0)
			close(again);
		return;
	}
	for (struct dirent *entry; (entry = readdir(list));)
		if (is_neighbour(entry->d_name, base, letters) &&
		    is_left(folder, entry->d_name))
			unlinkat(folder, entry->d_name, 0);
	closedir(list);
}

void file_sweep(const char *path, size_t letters)
{
	const char *base;
	struct err ignored;
	int folder = open_folder(path, &base, &ignored);
	if (folder < 0)
		return;
	sweep(folder, base, letters);
	close(folder);
}

/* -- writing ------------------------------------------------------------------------- */

static bool write_all(int fd, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t n = write(fd, bytes, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		bytes += n;
		length -= (size_t)n;
	}
	return true;
}

int file_write_atomic(const char *path, const void *bytes, size_t length, unsigned mode,
		      struct err *err)
{
	const char *base;
	int folder = open_folder(path, &base, err);
	if (folder < 0)
		return -1;

	struct stat st;
	int result = -1;
	if (fstatat(folder, base, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode)) {
		/* A rename would replace a device, a pipe or a symlink by a file. */
		err_set(err, "cannot write '%s': it exists and is no regular file", path);
		close(folder);
		return -1;
	}
	sweep(folder, base, NEIGHBOUR_LETTERS);
	char name[NAME_MAX + 1];
	int fd = create_neighbour(folder, base, name, sizeof(name), (mode_t)mode);
	if (fd < 0) {
		err_errno(err, "cannot write '%s': no new file in its folder", path);
		close(folder);
		return -1;
	}
	bool written = write_all(fd, bytes, length) && fsync(fd) == 0;
	int saved = errno;
	/* close() may be where a network file system tells of a full disk */
	if (close(fd) < 0 && written) {
		written = false;
		saved = errno;
	}
	errno = saved;
	if (written && renameat(folder, name, folder, base) == 0) {
		/* Not every file system can sync a folder; the data itself is safe. */
		fsync(folder);
		result = 0;
	} else {
		err_errno(err, "cannot write '%s'", path);
		unlinkat(folder, name, 0);
	}
	close(folder);
	return result;
}

int file_read_all(const char *path, size_t limit, char **bytes, size_t *length, struct err *err)
{
	/* O_NONBLOCK: a FIFO must be refused, not waited for. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_errno(err, "cannot read '%s'", path);
	struct stat st;
	char *text = NULL;
	if (fstat(fd, &st) < 0) {
		err_errno(err, "cannot read '%s'", path);
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(err, "cannot read '%s': it is no regular file", path);
		goto fail;
	}
	if ((uint64_t)st.st_size > limit) {
		err_set(err, "cannot read '%s': its %lld bytes are more than the limit of %zu",
			path, (long long)st.st_size, limit);
		goto fail;
	}
	/* One byte more than its size, to notice a file that grows meanwhile. */
	size_t capacity = (size_t)st.st_size + 1, used = 0;
	text = malloc(capacity + 1);
	if (!text) {
		err_errno(err, "cannot read '%s'", path);
		goto fail;
	}
	while (used < capacity) {
		ssize_t n = read(fd, text + used, capacity - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_errno(err, "cannot read '%s'", path);
			goto fail;
		}
		if (n == 0)
			break;
		used += (size_t)n;
	}
	if (used == capacity) {
		err_set(err, "cannot read '%s': it grew while it was read; try again", path);
		goto fail;
	}
	close(fd);
	text[used] = '\0';
	*bytes = text;
	*length = used;
	return 0;
fail:
	free(text);
	close(fd);
	return -1;
}
