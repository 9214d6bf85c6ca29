/* SPDX-License-Identifier: MIT */
#include "libtrace/store/batch.h"

#include <assert.h>
#include <endian.h>
#include <string.h>

enum { STEP_BITS = 50 };

#define GROWS_NO(NAME, name)
#define GROWS(NAME, name) [ROW_##NAME] = true,
static const bool grows[ROW_COLUMNS] = {BATCH_COLUMNS(GROWS_NO, GROWS)};

static const uint64_t ten_to[BATCH_DIGITS_MAX + 1] = {
	1u,
	10u,
	100u,
	1000u,
	10000u,
	100000u,
	1000000u,
	10000000u,
	100000000u,
	1000000000u,
	UINT64_C(10000000000),
	UINT64_C(100000000000),
	UINT64_C(1000000000000),
	UINT64_C(10000000000000),
	UINT64_C(100000000000000),
	UINT64_C(1000000000000000),
	UINT64_C(10000000000000000),
	UINT64_C(100000000000000000),
	UINT64_C(1000000000000000000),
	UINT64_C(10000000000000000000),
};

bool batch_grows(enum batch_column column)
{
	return grows[column];
}

/* -- packing ------------------------------------------------------------- */

static int64_t stepped(const struct batch_head *head, uint32_t row)
{
	return (int64_t)((uint64_t)row * (uint64_t)head->step / BATCH_STEP_ROWS);
}

/* Sets the base under the step that is in the head; gives the range. */
static uint64_t measure(const struct batch_rows *rows, int c, struct batch_head *head)
{
	const int64_t *at = &rows->value[0][c];
	int64_t least = *at, most = least, step = head->step;
	uint64_t grown = 0;
	for (uint32_t i = 1; i < rows->count; i++) {
		at += BATCH_PADDED;
		grown += (uint64_t)step;
		int64_t value = *at - (int64_t)(grown / BATCH_STEP_ROWS);
		least = value < least ? value : least;
		most = value > most ? value : most;
	}
	head->base = least;
	return (uint64_t)most - (uint64_t)least;
}

static uint32_t digits_of(uint64_t range)
{
	uint32_t digits = 0;
	while (range >= ten_to[digits] || (range > 0 && digits == 0))
		digits++;
	return digits;
}

/* How a column that is not the same in all rows is best written. */
static void choose(const struct batch_rows *rows, int c, struct batch_head *head)
{
	uint64_t range = measure(rows, c, head);
	int64_t first = rows->value[0][c], last = rows->value[rows->count - 1][c];
	if (grows[c] && first >= 0 && last > first && last - first < INT64_C(1) << 40) {
		struct batch_head slope = {.step = (last - first) * BATCH_STEP_ROWS /
						   (rows->count - 1)};
		uint64_t less =
			slope.step < INT64_C(1) << STEP_BITS ? measure(rows, c, &slope) : range;
		if (digits_of(less) < digits_of(range)) {
			range = less;
			*head = slope;
		}
	}
	head->digits = digits_of(range);
}

/* Two columns at a time, in any x86-64 and elsewhere. */
typedef uint64_t two __attribute__((vector_size(16), may_alias, aligned(8)));

/* Which columns differ anywhere: all at once, row by row. */
static void find_varying(const struct batch_rows *rows, uint64_t varies[BATCH_PADDED])
{
	enum { TWOS = BATCH_PADDED / 2 };
	two differs[TWOS] = {{0}};
	const two *first = (const two *)rows->value[0];
	for (uint32_t i = 1; i < rows->count; i++) {
		const two *row = (const two *)rows->value[i];
		for (int c = 0; c < TWOS; c++)
			differs[c] |= row[c] ^ first[c];
	}
	memcpy(varies, differs, sizeof(differs));
}

/* What is packed of a column, row by row. */
struct packed {
	const int64_t *value; /* of the row that comes next */
	const struct batch_head *head;
};

/* Digits on their way out, the first in the highest bits. */
struct out {
	unsigned char *at;
	uint64_t held;
	uint32_t digits; /* held: 0 to 15 */
};

/* 0 to 999, four bits a digit. */
#define DIGITS_1(n) n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7, n + 8, n + 9
#define DIGITS_2(n)                                                              \
	DIGITS_1(n), DIGITS_1(n + 0x10), DIGITS_1(n + 0x20), DIGITS_1(n + 0x30), \
		DIGITS_1(n + 0x40), DIGITS_1(n + 0x50), DIGITS_1(n + 0x60),      \
		DIGITS_1(n + 0x70), DIGITS_1(n + 0x80), DIGITS_1(n + 0x90)
static const uint16_t decimal_of[1000] = {
	DIGITS_2(0),     DIGITS_2(0x100), DIGITS_2(0x200), DIGITS_2(0x300), DIGITS_2(0x400),
	DIGITS_2(0x500), DIGITS_2(0x600), DIGITS_2(0x700), DIGITS_2(0x800), DIGITS_2(0x900)};

/* The `digits` (1 to 15) lowest decimal digits of a number, four bits each. */
static inline void put_digits(struct out *out, uint64_t number, uint32_t digits)
{
	uint64_t decimal = 0;
	uint32_t shift = 0;
	for (; number >= 1000; shift += 12) {
		uint64_t rest = number / 1000;
		decimal |= (uint64_t)decimal_of[number - rest * 1000] << shift;
		number = rest;
	}
	decimal |= (uint64_t)decimal_of[number] << shift;
	uint32_t room = 16 - out->digits;
	if (digits < room) {
		out->held |= decimal << 4 * (room - digits);
		out->digits += digits;
		return;
	}
	uint32_t rest = digits - room;
	uint64_t full = htobe64(out->held | decimal >> 4 * rest);
	memcpy(out->at, &full, sizeof(full));
	out->at += sizeof(full);
	out->held = rest > 0 ? decimal << (64 - 4 * rest) : 0;
	out->digits = rest;
}

static void put_row(struct out *out, struct packed *list, int listed, uint32_t row)
{
	static const uint64_t low = UINT64_C(10000000000);
	enum { LOW_DIGITS = 10 };
	for (int l = 0; l < listed; l++) {
		const struct batch_head *head = list[l].head;
		uint64_t number = (uint64_t)*list[l].value - (uint64_t)head->base;
		list[l].value += BATCH_PADDED;
		if (head->step)
			number -= (uint64_t)stepped(head, row);
		uint32_t digits = head->digits;
		if (digits > LOW_DIGITS) {
			put_digits(out, number / low, digits - LOW_DIGITS);
			number %= low;
			digits = LOW_DIGITS;
		}
		put_digits(out, number, digits);
	}
}

void batch_pack(const struct batch_rows *rows, struct batch *block)
{
	uint64_t varies[BATCH_PADDED];
	struct packed list[ROW_COLUMNS];
	int listed = 0;
	uint32_t at = 0;
	assert(rows->count > 0 && rows->count <= BATCH_MAX);
	find_varying(rows, varies);
	for (int c = 0; c < ROW_COLUMNS; c++) {
		struct batch_head *head = &block->column[c];
		*head = (struct batch_head){.base = rows->value[0][c]};
		if (varies[c])
			choose(rows, c, head);
		head->at = head->digits > 0 ? at : 0;
		at += head->digits;
		if (head->digits > 0)
			list[listed++] = (struct packed){&rows->value[0][c], head};
	}
	block->count = rows->count;
	block->bytes = (at + 1) / 2;
	for (uint32_t i = 0; i < rows->count; i++) {
		unsigned char *row = block->digits + (size_t)i * block->bytes;
		struct out out = {.at = row};
		put_row(&out, list, listed, i);
		uint64_t last = htobe64(out.held);
		size_t left = (size_t)(row + block->bytes - out.at);
		/* What goes over is the next row's, and written by that. */
		memcpy(out.at, &last, i + 1 < rows->count ? sizeof(last) : left);
	}
}

/* -- reading ------------------------------------------------------------- */

int batch_check(const struct batch *block)
{
	if (block->count < 1 || block->count > BATCH_MAX || block->bytes > BATCH_BYTES_MAX)
		return -1;
	for (int c = 0; c < ROW_COLUMNS; c++) {
		const struct batch_head *head = &block->column[c];
		if (head->digits > BATCH_DIGITS_MAX || head->at > 2 * block->bytes ||
		    head->digits > 2 * block->bytes - head->at || head->step < 0 ||
		    head->step >= INT64_C(1) << STEP_BITS || (head->step && !grows[c]))
			return -1;
	}
	return 0;
}

/* Two digits, or 128 and more. */
static unsigned pair_of(unsigned char byte)
{
	unsigned high = byte >> 4, low = byte & 15;
	return high > 9 || low > 9 ? 128 : high * 10 + low;
}

/* *bad gets bit 7 if there is something else than digits. */
static uint64_t read_digits(const unsigned char *row, uint32_t at, uint32_t digits,
			    unsigned *bad)
{
	const unsigned char *byte = row + at / 2;
	uint64_t number = 0;
	if (digits > 0 && at % 2 != 0) {
		number = *byte++ & 15;
		*bad |= number > 9 ? 128 : 0;
		digits--;
	}
	for (; digits >= 2; digits -= 2) {
		unsigned pair = pair_of(*byte++);
		*bad |= pair;
		number = number * 100 + pair;
	}
	if (digits > 0) {
		*bad |= *byte >> 4 > 9 ? 128 : 0;
		number = number * 10 + (*byte >> 4);
	}
	return number;
}

int batch_column(const struct batch *block, enum batch_column c, uint32_t from, uint32_t count,
		 int64_t *values)
{
	const struct batch_head *head = &block->column[c];
	assert(from <= block->count && count <= block->count - from);
	unsigned bad = 0;
	bool over = false;
	for (uint32_t i = 0; i < count; i++) {
		const unsigned char *row = block->digits + (size_t)(from + i) * block->bytes;
		uint64_t number = read_digits(row, head->at, head->digits, &bad);
		int64_t value = head->base;
		over |= number > INT64_MAX;
		over |= __builtin_add_overflow(value, stepped(head, from + i), &value);
		over |= __builtin_add_overflow(value, (int64_t)number, &value);
		values[i] = value;
	}
	return (bad & 128) != 0 || over ? -1 : 0;
}

int batch_row(const struct batch *block, uint32_t row, int64_t value[ROW_COLUMNS])
{
	for (int c = 0; c < ROW_COLUMNS; c++)
		if (batch_column(block, (enum batch_column)c, row, 1, &value[c]) != 0)
			return -1;
	return 0;
}

bool batch_above(const struct batch *block, enum batch_column c, int64_t most)
{
	const struct batch_head *head = &block->column[c];
	return head->digits > 0 || head->step > 0 || head->base > most;
}
