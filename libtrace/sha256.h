/* SPDX-License-Identifier: MIT */
/*
 * SHA-256 (FIPS 180-4), to name a trace by its content. Not for secrets: it
 * makes no attempt at constant time.
 */
#ifndef PAIL_LIBTRACE_SHA256_H
#define PAIL_LIBTRACE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32, SHA256_TEXT_MAX = 65 };

struct sha256 {
	uint32_t state[8];
	uint64_t length_bytes;
	unsigned char block[64];
};

void sha256_init(struct sha256 *sha);
void sha256_add(struct sha256 *sha, const void *bytes, size_t length);
void sha256_finish(struct sha256 *sha, unsigned char digest[SHA256_BYTES]);
/* 64 lower-case hex digits, terminated. */
void sha256_text(const unsigned char digest[SHA256_BYTES], char text[SHA256_TEXT_MAX]);

#endif
