/* SPDX-License-Identifier: MIT */
/*
 * The server's numbers as text: Prometheus' exposition format (version 0.0.4)
 * and the JSON document pail.stats/1 (docs/deploy.md has both, name by name).
 *
 * Piece by piece, so that a document of any length goes through a buffer of
 * fixed size: each call writes as many whole pieces as fit and remembers which
 * is next. Adds up over workers as it goes; allocates nothing.
 *
 * Called by the admin thread alone.
 */
#ifndef PAIL_SERVER_METRICS_TEXT_H
#define PAIL_SERVER_METRICS_TEXT_H

#include <stddef.h>
#include <stdint.h>

enum metrics_form { METRICS_PROMETHEUS, METRICS_JSON };

/* No piece is longer: the least room that a call needs. */
enum { METRICS_PIECE_BYTES = 24 << 10 };

struct metrics_text {
	enum metrics_form form;
	uint32_t section, index; /* of the next piece */
};

/* Opens what the numbers about the process are read from. */
void metrics_text_open(void);

void metrics_text_init(struct metrics_text *text, enum metrics_form form);
/* Bytes written; 0 when all has been. */
size_t metrics_text_write(struct metrics_text *text, char *out, size_t room);

#endif
