/* SPDX-License-Identifier: MIT */
#include "tests/bench/hot_ring.h"

#include "libtrace/ring/ring.h"
#include "libtrace/shim/attach.h"
#include "libtrace/shim/depth.h"
#include "libtrace/shim/stack.h"
#include "libtrace/shim/writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <unistd.h>

/* -- what the rest of the shim would do -------------------------------------------- */

struct region *region;
uint32_t region_mapped, region_mode;
union process_page process_page __attribute__((aligned(4096)));

bool process_start(void)
{
	return false;
}

void attach_thread(struct writer *w)
{
	(void)w;
}

void depth_event(enum event_kind kind)
{
	(void)kind;
}

void stack_leave(void)
{
}

/* -- the ring ------------------------------------------------------------------------ */

static bool attach(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0)
		return false;
	void *at = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return false;
	region = at;
	region_mapped = region->chunk_count;
	region_mode = region->flags;
	this_process.pid = (int32_t)getpid();
	this_process.serial = atomic_fetch_add(&region->next_process, 1) + 1;
	atomic_store(&this_process.state, PROCESS_LIVE);
	atomic_store(&this_process.alive, 1);
	return true;
}

int hot_ring(long events)
{
	const struct ring_options options = {0};
	struct ring *ring;
	struct err err;
	uint64_t dropped;

	if (events > HOT_RING_EVENTS_MAX || ring_create(&options, &ring, &err) != 0)
		return 3;
	if (!attach(ring_path(ring))) {
		ring_free(ring);
		return 3;
	}
	writer_reset(&writer);
	for (long i = 0; i < events; i += 2) {
		const void *block = (const void *)((uintptr_t)(i + 1) << 5); /* NOLINT */

		write_sized(EVENT_ALLOC, 0, block, 100, 0);
		write_bare(EVENT_FREE, block);
	}
	dropped = atomic_load(&region->dropped);
	ring_free(ring);
	return dropped == 0 ? 0 : 3;
}
