/* SPDX-License-Identifier: MIT */
/* What the targets that attribute hostile events do with the rows that come out. */
#ifndef PAIL_TESTS_FUZZ_ATTRIBUTING_H
#define PAIL_TESTS_FUZZ_ATTRIBUTING_H

#include "libtrace/attribution/attribute.h"

/* Takes every row; aborts on a request that ends before it starts, or before 0. */
struct attribute_sink attributing_sink(void);

#endif
