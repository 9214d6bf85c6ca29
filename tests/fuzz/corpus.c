/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target's inputs, run without a fuzzer: each file named, and each
 * file's head, each file without its first bytes, and each file with one bit
 * flipped here and there. So every build holds the targets to their seeds and
 * to what once failed.
 */
#include "base/file.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In memory of its own size, so that a sanitizer sees a read past the end. */
static void run(const char *bytes, size_t length, size_t flip)
{
	uint8_t *copy = malloc(length ? length : 1);
	if (!copy)
		abort();
	memcpy(copy, bytes, length);
	if (flip < length * 8)
		copy[flip / 8] ^= (uint8_t)(1 << flip % 8);
	LLVMFuzzerTestOneInput(copy, length);
	free(copy);
}

int main(int argc, char **argv)
{
	enum { MOST = 1 << 20, VARIANTS = 12 };
	if (argc < 2) {
		fprintf(stderr, "usage: %s FILE...\n", argv[0]);
		return 2;
	}
	for (int i = 1; i < argc; i++) {
		struct err err;
		char *bytes;
		size_t length;
		if (file_read_all(argv[i], MOST, &bytes, &length, &err) < 0) {
			fprintf(stderr, "%s\n", err.text);
			return 3;
		}
		run(bytes, length, SIZE_MAX);
		for (size_t v = 0; v < VARIANTS; v++) {
			run(bytes, length * v / VARIANTS, SIZE_MAX);
			size_t from = length * v / VARIANTS;
			run(bytes + from, length - from, SIZE_MAX);
			run(bytes, length, (length * 8 * v + 7 * v) / VARIANTS);
		}
		free(bytes);
	}
	printf("%d inputs\n", argc - 1);
	return 0;
}
