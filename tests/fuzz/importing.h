/* SPDX-License-Identifier: MIT */
/* Any bytes through one importer: what the targets of rep, mtrace and log share. */
#ifndef PAIL_TESTS_FUZZ_IMPORTING_H
#define PAIL_TESTS_FUZZ_IMPORTING_H

#include "cli/importing/importer.h"

#include <stddef.h>
#include <stdint.h>

/* Either every item makes sense (counts and times in range, operations that
 * replay), or the message begins with the file's name. Aborts if not. */
void import_bytes(import_open *open, const uint8_t *data, size_t size);

#endif
