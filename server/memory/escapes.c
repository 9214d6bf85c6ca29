/* SPDX-License-Identifier: MIT */
#include "server/memory/escapes.h"

#include "server/request/bucket.h"
#include "server/core.h"
#include "server/connection/loop.h"
#include "server/memory/malloc.h"
#include "server/memory/modules.h"

#include <inttypes.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct note {
	uint32_t offset, size;
	uintptr_t caller;
};

/* Of one bucket: the last ones, in a ring. */
struct notes {
	uint32_t count; /* ever, since its request began */
	bool away;
	struct note note[ESCAPES_BLOCKS_MAX];
};

static struct {
	bool on;
	struct notes *notes; /* by bucket */
	size_t bytes;
	_Atomic uint64_t count;
	_Atomic(const void *) told[ESCAPES_TOLD_MAX]; /* where pointers lay */
	_Atomic uint32_t told_count;
} escapes;

bool escapes_on(void)
{
	return escapes.on;
}

size_t escapes_bytes(void)
{
	return escapes.bytes;
}

uint64_t escapes_count(void)
{
	return atomic_load(&escapes.count);
}

int escapes_open(struct err *err)
{
	escapes.bytes = core.region.bucket_count * sizeof(struct notes);
	void *notes = mmap(NULL, escapes.bytes, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (notes == MAP_FAILED)
		return err_errno(err, "can't map %zu bytes for --debug-escapes", escapes.bytes);
	escapes.notes = notes;
	escapes.on = true;
	return 0;
}

/* -- blocks -------------------------------------------------------------------------- */

void escapes_note(const struct arena *arena, const void *p, size_t size, uintptr_t caller)
{
	const struct bucket *bucket = (const struct bucket *)arena; /* its first member */
	struct notes *notes = &escapes.notes[bucket->index];

	notes->note[notes->count++ % ESCAPES_BLOCKS_MAX] = (struct note){
		(uint32_t)((const unsigned char *)p - arena->base), (uint32_t)size, caller};
}

/* The newest block that p lies in, or NULL. */
static const struct note *note_find(const struct bucket *bucket, const void *p)
{
	const struct notes *notes = &escapes.notes[bucket->index];
	size_t at = (size_t)((const unsigned char *)p - bucket->arena.base);
	uint32_t room = notes->count < ESCAPES_BLOCKS_MAX ? notes->count : ESCAPES_BLOCKS_MAX;

	for (uint32_t i = 0; i < room; i++) {
		const struct note *note =
			&notes->note[(notes->count - 1 - i) % ESCAPES_BLOCKS_MAX];
		if (at - note->offset < note->size)
			return note;
	}
	return NULL;
}

/* -- the search ---------------------------------------------------------------------- */

struct search {
	const struct bucket *bucket;
	struct pail_request *r;
	size_t low, high; /* offsets in the arena that are the request's own */
	uint32_t found;
	const char *kind;
};

static bool told_before(const void *where)
{
	uint32_t count = atomic_load(&escapes.told_count);

	for (uint32_t i = 0; i < count && i < ESCAPES_TOLD_MAX; i++)
		if (atomic_load(&escapes.told[i]) == where)
			return true;
	uint32_t next = atomic_fetch_add(&escapes.told_count, 1);
	if (next >= ESCAPES_TOLD_MAX)
		return true;
	atomic_store(&escapes.told[next], where);
	return false;
}

static void search_tell(struct search *search, const uintptr_t *where, const struct note *note)
{
	char site[80], holder[80], text[512];

	modules_place(note->caller, site, sizeof(site));
	modules_place((uintptr_t)where, holder, sizeof(holder));
	if (search->found++ == 0 && !search->r->detail[0])
		snprintf(search->r->detail, sizeof(search->r->detail), "escape from %.80s",
			 site);
	if (told_before(where))
		return;
	int length = snprintf(text, sizeof(text),
			      "pail serve: escape: %s %.100s: %u bytes that %s allocated are "
			      "held at %s (%s) beyond the request\n",
			      search->r->method, search->r->path, note->size, site, holder,
			      search->kind);
	if (write(STDERR_FILENO, text, (size_t)length) < 0)
		return;
}

__attribute__((no_sanitize_address)) static void search_range(struct search *search,
							      const void *low, size_t bytes,
							      const char *kind)
{
	const uintptr_t *word = (const uintptr_t *)(((uintptr_t)low + 7) & ~(uintptr_t)7);
	const uintptr_t *end = (const uintptr_t *)((uintptr_t)low + bytes);
	uintptr_t base = (uintptr_t)search->bucket->arena.base + search->low;
	size_t span = search->high - search->low;

	search->kind = kind;
	for (; word + 1 <= end; word++) {
		if (*word - base >= span)
			continue;
		const struct note *note = note_find(search->bucket, (const void *)*word);
		if (note)
			search_tell(search, word, note);
	}
}

static int search_module(struct dl_phdr_info *info, size_t size, void *context)
{
	struct search *search = context;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		if (ph->p_type == PT_TLS && info->dlpi_tls_data)
			search_range(search, info->dlpi_tls_data, ph->p_memsz,
				     info->dlpi_name[0] ? info->dlpi_name : "thread-local");
		/* The core's own data have none; the table of what was told is there. */
		if (ph->p_type == PT_LOAD && ph->p_flags & PF_W && info->dlpi_name[0])
			search_range(search, (const void *)(info->dlpi_addr + ph->p_vaddr),
				     ph->p_memsz, "data");
	}
	return 0;
}

/* -- a bucket's round ------------------------------------------------------------------ */

static void bucket_access(const struct bucket *bucket, int access)
{
	if (mprotect(bucket->arena.base, bucket->arena.size_bytes, access) < 0)
		escapes.notes[bucket->index].away = false;
}

void escapes_begin(struct bucket *bucket)
{
	struct notes *notes = &escapes.notes[bucket->index];

	if (notes->away)
		bucket_access(bucket, PROT_READ | PROT_WRITE);
	notes->away = false;
	notes->count = 0;
	bucket_clear(bucket);
}

void escapes_end(struct bucket *bucket, struct pail_request *r)
{
	struct search search = {.bucket = bucket, .r = r, .high = bucket->arena.peak_bytes};
	const void *system;
	size_t bytes = malloc_system_used(&system);

	if (bucket->snapshot_arena)
		search.low = bucket->snapshot_arena->top_bytes;
	if (search.high > search.low) {
		dl_iterate_phdr(search_module, &search);
		search_range(&search, system, bytes, "system region");
	}
	atomic_fetch_add(&escapes.count, search.found);
	escapes.notes[bucket->index].away = true;
	bucket_access(bucket, PROT_NONE);
}

bool escapes_describe(const void *p, char *text, size_t size)
{
	if (!escapes.on || !region_in_arenas(&core.region, p))
		return false;
	for (uint32_t i = 0; i < core.region.bucket_count; i++) {
		const struct bucket *bucket =
			(const struct bucket *)region_meta(&core.region, i);
		if (!arena_owns(&bucket->arena, p) || !escapes.notes[i].away)
			continue;
		const struct note *note = note_find(bucket, p);
		char site[72] = "?";
		if (note)
			modules_place(note->caller, site, sizeof(site));
		snprintf(text, size, "freed with its request: %s", site);
		return true;
	}
	return false;
}
