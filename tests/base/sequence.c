/* SPDX-License-Identifier: MIT */
#include "tests/base/sequence.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

uint64_t sequence_random(uint64_t *state)
{
	uint64_t x = *state;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t below(uint64_t *state, uint64_t limit)
{
	return sequence_random(state) % limit;
}

/* -- making ---------------------------------------------------------------- */

struct maker {
	struct sequence *sequence;
	size_t capacity;
	uint32_t *live; /* slots, oldest first */
	uint64_t *size; /* by slot */
	size_t live_count;
	uint32_t *spare;
	size_t spare_count;
};

static struct maker maker_new(struct sequence *sequence, size_t capacity)
{
	struct maker maker = {.sequence = sequence, .capacity = capacity};
	*sequence = (struct sequence){.ops = calloc(capacity + 1, sizeof(*sequence->ops))};
	maker.live = calloc(capacity + 1, sizeof(*maker.live));
	maker.spare = calloc(capacity + 1, sizeof(*maker.spare));
	maker.size = calloc(capacity + 1, sizeof(*maker.size));
	if (!sequence->ops || !maker.live || !maker.spare || !maker.size)
		abort();
	return maker;
}

static void maker_free(struct maker *maker)
{
	free(maker->live);
	free(maker->spare);
	free(maker->size);
}

static void put(struct maker *maker, struct replay_op op)
{
	if (maker->sequence->count < maker->capacity)
		maker->sequence->ops[maker->sequence->count++] = op;
}

static bool full(const struct maker *maker)
{
	return maker->sequence->count >= maker->capacity;
}

static void make_alloc(struct maker *maker, uint64_t size, unsigned align_log2)
{
	if (full(maker))
		return;
	uint32_t slot = maker->spare_count ? maker->spare[--maker->spare_count]
					   : maker->sequence->slots++;
	maker->live[maker->live_count++] = slot;
	maker->size[slot] = size;
	put(maker, (struct replay_op){.slot = slot,
				      .kind = REPLAY_ALLOC,
				      .align_log2 = (uint8_t)align_log2,
				      .size_bytes = size});
}

static void make_free(struct maker *maker, size_t index)
{
	if (full(maker) || maker->live_count == 0)
		return;
	index %= maker->live_count;
	uint32_t slot = maker->live[index];
	memmove(maker->live + index, maker->live + index + 1,
		(maker->live_count - index - 1) * sizeof(*maker->live));
	maker->live_count--;
	maker->spare[maker->spare_count++] = slot;
	put(maker, (struct replay_op){.slot = slot, .kind = REPLAY_FREE});
}

static void make_realloc(struct maker *maker, size_t index, uint64_t size)
{
	if (full(maker) || maker->live_count == 0)
		return;
	uint32_t slot = maker->live[index % maker->live_count];
	maker->size[slot] = size;
	put(maker,
	    (struct replay_op){.slot = slot, .kind = REPLAY_REALLOC, .size_bytes = size});
}

/* About log-uniform: as many blocks of 16..32 bytes as of 16..32 KiB. */
static uint64_t log_size(uint64_t *random, unsigned bits_most)
{
	uint64_t bits = below(random, bits_most + 1);
	return below(random, UINT64_C(1) << bits);
}

static void make_growing(struct maker *maker, uint64_t *random)
{
	size_t index = (size_t)sequence_random(random);
	if (maker->live_count < 8 || below(random, 4) == 0) {
		make_alloc(maker, 1 + below(random, 100), 0);
		return;
	}
	uint64_t size = maker->size[maker->live[index % maker->live_count]];
	if (size > 60000 || below(random, 8) == 0)
		make_free(maker, index);
	else
		make_realloc(maker, index,
			     below(random, 6) == 0 ? size / 2 : size + size / 2 + 16);
}

static void make_phases(struct maker *maker, uint64_t *random)
{
	uint64_t low = 1 + log_size(random, 9), spread = 1 + log_size(random, 12);
	uint64_t fill = 1 + below(random, 200);
	for (uint64_t i = 0; i < fill; i++)
		make_alloc(maker, low + below(random, spread), 0);
	uint64_t drop = maker->live_count * (50 + below(random, 50)) / 100;
	bool in_order = below(random, 2) == 0;
	for (uint64_t i = 0; i < drop; i++)
		make_free(maker, in_order ? 0 : (size_t)sequence_random(random));
}

static void make_step(struct maker *maker, enum sequence_shape shape, uint64_t *random)
{
	uint64_t dice = below(random, 100);
	size_t any = (size_t)sequence_random(random);
	switch (shape) {
	case SEQUENCE_SMALL:
		if (maker->live_count < 300 && dice < 55)
			make_alloc(maker, 1 + below(random, 200), 0);
		else
			make_free(maker, any);
		break;
	case SEQUENCE_MIXED:
		if (maker->live_count < 200 && dice < 50)
			make_alloc(maker, log_size(random, 16), 0);
		else if (dice < 85)
			make_free(maker, any);
		else
			make_realloc(maker, any, log_size(random, 16));
		break;
	case SEQUENCE_GROWING: make_growing(maker, random); break;
	case SEQUENCE_ALIGNED:
		if (maker->live_count < 60 && dice < 50)
			make_alloc(maker, log_size(random, 13), (unsigned)below(random, 17));
		else if (dice < 60)
			make_alloc(maker, 1 + below(random, 100), 0);
		else if (dice < 90)
			make_free(maker, any);
		else
			make_realloc(maker, any, log_size(random, 13));
		break;
	case SEQUENCE_STACK:
		if (maker->live_count < 400 && dice < 52)
			make_alloc(maker, log_size(random, 12), 0);
		else if (maker->live_count > 0)
			make_free(maker, maker->live_count - 1);
		break;
	case SEQUENCE_PHASES: make_phases(maker, random); break;
	case SEQUENCE_KEEPING:
		if (dice < 90)
			make_alloc(maker, log_size(random, 10), 0);
		else
			make_free(maker, any);
		break;
	case SEQUENCE_SHAPES: abort();
	}
}

struct sequence sequence_make(enum sequence_shape shape, uint64_t seed, size_t count)
{
	uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + shape + 1;
	struct sequence sequence;
	struct maker maker = maker_new(&sequence, count);
	while (!full(&maker))
		make_step(&maker, shape, &random);
	maker_free(&maker);
	return sequence;
}

struct sequence sequence_of_bytes(const uint8_t *bytes, size_t length)
{
	struct sequence sequence;
	struct maker maker = maker_new(&sequence, length / 4);
	for (; length >= 4; bytes += 4, length -= 4) {
		/* kind and alignment, the exponent and mantissa of a size, which block */
		uint64_t size = (uint64_t)bytes[2] << (bytes[1] % 8);
		size += bytes[1] / 8;
		switch (bytes[0] % 8) {
		case 0:
		case 1:
		case 2: make_alloc(&maker, size, 0); break;
		case 3: make_alloc(&maker, size, bytes[0] / 8 % 15); break;
		case 4:
		case 5:
		case 6: make_free(&maker, bytes[3]); break;
		default: make_realloc(&maker, bytes[3], size); break;
		}
	}
	maker_free(&maker);
	return sequence;
}

void sequence_free(struct sequence *sequence)
{
	free(sequence->ops);
	*sequence = (struct sequence){0};
}

/* -- playing --------------------------------------------------------------- */

enum { GUARD_BYTES = 4096, GUARD = 0xa5 };

static unsigned char pattern(uint32_t slot, size_t i)
{
	return (unsigned char)(slot * 31 + i * 7 + (i >> 8));
}

static void fill(unsigned char *p, uint32_t slot, size_t from, size_t size)
{
	for (size_t i = from; i < size; i++)
		p[i] = pattern(slot, i);
}

static bool holds(const unsigned char *p, uint32_t slot, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (p[i] != pattern(slot, i))
			return false;
	}
	return true;
}

struct player {
	struct arena arena;
	struct playback *result;
	unsigned char **p;
	size_t *size;
	bool *far; /* placed by the address, past the base's alignment */
};

static bool play_step(struct player *player, const struct replay_op *op)
{
	struct arena *arena = &player->arena;
	struct playback *result = player->result;
	unsigned char **p = &player->p[op->slot];
	size_t *size = &player->size[op->slot];
	size_t align = (size_t)1 << op->align_log2;
	if (op->kind != REPLAY_ALLOC)
		result->damaged_blocks += !holds(*p, op->slot, *size);
	if (op->kind == REPLAY_FREE) {
		arena_free(arena, *p);
		*p = NULL;
	} else {
		unsigned char *q = op->kind == REPLAY_ALLOC
					   ? arena_alloc(arena, op->size_bytes, align)
					   : arena_realloc(arena, *p, op->size_bytes);
		if (!q)
			return false;
		size_t kept = op->kind == REPLAY_REALLOC
				      ? (*size < op->size_bytes ? *size : op->size_bytes)
				      : 0;
		result->misaligned +=
			((uintptr_t)q & (align - 1)) != 0 || ((uintptr_t)q & 15) != 0;
		result->damaged_blocks += !holds(q, op->slot, kept);
		if (q != *p)
			player->far[op->slot] = align > ARENA_ALIGN_BASE;
		*p = q;
		*size = op->size_bytes;
		result->damaged_blocks += arena_usable_bytes(arena, q) < *size;
		fill(q, op->slot, kept, *size);
		if (!player->far[op->slot])
			result->layout = result->layout * 31 + (size_t)(q - arena->base);
	}
	result->layout = (result->layout * 31 + arena->top_bytes) * 31 + arena->peak_bytes;
	return true;
}

struct playback sequence_play(const struct sequence *sequence, enum arena_policy policy,
			      size_t size_bytes, unsigned flags)
{
	struct playback result = {0};
	size_t guard = GUARD_BYTES + (flags & PLAYBACK_MOVED ? 3 * GUARD_BYTES : 0);
	size_t span = (2 * guard + size_bytes + GUARD_BYTES) & ~(size_t)(GUARD_BYTES - 1);
	unsigned char *memory =
		mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		abort();
	memset(memory, GUARD, guard);
	memset(memory + guard + size_bytes, GUARD, span - guard - size_bytes);

	struct player player = {.result = &result,
				.p = calloc(sequence->slots + 1, sizeof(*player.p)),
				.size = calloc(sequence->slots + 1, sizeof(*player.size)),
				.far = calloc(sequence->slots + 1, sizeof(*player.far))};
	if (!player.p || !player.size || !player.far)
		abort();
	arena_init(&player.arena, memory + guard, size_bytes, policy);
	while (result.done < sequence->count &&
	       play_step(&player, &sequence->ops[result.done])) {
		result.done++;
		if (flags & PLAYBACK_CHECK)
			arena_check(&player.arena);
	}
	for (uint32_t slot = 0; slot < sequence->slots; slot++) {
		if (player.p[slot])
			result.damaged_blocks +=
				!holds(player.p[slot], slot, player.size[slot]);
	}
	for (size_t i = 0; i < guard; i++)
		result.damaged_guards += memory[i] != GUARD;
	for (size_t i = guard + size_bytes; i < span; i++)
		result.damaged_guards += memory[i] != GUARD;
	result.peak_bytes = player.arena.peak_bytes;
	result.wanted_bytes = player.arena.wanted_bytes;
	result.faults = player.arena.faults;
	free(player.p);
	free(player.size);
	free(player.far);
	munmap(memory, span);
	return result;
}
