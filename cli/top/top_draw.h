/* SPDX-License-Identifier: MIT */
/* The picture of `pail top`: rows of text for a terminal of so many columns. */
#ifndef PAIL_CLI_TOP_DRAW_H
#define PAIL_CLI_TOP_DRAW_H

#include "base/buf.h"
#include "cli/top/top_sample.h"

enum top_order { TOP_BY_RATE, TOP_BY_NEED, TOP_BY_REJECTIONS };

struct top_screen {
	int columns, rows; /* rows 0: as many as there are */
	bool colour;
	bool keys; /* a last line that tells them */
	bool paused;
	enum top_order order;
	const char *source;
	const char *trouble; /* why there is nothing newer, or NULL */
};

/* Lines that end with a newline (the last of a screen without), none longer than
 * the screen is wide. */
void top_draw(const struct top_screen *screen, const struct top_sample *sample,
	      struct buf *out);
/* pail.top/1 */
void top_json(const struct top_screen *screen, const struct top_sample *sample,
	      struct buf *out);

#endif
