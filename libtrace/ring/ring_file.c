/* SPDX-License-Identifier: MIT */
#include "libtrace/ring/ring_file.h"

#include "libtrace/ring/ring_guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { DEFAULT_BYTES = 64 << 20, DEFAULT_STACKS = 1 << 20 };
#define DEFAULT_WAIT_NS UINT64_C(2000000000)

/* Whether all CPUs share one TSC of constant rate: the kernel has tested that
 * if it keeps time by it. */
static bool tsc_trusted(void)
{
#if defined(__x86_64__)
	char name[16] = "";
	FILE *source =
		fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");

	if (!source)
		return false;
	bool is_tsc = fgets(name, sizeof(name), source) && strncmp(name, "tsc", 3) == 0;
	fclose(source);
	return is_tsc;
#else
	return false;
#endif
}

static uint32_t flags_of(const struct ring_options *options)
{
	return (options->on_full == RING_DROP ? REGION_DROP : 0u) |
	       (options->light ? 0u : REGION_EXACT) |
	       (options->conditions ? REGION_CONDITIONS : 0u) |
	       (options->mappings ? REGION_MAPPINGS : 0u) |
	       (options->stacks ? REGION_STACKS : 0u) |
	       (options->pointers ? REGION_POINTERS : 0u) |
	       (options->pools ? REGION_POOLS : 0u) | (options->paint ? REGION_PAINT : 0u) |
	       (options->cpu ? REGION_CPU : 0u) | (options->no_exec ? 0u : REGION_FOLLOW) |
	       (options->stamped ? REGION_STAMPED : 0u) |
	       (tsc_trusted() && !options->stamped ? REGION_TSC : 0u);
}

/* A folder of our own with one file of an unguessable name. Gives its
 * descriptor, or -1 with errno. */
static int make_file(struct ring_file *file, const char *parent, bool shared)
{
	unsigned char random[16];

	if (snprintf(file->folder, sizeof(file->folder), "%s/pail-XXXXXX", parent) >=
	    (int)sizeof(file->folder)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return -1;
	if (!mkdtemp(file->folder)) {
		*file->folder = 0;
		return -1;
	}
	shared = shared || geteuid() == 0;
	if (shared && chmod(file->folder, 0711) != 0)
		return -1;
	int length = snprintf(file->path, sizeof(file->path), "%s/ring-", file->folder);
	for (size_t i = 0; i < sizeof(random); i++)
		length += snprintf(file->path + length, sizeof(file->path) - (size_t)length,
				   "%02x", random[i]);
	int fd = open(file->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd >= 0 && shared && fchmod(fd, 0666) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* -- what killed recorders left --------------------------------------------------- */

enum { YOUNG_S = 10 }; /* a folder so new may not have its lock yet */

/* Removes the ring in `folder` if nobody holds its lock. */
static void sweep_folder(int folder)
{
	DIR *list = fdopendir(folder);

	if (!list) {
		close(folder);
		return;
	}
	for (struct dirent *entry; (entry = readdir(list));) {
		if (strncmp(entry->d_name, "ring-", 5) != 0)
			continue;
		int fd = openat(folder, entry->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0)
			continue;
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			unlinkat(folder, entry->d_name, 0);
		close(fd);
	}
	closedir(list);
}

static void sweep(const char *parent)
{
	DIR *list = opendir(parent);
	struct stat status;

	if (!list)
		return;
	for (struct dirent *entry; (entry = readdir(list));) {
		if (strncmp(entry->d_name, "pail-", 5) != 0 || strlen(entry->d_name) != 11)
			continue;
		int folder = openat(dirfd(list), entry->d_name,
				    O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (folder < 0)
			continue;
		if (fstat(folder, &status) != 0 || status.st_uid != geteuid() ||
		    time(NULL) - status.st_mtime < YOUNG_S) {
			close(folder);
			continue;
		}
		sweep_folder(folder);
		unlinkat(dirfd(list), entry->d_name, AT_REMOVEDIR); /* only if empty */
	}
	closedir(list);
}

/* -- the file ----------------------------------------------------------------------- */

void ring_file_remove(struct ring_file *file)
{
	int saved = errno;

	ring_guard_remove(file->guard);
	file->guard = -1;
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;

	if (file->region)
		munmap(file->region, file->bytes);
	file->region = NULL;
	if (*file->path)
		unlink(file->path);
	if (*file->folder)
		rmdir(file->folder);
	*file->path = *file->folder = 0;
	errno = saved;
}

/* Makes and maps the file under `parent`. 0, or -1 with errno. */
static int map_file(struct ring_file *file, const char *parent, bool shared)
{
	sweep(parent);
	int fd = make_file(file, parent, shared);
	int error = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 ? errno : 0;

	/* All of it now: a page that cannot be had later would be a SIGBUS in the
	 * program that is being recorded. */
	if (!error)
		error = posix_fallocate(fd, 0, (off_t)file->bytes);
	if (!error) {
		void *at = mmap(NULL, file->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (at == MAP_FAILED)
			error = errno;
		else
			file->region = at;
	}
	if (!error && (file->guard = ring_guard_add(file->region, file->bytes)) < 0)
		error = errno;
	file->fd = fd;
	if (error)
		ring_file_remove(file);
	errno = error;
	return error ? -1 : 0;
}

/* A power of two, as the table's hash wants it. */
static uint32_t stack_entries(const struct ring_options *options)
{
	uint32_t entries = 1024;

	while (entries < STACK_ENTRIES_MAX &&
	       entries < (options->stack_entries ? options->stack_entries : DEFAULT_STACKS))
		entries *= 2;
	return entries;
}

int ring_file_create(struct ring_file *file, const struct ring_options *options,
		     struct err *err)
{
	uint64_t want = options->bytes ? options->bytes : DEFAULT_BYTES;
	uint64_t count = want / REGION_CHUNK_BYTES;

	if (count < REGION_CHUNKS_MIN)
		count = REGION_CHUNKS_MIN;
	if (count > REGION_CHUNKS_MAX)
		count = REGION_CHUNKS_MAX;
	uint64_t offset = sizeof(struct region) + count * sizeof(struct chunk);
	offset = (offset + REGION_CHUNK_BYTES - 1) / REGION_CHUNK_BYTES * REGION_CHUNK_BYTES;
	memset(file, 0, sizeof(*file));
	file->fd = file->guard = -1;
	uint64_t stacks_offset = offset + count * REGION_CHUNK_BYTES;
	uint32_t entries = options->stacks ? stack_entries(options) : 0;
	file->bytes = stacks_offset + entries * sizeof(struct stack_entry);
	const char *parent = options->folder ? options->folder : "/dev/shm";
	int status = map_file(file, parent, options->shared);
	if (status != 0 && !options->folder) {
		const char *temporary = getenv("TMPDIR");
		status = map_file(file, temporary && *temporary == '/' ? temporary : "/tmp",
				  options->shared);
	}
	if (status != 0)
		return err_errno(
			err,
			"cannot make %zu bytes of shared memory in '%s' (a smaller ring or "
			"another folder may do)",
			file->bytes, parent);
	struct region *region = file->region;
	struct stat self;
	region->version = REGION_VERSION;
	region->flags = flags_of(options);
	region->chunk_count = (uint32_t)count;
	region->chunks_offset = (uint32_t)offset;
	region->stacks_offset = stacks_offset;
	region->stack_entries = entries;
	region->wait_max_ns = options->wait_max_ns ? options->wait_max_ns : DEFAULT_WAIT_NS;
	region->pid_namespace =
		stat("/proc/self/ns/pid", &self) == 0 ? (uint64_t)self.st_ino : 0;
	for (size_t i = 0; i < count; i++)
		region->free_map[i / 64] |= UINT64_C(1) << (i % 64);
	region->magic = REGION_MAGIC;
	return 0;
}

/* -- the program's environment ------------------------------------------------- */

static bool entry_is(const char *entry, const char *name)
{
	size_t length = strlen(name);

	return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

char **ring_environment(const struct ring *ring, char *const environment[],
			const char *library_path)
{
	const char *path = ring_path(ring), *preload = NULL;
	size_t count = 0, at = 0;

	for (; environment[count]; count++)
		if (entry_is(environment[count], "LD_PRELOAD"))
			preload = environment[count] + strlen("LD_PRELOAD=");
	size_t text_bytes = strlen("LD_PRELOAD=") + strlen(library_path) + 1 +
			    (preload ? strlen(preload) : 0) + 1 + strlen(REGION_ENV "=") +
			    strlen(path) + 1;
	char **block = malloc((count + 3) * sizeof(*block) + text_bytes);
	if (!block)
		return NULL;
	char *text = (char *)(block + count + 3), *end = text + text_bytes;
	for (size_t i = 0; i < count; i++)
		if (!entry_is(environment[i], "LD_PRELOAD") &&
		    !entry_is(environment[i], REGION_ENV))
			block[at++] = environment[i];
	block[at++] = text;
	text += 1 + snprintf(text, (size_t)(end - text), "LD_PRELOAD=%s%s%s", library_path,
			     preload && *preload ? ":" : "", preload ? preload : "");
	block[at++] = text;
	snprintf(text, (size_t)(end - text), REGION_ENV "=%s", path);
	block[at] = NULL;
	return block;
}
