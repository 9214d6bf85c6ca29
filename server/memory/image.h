/* SPDX-License-Identifier: MIT */
/*
 * What the process has mapped besides the region: its text and data, libraries,
 * the main thread's stack. Measured once, when all has been loaded, and held
 * against the plan's allowance.
 */
#ifndef PAIL_SERVER_IMAGE_H
#define PAIL_SERVER_IMAGE_H

#include "base/err.h"
#include "server/memory/region.h"

#include <stdint.h>

/* Bytes of all mappings that can be accessed and are not the region's. */
int image_measure(const struct region *region, uint64_t *bytes, struct err *err);

#endif
