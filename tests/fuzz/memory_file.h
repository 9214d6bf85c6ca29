/* SPDX-License-Identifier: MIT */
/*
 * Bytes under a name that functions which open files can be given, without a
 * disk. One at a time: the next call puts other bytes there. Aborts when the
 * machine does not give it.
 */
#ifndef PAIL_TESTS_FUZZ_MEMORY_FILE_H
#define PAIL_TESTS_FUZZ_MEMORY_FILE_H

#include <stddef.h>

const char *memory_file(const void *bytes, size_t length);

#endif
