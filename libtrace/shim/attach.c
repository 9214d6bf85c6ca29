/* SPDX-License-Identifier: MIT */
#include "libtrace/shim/attach.h"

#include "libtrace/shim/memory.h"
#include "libtrace/shim/real.h"
#include "libtrace/shim/stack.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct region *region;
uint32_t region_mapped;
uint32_t region_mode;
union process_page process_page __attribute__((aligned(4096)));

char attach_ring[sizeof(REGION_ENV) + REGION_PATH_MAX + 1];
char attach_preload[1024 + 16];

static bool tried;          /* to attach, in this image */
static uint32_t our_serial; /* its serial, but left standing in a forked child */
static bool our_foreign;
static uint32_t our_namespace;
static pthread_key_t exit_key;
static bool exit_key_made;

/* -- threads -------------------------------------------------------------- */

/* Destructors of other keys may still free; so come again in each round that
 * the thread library grants, and leave in the last. */
static void thread_ends(void *value)
{
	struct writer *w = value;

	if (w != &writer)
		return;
	if (++w->exit_round < 4)
		pthread_setspecific(exit_key, w);
	else
		writer_leave(w);
}

void attach_thread(struct writer *w)
{
	if (exit_key_made && !w->exit_round)
		pthread_setspecific(exit_key, w);
}

/* -- the region ----------------------------------------------------------- */

/* How many bytes of the region this process may map: an address space limit
 * must leave the program what it had planned with. */
static size_t affordable(size_t bytes)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	    limit.rlim_cur / 16 < bytes)
		return limit.rlim_cur / 16;
	return bytes;
}

static bool region_sound(const struct region *found, size_t bytes)
{
	return found->magic == REGION_MAGIC && found->version == REGION_VERSION &&
	       found->chunk_count <= REGION_CHUNKS_MAX &&
	       found->chunks_offset >=
		       sizeof(*found) + found->chunk_count * sizeof(struct chunk) &&
	       found->chunks_offset + (uint64_t)found->chunk_count * REGION_CHUNK_BYTES <=
		       bytes;
}

static struct region *region_map(const char *path)
{
	/* Plain system calls: our own hooks stand in front of the functions. */
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
	struct stat status;
	struct region *found = NULL;

	if (fd < 0)
		return NULL;
	if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) &&
	    (size_t)status.st_size > sizeof(struct region)) {
		size_t bytes = (size_t)status.st_size, some = affordable(bytes) & ~(size_t)4095;
		void *at = some > sizeof(struct region)
				   ? (void *)syscall(SYS_mmap, NULL, some,
						     PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
				   : MAP_FAILED;
		if (at != MAP_FAILED) {
			found = at;
			size_t room = some - (found->chunks_offset < some ? found->chunks_offset
									  : some);
			region_mapped = (uint32_t)(room / REGION_CHUNK_BYTES);
			if (region_mapped > found->chunk_count)
				region_mapped = found->chunk_count;
			if (!region_sound(found, bytes) || region_mapped < 8) {
				syscall(SYS_munmap, at, some);
				found = NULL;
			}
		}
	}
	syscall(SYS_close, fd);
	return found;
}

/* Is our pid what the recorder calls us by? Where /proc does not say, assume
 * not: then the reader does not judge our death by it. */
static void find_namespace(void)
{
	struct stat status;
	bool known = stat("/proc/self/ns/pid", &status) == 0;

	our_foreign = !known || (uint64_t)status.st_ino != region->pid_namespace;
	our_namespace = our_foreign && known ? (uint32_t)status.st_ino : 0;
}

static void remember_environment(const char *path)
{
	Dl_info self;

	strcpy(attach_ring, REGION_ENV "=");
	strcat(attach_ring, path);
	/* Our own path, as the loader knows it, even if the variable is gone. */
	if (dladdr((void *)remember_environment, &self) && self.dli_fname &&
	    self.dli_fname[0] == '/' && strlen(self.dli_fname) < 1024) {
		strcpy(attach_preload, "LD_PRELOAD=");
		strcat(attach_preload, self.dli_fname);
	}
}

/* Programs that this one executes find no ring: the library does nothing there. */
static void leave_alone(void)
{
	char **to = environ;

	for (char **from = environ; *from; from++)
		if (strncmp(*from, REGION_ENV "=", sizeof(REGION_ENV)) != 0)
			*to++ = *from;
	*to = NULL;
}

static bool attach(void)
{
	if (!environ)
		return false; /* too early: libc has not begun; asked again */
	tried = true;
	const char *path = getenv(REGION_ENV);
	if (!path || path[0] != '/' || strlen(path) > REGION_PATH_MAX)
		return false;
	region = region_map(path);
	if (!region)
		return false;
	remember_environment(path);
	if (!(region->flags & REGION_FOLLOW))
		leave_alone();
	memory_attach();
	uint32_t mode = region->flags;
	if (mode & REGION_STACKS && !stack_attach(path))
		mode &= ~(uint32_t)REGION_STACKS;
	region_mode = mode;
	find_namespace();
	exit_key_made = pthread_key_create(&exit_key, thread_ends) == 0;
#ifndef MADV_WIPEONFORK
#	define MADV_WIPEONFORK 18
#endif
	/* If the kernel cannot, the hooks of fork clear it. */
	(void)!madvise(&process_page, sizeof(process_page), MADV_WIPEONFORK);
	return true;
}

/* -- processes ------------------------------------------------------------ */

void process_forget(void)
{
	memset(&process_page, 0, sizeof(process_page));
}

bool process_start(void)
{
	uint32_t expected = PROCESS_NEW;
	int saved = errno;

	if (!atomic_compare_exchange_strong(&this_process.state, &expected, PROCESS_BUSY))
		return expected == PROCESS_LIVE;
	bool forked = region != NULL;
	if (!forked && (tried || !attach())) {
		atomic_store(&this_process.state, tried ? PROCESS_INERT : PROCESS_NEW);
		errno = saved;
		return false;
	}
	int32_t ppid = (int32_t)getppid();
	this_process.parent = forked ? our_serial : 0;
	this_process.parent_pid = ppid;
	this_process.forked = forked;
	this_process.pid = (int32_t)getpid();
	if (forked && ppid == 0) { /* the first of a namespace */
		find_namespace();
		our_foreign = true;
	}
	this_process.foreign = our_foreign;
	this_process.namespace = our_namespace;
	this_process.serial = our_serial = atomic_fetch_add(&region->next_process, 1) + 1;
	writer_reset(&writer);
	atomic_store(&this_process.state, PROCESS_LIVE);
	atomic_store(&this_process.alive, 1);
	errno = saved;
	return true;
}

__attribute__((constructor(101))) static void begin(void)
{
	real_resolve();
	writer_announce();
}

__attribute__((destructor(101))) static void end(void)
{
	if (atomic_load(&this_process.alive))
		write_long(EVENT_PROCESS_EXIT, 0, 0, 0, 0, NULL, 0);
}
