/* SPDX-License-Identifier: MIT */
#include "libtrace/shim/stack.h"

#include "libtrace/shim/memory.h"
#include "libtrace/shim/modules.h"
#include "libtrace/shim/unwind.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A word on the stack, and what it was. */
struct slot {
	uintptr_t at, value;
};

/* A frame that a walk found; its slot holds what its call returns to. Its rbp
 * was `bp`, which matters if an outer frame was found by it (depends). */
struct frame {
	uintptr_t bp;
	uint64_t rule;
	uint32_t entry;  /* in the region's table */
	uint16_t extras; /* how many extra[] this and all outer frames rest on */
	bool exact, depends;
};

/* A stack that was walked before, by where its innermost frame lies and what that
 * returns to: all that its walk read, and the entry that it came to. If no word has
 * changed, the walk would come to it again. */
enum { MEMOS = 64, MEMO_SLOTS = 62, MEMO_CREDIT = 8 };
struct memo {
	uintptr_t frame, address;
	uint32_t entry; /* 0: seen once, nothing kept yet */
	uint32_t map, life;
	uint16_t count, credit; /* how often another may come here in vain */
	struct slot slot[MEMO_SLOTS];
};
static_assert(sizeof(struct memo) == 1024, "its head and first slots in one line");

/* One thread's: frame[0] is the outermost of the last walk. A new walk fills
 * the other end, innermost last, and the two are then pushed together. */
struct walker {
	uintptr_t busy; /* the frame whose walk is under way */
	uintptr_t low, top;
	uint32_t map, count;
	uint32_t life; /* goes up with each thread that has it: memos are of one */
	struct slot slot[STACK_FRAMES_MAX];
	struct slot extra[2 * STACK_FRAMES_MAX]; /* saved rbp that rules went by */
	struct frame frame[STACK_FRAMES_MAX];
	struct memo memo[MEMOS];
};

static struct stack_entry *table; /* in the region; NULL: no stacks */
static uint32_t table_mask;
static struct walker *_Atomic pool[WALKERS_POOLS];
static __thread struct {
	struct walker *walker;
	uint32_t process;
	bool left;
} mine __attribute__((tls_model("initial-exec")));

/* -- the table ------------------------------------------------------------- */

bool stack_attach(const char *path)
{
	if (!region->stack_entries || region->stack_entries > STACK_ENTRIES_MAX ||
	    (region->stack_entries & (region->stack_entries - 1)))
		return false;
	int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
	if (fd < 0)
		return false;
	void *at = (void *)syscall(SYS_mmap, NULL, region->stack_entries * sizeof(*table),
				   PROT_READ | PROT_WRITE, MAP_SHARED, fd,
				   (off_t)region->stacks_offset);
	syscall(SYS_close, fd);
	if (at == MAP_FAILED)
		return false;
	table_mask = region->stack_entries - 1;
	table = at;
	return true;
}

/* What the entry at `at` is to (outer, address): its number, or 0 with *more
 * set if one should look on. Made if it is unused. Two threads may make the
 * same one twice, side by side: the recorder takes both for one. */
static inline __attribute__((always_inline)) uint32_t try_entry(uint32_t at, uint32_t outer,
								uint64_t address, bool *more)
{
	struct stack_entry *entry = &table[at];
	uint64_t there = atomic_load_explicit(&entry->address, memory_order_relaxed);

	*more = true;
	if (there == address &&
	    atomic_load_explicit(&entry->outer, memory_order_relaxed) == outer)
		return at;
	if (there || !at)
		return 0;
	if (atomic_load_explicit(&region->stacks_used, memory_order_relaxed) >=
	    table_mask - table_mask / 8) {
		*more = false;
		return 0;
	}
	if (!atomic_compare_exchange_strong(&entry->address, &there, address))
		return 0;
	atomic_store_explicit(&entry->outer, outer, memory_order_release);
	atomic_fetch_add_explicit(&region->stacks_used, 1, memory_order_relaxed);
	return at;
}

/* The number of the entry, made if it is new; 0 when there is no room. Looked
 * for in the outer entry's own page first, so that a stack lies in few pages:
 * else finding them is most of what a new frame costs. Entries are never
 * removed, so where one was not made for want of room, it is not looked for. */
static uint32_t number(uint32_t outer, uint64_t address)
{
	enum { NEAR = 256, NEAR_PROBES = 8 };
	uint64_t hash =
		(address ^ (uint64_t)outer << 40 ^ outer) * UINT64_C(0x9e3779b97f4a7c15);
	/* Pages fill up, so from there on in steps that lead out of them. */
	uint32_t found, at = (uint32_t)(hash >> 32), step = (uint32_t)(hash >> 8) | 1;
	bool more = true;

	if (!(outer & ENTRY_ROOT)) {
		uint32_t page = outer & ~(uint32_t)(NEAR - 1), place = (uint32_t)(hash >> 56);
		for (uint32_t probe = 0; probe < NEAR_PROBES && more; probe++) {
			found = try_entry(page | ((place + probe) & (NEAR - 1)), outer, address,
					  &more);
			if (found)
				return found;
		}
	}
	for (uint32_t probe = 0; probe < STACK_PROBES && more; probe++, at += step) {
		found = try_entry(at & table_mask, outer, address, &more);
		if (found)
			return found;
	}
	return 0;
}

/* -- walkers ------------------------------------------------------------------ */

static struct walker *claim_walker(void)
{
	for (size_t p = 0; p < WALKERS_POOLS; p++) {
		uint64_t taken = atomic_load(&this_process.walkers[p]);
		while (~taken) {
			uint64_t bit = ~taken & -~taken;
			if (!atomic_compare_exchange_weak(&this_process.walkers[p], &taken,
							  taken | bit))
				continue;
			struct walker *all = atomic_load(&pool[p]);
			if (!all) {
				all = (void *)syscall(SYS_mmap, NULL,
						      WALKERS_POOL * sizeof(*all),
						      PROT_READ | PROT_WRITE,
						      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
				struct walker *other = NULL;
				if (all == MAP_FAILED) {
					atomic_fetch_and(&this_process.walkers[p], ~bit);
					return NULL;
				}
				if (!atomic_compare_exchange_strong(&pool[p], &other, all)) {
					syscall(SYS_munmap, all, WALKERS_POOL * sizeof(*all));
					all = other;
				}
			}
			struct walker *w = &all[__builtin_ctzll(bit)];
			w->count = 0;
			w->life++;
			w->busy = w->low = w->top = 0;
			return w;
		}
	}
	return NULL;
}

static struct walker *find_walker(void)
{
	if (LIKELY(mine.walker && mine.process == this_process.serial))
		return mine.walker;
	if (mine.left)
		return NULL;
	int saved = errno;
	mine.walker = claim_walker();
	mine.process = this_process.serial;
	errno = saved;
	return mine.walker;
}

void stack_leave(void)
{
	struct walker *w = mine.walker;

	mine.left = true;
	mine.walker = NULL;
	if (!w || mine.process != this_process.serial)
		return;
	for (size_t p = 0; p < WALKERS_POOLS; p++) {
		struct walker *all = atomic_load(&pool[p]);
		if (all && w >= all && w < all + WALKERS_POOL)
			atomic_fetch_and(&this_process.walkers[p], ~(UINT64_C(1) << (w - all)));
	}
}

/* -- what may be read ------------------------------------------------------------ */

enum { PAGE = 4096 };

static bool find_bounds(struct walker *w, uintptr_t here)
{
	extern void *__libc_stack_end;

	if (!w->top) {
		bool first = this_process.pid == (int32_t)syscall(SYS_gettid);
		w->top = first ? (uintptr_t)__libc_stack_end : (uintptr_t)pthread_self();
		w->low = w->top & ~(uintptr_t)(PAGE - 1);
	}
	if (here < w->low)
		w->low = memory_probe(w->low, here);
	return here >= w->low && here < w->top;
}

/* -- walking ----------------------------------------------------------------------- */

struct walk {
	struct walker *walker;
	uintptr_t at, address, sp, bp;
	uintptr_t high; /* readable: [sp, high) */
	bool exact, foreign, signal, cut;
	uint32_t kept;  /* of the last walk's, once met */
	uint32_t fresh; /* the new ones begin here */
};

/* On another stack than the thread's own, page by page. */
__attribute__((noinline)) static bool reach_slowly(struct walk *k, uintptr_t at)
{
	if (!k->foreign || at < k->sp || at & 7 || at - k->sp > (uintptr_t)PAGE * 1024)
		return false;
	while (at + 8 > k->high) {
		if (!memory_word(k->high))
			return false;
		k->high += PAGE;
	}
	return true;
}

static inline bool reach(struct walk *k, uintptr_t at)
{
	return LIKELY(at >= k->sp && at + 8 <= k->high && !(at & 7)) || reach_slowly(k, at);
}

static uintptr_t load(uintptr_t at)
{
	return *(const uintptr_t *)at;
}

/* From now on at `sp`: on the thread's own stack or another. */
static void enter(struct walk *k, uintptr_t sp)
{
	k->sp = sp;
	k->foreign = !find_bounds(k->walker, sp);
	k->high = k->foreign ? sp & ~(uintptr_t)(PAGE - 1) : k->walker->top;
}

/* Out of a signal handler: the kernel has put the registers onto its stack. */
static bool leave_handler(struct walk *k)
{
#if defined(__x86_64__)
	enum { BP = 120, SP = 160, PC = 168 }; /* of ucontext_t */
	uintptr_t context = k->sp;
	if (!reach(k, context + BP) || !reach(k, context + SP) || !reach(k, context + PC))
		return false;
	uintptr_t sp = load(context + SP);
	k->at = context + PC;
	k->address = load(k->at);
	k->bp = load(context + BP);
	k->exact = k->signal = true;
	if (sp & 7 || !sp)
		return false;
	enter(k, sp);
	return k->address > PAGE;
#else
	(void)k;
	return false;
#endif
}

/* One frame outwards. False: there is none, or none that can be found. */
static bool step(struct walk *k, uint64_t rule)
{
	uintptr_t cfa, slot;

	switch (unwind_kind(rule)) {
	case UNWIND_SP: cfa = k->sp + (uintptr_t)unwind_offset(rule); break;
	case UNWIND_BP: cfa = k->bp + (uintptr_t)unwind_offset(rule); break;
	case UNWIND_BP_DEREF:
		slot = k->bp + (uintptr_t)unwind_offset(rule);
		if (!reach(k, slot))
			goto cut;
		cfa = load(slot);
		break;
	case UNWIND_SIGNAL: return leave_handler(k);
	case UNWIND_END: return false;
	default: goto cut;
	}
	if (cfa <= k->sp || !reach(k, cfa - 8))
		goto cut;
	if (unwind_bp(rule) != UNWIND_BP_SAME) {
		slot = (unwind_bp(rule) == UNWIND_BP_CFA ? cfa : k->bp) +
		       (uintptr_t)unwind_bp_offset(rule);
		k->bp = reach(k, slot) ? load(slot) : 0;
	}
	k->at = cfa - 8;
	k->address = load(k->at);
	k->sp = cfa;
	k->exact = false;
	if (k->address > PAGE)
		return true;
cut:
	k->cut = true;
	return false;
}

static uintptr_t changes(const struct slot *slot, uint32_t count)
{
	uintptr_t all = 0;

	for (uint32_t i = 0; i < count; i++)
		all |= load(slot[i].at) ^ slot[i].value;
	return all;
}

/* Whether all frames outside of frame[top] are as they were; if not, the
 * innermost that is not. */
static bool outer_same(const struct walker *w, uint32_t top, uint32_t *changed)
{
	if (LIKELY(!(changes(w->slot, top) | changes(w->extra, w->frame[top].extras))))
		return true;
	uint32_t i = top;
	while (i-- > 0 && !changes(&w->slot[i], 1) &&
	       !changes(&w->extra[w->frame[i].extras],
			w->frame[i + 1].extras - w->frame[i].extras))
		;
	*changed = i;
	return false;
}

/* Fills frame[fresh..) with what is new, and finds how many outer frames of the
 * last walk are the same. */
static void find_frames(struct walk *k)
{
	struct walker *w = k->walker;
	uint32_t old = k->foreign ? 0 : w->count, try_below = UINT32_MAX;

	k->fresh = STACK_FRAMES_MAX;
	for (;;) {
		while (old > 0 && w->slot[old - 1].at < k->at)
			old--;
		const struct slot *s = old > 0 ? &w->slot[old - 1] : NULL;
		if (s && s->at == k->at && s->value == k->address && !k->signal &&
		    (!w->frame[old - 1].depends || w->frame[old - 1].bp == k->bp) &&
		    old <= try_below) {
			uint32_t changed;
			if (outer_same(w, old - 1, &changed)) {
				k->kept = old;
				return;
			}
			try_below = changed;
		}
		if (k->fresh == old)
			old = 0; /* their room is needed */
		if (k->fresh == 0) {
			k->cut = true;
			break;
		}
		uint64_t rule = modules_rule(k->address, k->exact);
		w->slot[--k->fresh] = (struct slot){k->at, k->address};
		w->frame[k->fresh] =
			(struct frame){.bp = k->bp, .rule = rule, .exact = k->exact};
		if (!step(k, rule))
			break;
	}
	k->kept = 0;
}

/* Whether this frame's bp matters to what lies outside of it, and by what else
 * on the stack the next outer frame was found: what outer_same() looks at. */
static void link_frame(struct walker *w, uint32_t i)
{
	struct frame *f = &w->frame[i], *outer = i > 0 ? f - 1 : NULL;
	enum unwind_kind kind = unwind_kind(f->rule);
	enum unwind_bp bp = unwind_bp(f->rule);

	f->depends = kind == UNWIND_BP || kind == UNWIND_BP_DEREF || bp == UNWIND_BP_SELF ||
		     (bp == UNWIND_BP_SAME && outer && outer->depends);
	f->extras = outer ? outer->extras : 0;
	if (!outer)
		return;
	uintptr_t cfa = w->slot[i - 1].at + 8;
	if (outer->depends && bp != UNWIND_BP_SAME) {
		uintptr_t saved = (bp == UNWIND_BP_CFA ? cfa : f->bp) +
				  (uintptr_t)unwind_bp_offset(f->rule);
		w->extra[f->extras++] = (struct slot){saved, outer->bp};
	}
	if (kind == UNWIND_BP_DEREF)
		w->extra[f->extras++] =
			(struct slot){f->bp + (uintptr_t)unwind_offset(f->rule), cfa};
}

/* Pushes old and new together, and numbers what is new. */
static uint32_t number_frames(struct walk *k)
{
	struct walker *w = k->walker;
	uint32_t fresh = STACK_FRAMES_MAX - k->fresh, end = k->kept + fresh;
	uint32_t entry = k->kept ? w->frame[k->kept - 1].entry
				 : ENTRY_ROOT | (k->cut ? ENTRY_CUT : 0) | w->map;

	if (fresh) {
		memmove(&w->frame[k->kept], &w->frame[k->fresh], fresh * sizeof(struct frame));
		memmove(&w->slot[k->kept], &w->slot[k->fresh], fresh * sizeof(struct slot));
	}
	w->count = k->kept;
	for (uint32_t i = k->kept; i < end; i++) {
		struct frame *f = &w->frame[i];
		link_frame(w, i);
		entry = number(entry, (w->slot[i].value & EVENT_VALUE_MASK) |
					      (f->exact ? ENTRY_EXACT : 0));
		if (!entry) {
			atomic_fetch_add_explicit(&region->stacks_lost, 1,
						  memory_order_relaxed);
			break;
		}
		f->entry = entry;
		w->count = i + 1;
	}
	if (k->signal || k->foreign)
		w->count = 0; /* not one run of one stack: not to be met again */
	return entry;
}

/* -- memos --------------------------------------------------------------------------- */

static inline struct memo *memo_of(struct walker *w, uintptr_t frame, uintptr_t address)
{
	uint64_t hash = (address ^ frame << 20) * UINT64_C(0x9e3779b97f4a7c15);

	return &w->memo[hash >> 58];
}
static_assert(MEMOS == 1 << (64 - 58), "as many as the hash tells apart");

static inline uint32_t memo_recall(struct memo *m, const struct walker *w, uintptr_t frame,
				   uintptr_t address)
{
	if (m->frame != frame || m->address != address || m->life != w->life || !m->entry ||
	    m->map != modules_map() || changes(m->slot, m->count))
		return 0;
	m->credit = MEMO_CREDIT;
	return m->entry;
}

/* Kept when it comes the second time, so that what never comes again costs no
 * copy. */
static void memo_keep(struct memo *m, const struct walk *k, uintptr_t frame, uintptr_t address,
		      uint32_t entry)
{
	const struct walker *w = k->walker;
	bool again = m->frame == frame && m->address == address && m->life == w->life;

	if (!again) {
		if (m->life == w->life && m->credit) {
			m->credit--;
			return;
		}
		m->entry = 0;
		BARRIER();
		m->frame = frame;
		m->address = address;
		m->life = w->life;
		return;
	}
	m->entry = 0;
	BARRIER();
	if (w->count == 0 || w->frame[w->count - 1].entry != entry)
		return; /* another stack's, or not all of it has a number */
	const struct frame *f = &w->frame[w->count - 1];
	size_t count = w->count;
	if (count + f->extras + 1 > MEMO_SLOTS)
		return;
	memcpy(m->slot, w->slot, count * sizeof(struct slot));
	memcpy(m->slot + count, w->extra, f->extras * sizeof(struct slot));
	count += f->extras;
	if (f->depends)
		m->slot[count++] = (struct slot){frame, f->bp};
	m->count = (uint16_t)count;
	m->map = w->map;
	m->credit = MEMO_CREDIT;
	BARRIER(); /* a handler may jump out of this */
	m->entry = entry;
}

static uint32_t walk(struct walker *w, uintptr_t frame, struct memo *memo)
{
	struct walk k;
	uint32_t map = modules_map();

	do {
		if (w->map != map) {
			w->map = map;
			w->count = 0;
		}
		k = (struct walk){.walker = w,
				  .at = frame + 8,
				  .address = load(frame + 8),
				  .bp = load(frame)};
		if (LIKELY(frame >= w->low && frame < w->top)) {
			k.sp = frame + 16;
			k.high = w->top;
		} else {
			enter(&k, frame);
			k.sp = frame + 16;
			if (k.foreign)
				k.high += PAGE;
		}
		find_frames(&k);
		map = modules_map();
	} while (UNLIKELY(w->map != map));
	uint32_t entry = number_frames(&k);
	memo_keep(memo, &k, frame, load(frame + 8), entry);
	return entry;
}

uint32_t stack_take(const void *frame_address)
{
	uintptr_t frame = (uintptr_t)frame_address;

	if (UNLIKELY(!table) || !writer_on())
		return 0;
	struct walker *w = find_walker();
	/* A walk that another one interrupts is deeper; one that was left by a
	 * jump out of a handler was not. */
	if (UNLIKELY(!w || (w->busy && frame < w->busy))) {
		atomic_fetch_add_explicit(&region->stacks_blind, 1, memory_order_relaxed);
		return 0;
	}
	w->busy = frame;
	BARRIER();
	struct memo *memo = memo_of(w, frame, load(frame + 8));
	uint32_t entry = memo_recall(memo, w, frame, load(frame + 8));
	if (!entry)
		entry = walk(w, frame, memo);
	BARRIER();
	w->busy = 0;
	return entry;
}
