/* SPDX-License-Identifier: MIT */
/*
 * The seam between the server and the library that speaks TLS. The server links
 * no such library: with [tls] in the plan it loads lib/pail/pail-tls.so, which
 * wraps OpenSSL in these functions. All of them are called by tls.c only, with
 * the pool in charge of memory. Results as of the calls they stand for; a
 * call that can't go on gives TLS_WANT_READ or TLS_WANT_WRITE.
 */
#ifndef PAIL_SERVER_TLS_OPS_H
#define PAIL_SERVER_TLS_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { TLS_FAILED = -1, TLS_WANT_READ = -2, TLS_WANT_WRITE = -3, TLS_WHY_BYTES = 256 };

struct tls_memory {
	void *(*alloc)(size_t size, const char *file, int line);
	void *(*realloc)(void *p, size_t size, const char *file, int line);
	void (*free)(void *p, const char *file, int line);
};

struct tls_words {
	const char *cert, *key, *ciphers;
	bool only_13; /* min_version = 1.3 */
};

struct tls_ops {
	/* Before anything else. False: the library has memory of another already. */
	bool (*set_memory)(const struct tls_memory *memory);
	/* NULL: `why` says it, naming the key of [tls]. */
	void *(*context_new)(const struct tls_words *words, char why[TLS_WHY_BYTES]);
	bool (*warm)(void *context); /* its first handshake; false: no memory */
	void (*context_free)(void *context);
	void *(*session_new)(void *context, int fd); /* NULL: no memory */
	void (*session_free)(void *session);
	int (*handshake)(void *session); /* 1: done */
	ssize_t (*receive)(void *session, void *to, size_t bytes);
	ssize_t (*send)(void *session, const void *bytes, size_t length);
	void (*goodbye)(void *session); /* "close notify", if there is room for it */
};

extern const struct tls_ops pail_tls_ops;

#endif
