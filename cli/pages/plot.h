/* SPDX-License-Identifier: MIT */
/*
 * Plots, drawn by gnuplot, which runs as a process of its own when a plot is
 * wanted; a machine without it does everything but plots.
 *
 * A plot is a file of data (NAME.dat) and the commands that draw it, which read
 * that file and say nothing of the terminal: the same two become an SVG within
 * a page, text or sixels in a terminal, and files that people can change.
 *
 * Names out of traces are the work of strangers, and gnuplot runs shell
 * commands: text goes into commands through plot_quote() alone, and everything
 * else there is numbers and words of our own.
 */
#ifndef PAIL_CLI_PLOT_H
#define PAIL_CLI_PLOT_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct plot {
	const char *name;      /* a file's and an HTML id's: lower case and '-' */
	int width, height;     /* of the picture, in pixels; plot_init() sets 800 x 440 */
	struct buf data, body; /* columns; sets of rows are two empty lines apart */
};

void plot_init(struct plot *plot, const char *name);
void plot_release(struct plot *plot);
/* Text as a gnuplot string: single quotes, in which nothing is expanded; what is
 * not a plain character becomes '?'. At most 60 characters, then "...". */
void plot_quote(struct buf *out, struct str text);

/* An axis ('x' or 'y') of bytes from `least` (above 0 where it is logarithmic)
 * to `most`, with marks at powers of two, or at multiples of one. */
void plot_bytes_axis(struct buf *body, char axis, uint64_t least, uint64_t most,
		     bool logarithmic);

/* Whether gnuplot is there; if not, err has the line to tell. */
bool plot_possible(struct err *err);
/* An <svg> to lie within an HTML page: no prolog, ids that begin with the
 * plot's name, no titles (the page has its own). */
int plot_svg(const struct plot *plot, struct buf *svg, struct err *err);
/* DIR/NAME.dat and DIR/NAME.gp, which makes NAME.svg. Makes the folder. */
int plot_save(const struct plot *plot, const char *folder, struct err *err);
/* For the terminal on fd: sixels if it says that it has them, else characters. */
int plot_terminal(const struct plot *plot, int fd, struct buf *out, struct err *err);

#endif
