/* SPDX-License-Identifier: MIT */
/*
 * Memory for columns of millions of rows. Asks the kernel for huge pages, without
 * which a fifth of a plan's time is spent in page faults. A hint alone: where the
 * kernel has none to give, nothing changes. What these return is free()d.
 */
#ifndef PAIL_SIMULATOR_COLUMNS_H
#define PAIL_SIMULATOR_COLUMNS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { COLUMN_HUGE_BYTES = 2 << 20 };

/* `count` items, all zero; never of no size. NULL when there is no memory. */
static inline void *column_alloc(size_t count, size_t width)
{
	void *column = calloc(count ? count : 1, width);
	/* calloc has proven that the product does not overflow. */
	size_t bytes = count * width;
	if (!column || bytes < 4 * (size_t)COLUMN_HUGE_BYTES)
		return column;
	/* So large a block is a mapping of its own, and untouched yet. */
	uintptr_t page = 4095, begin = ((uintptr_t)column + page) & ~page;
	uintptr_t end = ((uintptr_t)column + bytes) & ~page;
	madvise((void *)begin, end - begin, MADV_HUGEPAGE);
	return column;
}

#endif
