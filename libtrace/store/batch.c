/* SPDX-License-Identifier: MIT */
#include "libtrace/store/batch.h"

#include <assert.h>
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
	return (int64_t)row * head->step / BATCH_STEP_ROWS;
}

/* Sets the base under the step that is in the head; gives the range. */
static uint64_t measure(const struct batch_rows *rows, int c, struct batch_head *head)
{
	int64_t least = rows->value[0][c], most = least;
	for (uint32_t i = 1; i < rows->count; i++) {
		int64_t value = rows->value[i][c] - (head->step ? stepped(head, i) : 0);
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

/* The `digits` lowest decimal digits of a number, a byte each, up to `end`. */
static void put_digits(unsigned char *end, uint64_t number, uint32_t digits)
{
	for (; digits >= 2; digits -= 2) {
		uint64_t rest = number / 100;
		unsigned pair = (unsigned)(number - rest * 100), tens = pair * 103 >> 10;
		*--end = (unsigned char)(pair - tens * 10);
		*--end = (unsigned char)tens;
		number = rest;
	}
	if (digits)
		*--end = (unsigned char)(number % 10);
}

void batch_pack(const struct batch_rows *rows, struct batch *block)
{
	uint64_t varies[BATCH_PADDED];
	int list[ROW_COLUMNS], listed = 0;
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
			list[listed++] = c;
	}
	block->count = rows->count;
	block->bytes = (at + 1) / 2;
	unsigned char row[2 * BATCH_BYTES_MAX] = {0}, *out = block->digits;
	for (uint32_t i = 0; i < rows->count; i++) {
		for (int l = 0; l < listed; l++) {
			const struct batch_head *head = &block->column[list[l]];
			put_digits(row + head->at + head->digits,
				   (uint64_t)(rows->value[i][list[l]] - stepped(head, i)) -
					   (uint64_t)head->base,
				   head->digits);
		}
		for (uint32_t b = 0; b < block->bytes; b++)
			*out++ = (unsigned char)(row[2 * b] << 4 | row[2 * b + 1]);
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
