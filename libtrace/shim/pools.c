/* SPDX-License-Identifier: MIT */
/*
 * APR's pools, block by block. A pool takes memory in pieces of 8 KiB, hands
 * it out bit by bit and takes it back all at once, so to malloc a request that
 * makes 15,000 blocks looks like one that makes four. Here each block is an
 * ALLOC with its pool's name; that they go is said by the pool (event.h), and
 * the reader makes FREEs of it (libtrace/attribution/pools.h).
 *
 * libapr calls itself through its PLT, so apr_pstrdup() and the rest of what
 * allocates from a pool come by here as well, except apr_pvsprintf(), which
 * writes to the pool's end directly. What a pool takes from malloc for itself
 * meanwhile is marked, or it would count twice.
 *
 * The library may have been loaded where dlsym(RTLD_NEXT) does not look (by
 * dlopen(), without RTLD_GLOBAL): then its caller's own list is asked.
 */
#include "libtrace/shim/real.h"
#include "libtrace/shim/stack.h"

#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <string.h>

struct apr_pool_t;
struct apr_allocator_t;
typedef int abort_function(int);

EXPORT void *apr_palloc(struct apr_pool_t *pool, size_t bytes);
EXPORT void *apr_pcalloc(struct apr_pool_t *pool, size_t bytes);
EXPORT char *apr_pvsprintf(struct apr_pool_t *pool, const char *format, va_list list);
EXPORT char *apr_psprintf(struct apr_pool_t *pool, const char *format, ...);
EXPORT int apr_pool_create_ex(struct apr_pool_t **pool, struct apr_pool_t *parent,
			      abort_function *on_abort, struct apr_allocator_t *allocator);
EXPORT int apr_pool_create_unmanaged_ex(struct apr_pool_t **pool, abort_function *on_abort,
					struct apr_allocator_t *allocator);
EXPORT void apr_pool_clear(struct apr_pool_t *pool);
EXPORT void apr_pool_destroy(struct apr_pool_t *pool);

static struct {
	void *(*palloc)(struct apr_pool_t *, size_t);
	void *(*pcalloc)(struct apr_pool_t *, size_t);
	char *(*pvsprintf)(struct apr_pool_t *, const char *, va_list);
	int (*create_ex)(struct apr_pool_t **, struct apr_pool_t *, abort_function *,
			 struct apr_allocator_t *);
	int (*create_unmanaged_ex)(struct apr_pool_t **, abort_function *,
				   struct apr_allocator_t *);
	void (*clear)(struct apr_pool_t *);
	void (*destroy)(struct apr_pool_t *);
} real;
static _Atomic bool found;

static void *look_up(const char *name, void *caller)
{
	void *place = dlsym(RTLD_NEXT, name);
	struct link_map *map = NULL;
	Dl_info info;

	if (place || !dladdr1(caller, &info, (void **)&map, RTLD_DL_LINKMAP) || !map ||
	    !*map->l_name)
		return place;
	void *handle = dlopen(map->l_name, RTLD_NOLOAD | RTLD_LAZY);
	if (handle) {
		place = dlsym(handle, name);
		dlclose(handle);
	}
	return place;
}

static void resolve(void *caller)
{
	int saved = errno;
#define FIND(member, name)                                   \
	do {                                                 \
		void *place = look_up(name, caller);         \
		memcpy(&real.member, &place, sizeof(place)); \
	} while (0)
	/* Threads that come at the same time find the same. */
	FIND(palloc, "apr_palloc");
	FIND(pcalloc, "apr_pcalloc");
	FIND(pvsprintf, "apr_pvsprintf");
	FIND(create_ex, "apr_pool_create_ex");
	FIND(create_unmanaged_ex, "apr_pool_create_unmanaged_ex");
	FIND(clear, "apr_pool_clear");
	FIND(destroy, "apr_pool_destroy");
#undef FIND
	errno = saved;
	atomic_store_explicit(&found, true, memory_order_release);
}

#define RESOLVE()                                                                  \
	do {                                                                       \
		if (UNLIKELY(!atomic_load_explicit(&found, memory_order_acquire))) \
			resolve(__builtin_return_address(0));                      \
	} while (0)

/* False: not asked for, or the pool is calling itself. */
static inline bool outermost(void)
{
	return region_mode & REGION_POOLS && !writer.pooled;
}

/* Both events at once: no other can come between, and none is lost alone. */
PART_OF_HOOK void put_pooled(const struct apr_pool_t *pool, const void *p, size_t bytes)
{
	struct writer *w = &writer;
	uint64_t head = event_head(EVENT_ALLOC, 0, (uintptr_t)p);
	uint64_t word = (uint64_t)bytes & (~UINT64_C(0) >> 8);

	w->pooled = 0;
	if (!p || bytes == 0)
		return;
	if (region_mode & REGION_STACKS && bytes < UINT64_C(1) << EVENT_SIZE_BITS) {
		uint32_t stack = stack_take(__builtin_frame_address(0));
		if (stack) {
			head = event_head(EVENT_ALLOC_AT, 0, (uintptr_t)p);
			word = (uint64_t)stack << EVENT_SIZE_BITS | bytes;
		}
	}
	writer_touch(w);
	uint64_t *event = writer_begin(w, 24);
	if (UNLIKELY(!event))
		return;
	event[0] = event_head(EVENT_POOL, 0, (uintptr_t)pool);
	event[1] = head;
	event[2] = word;
	writer_end(w);
}

EXPORT void *apr_palloc(struct apr_pool_t *pool, size_t bytes)
{
	RESOLVE();
	if (!outermost())
		return real.palloc(pool, bytes);
	writer.pooled = EVENT_POOLED;
	void *p = real.palloc(pool, bytes);
	put_pooled(pool, p, bytes);
	return p;
}

EXPORT void *apr_pcalloc(struct apr_pool_t *pool, size_t bytes)
{
	RESOLVE();
	if (!outermost())
		return real.pcalloc(pool, bytes);
	writer.pooled = EVENT_POOLED;
	void *p = real.pcalloc(pool, bytes);
	put_pooled(pool, p, bytes);
	return p;
}

EXPORT char *apr_pvsprintf(struct apr_pool_t *pool, const char *format, va_list list)
{
	RESOLVE();
	if (!outermost())
		return real.pvsprintf(pool, format, list);
	writer.pooled = EVENT_POOLED;
	char *text = real.pvsprintf(pool, format, list);
	put_pooled(pool, text, text ? strlen(text) + 1 : 0);
	return text;
}

EXPORT char *apr_psprintf(struct apr_pool_t *pool, const char *format, ...)
{
	va_list list;

	RESOLVE();
	va_start(list, format);
	bool records = outermost();
	if (records)
		writer.pooled = EVENT_POOLED;
	char *text = real.pvsprintf(pool, format, list);
	if (records)
		put_pooled(pool, text, text ? strlen(text) + 1 : 0);
	va_end(list);
	return text;
}

static void made(struct apr_pool_t *const *pool, const struct apr_pool_t *parent, int result)
{
	int saved = errno;

	writer.pooled = 0;
	if (result == 0)
		write_long(EVENT_POOL_MAKE, 0, (uintptr_t)*pool, (int64_t)(uintptr_t)parent, 0,
			   NULL, 0);
	errno = saved;
}

EXPORT int apr_pool_create_ex(struct apr_pool_t **pool, struct apr_pool_t *parent,
			      abort_function *on_abort, struct apr_allocator_t *allocator)
{
	RESOLVE();
	if (!outermost())
		return real.create_ex(pool, parent, on_abort, allocator);
	writer.pooled = EVENT_POOLED;
	int result = real.create_ex(pool, parent, on_abort, allocator);
	made(pool, parent, result);
	return result;
}

EXPORT int apr_pool_create_unmanaged_ex(struct apr_pool_t **pool, abort_function *on_abort,
					struct apr_allocator_t *allocator)
{
	RESOLVE();
	if (!outermost())
		return real.create_unmanaged_ex(pool, on_abort, allocator);
	writer.pooled = EVENT_POOLED;
	int result = real.create_unmanaged_ex(pool, on_abort, allocator);
	made(pool, NULL, result);
	return result;
}

/* Said before it is done, as of a free. Cleanups that it runs are the program's:
 * what they do is recorded, and what they take from the pool counts until the
 * next time. */
static void going(const struct apr_pool_t *pool, unsigned flags)
{
	int saved = errno;

	if (region_mode & REGION_POOLS)
		write_long(EVENT_POOL_CLEAR, flags, (uintptr_t)pool, 0, 0, NULL, 0);
	errno = saved;
}

EXPORT void apr_pool_clear(struct apr_pool_t *pool)
{
	RESOLVE();
	going(pool, 0);
	real.clear(pool);
}

EXPORT void apr_pool_destroy(struct apr_pool_t *pool)
{
	RESOLVE();
	going(pool, EVENT_DESTROY);
	real.destroy(pool);
}
