/* SPDX-License-Identifier: MIT */
/*
 * TLS: what OpenSSL and GnuTLS give and take is what the program reads and
 * writes; what goes over the socket meanwhile is noise. Neither library is
 * linked: the hooks are there if the program asks for them, and find the real
 * functions in whatever library of that name is loaded, also one that only a
 * module of the program sees.
 *
 * Which descriptor a session is on: as the library says, or, where the program
 * moves the bytes itself (Apache's filters, asyncio's memory BIOs), the stream
 * that was read from within the call, or was read by the thread last when the
 * session's first plain text came out; and it began like TLS.
 */
#include "libtrace/shim/fds.h"
#include "libtrace/shim/io.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <string.h>

enum { SESSIONS = 4096, PROBES = 8 };

/* Sessions whose library does not know their descriptor. */
static struct session {
	_Atomic uintptr_t session;
	_Atomic int fd;
} sessions[SESSIONS];

static struct session *find_session(const void *session, bool make)
{
	uintptr_t key = (uintptr_t)session;
	size_t at = (size_t)(key >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 52;

	for (size_t i = 0; i < PROBES; i++) {
		struct session *s = &sessions[(at + i) % SESSIONS];
		uintptr_t there = atomic_load(&s->session);
		if (there == key)
			return s;
		if (make && there == 0 &&
		    atomic_compare_exchange_strong(&s->session, &there, key))
			return s;
	}
	return NULL;
}

static void forget_session(const void *session)
{
	struct session *s = find_session(session, false);

	if (s)
		atomic_store(&s->session, 0);
}

/* A stream that began as TLS does. */
static bool speaks_tls(int fd)
{
	return fd >= 0 && (fds_talk(fd) == TALK_RECORDS || fds_talk(fd) == TALK_TLS);
}

/* -1: not known. */
static int write_descriptor(const void *session, int told)
{
	if (told >= 0 && fds_kind(told) == FD_STREAM)
		return told;
	struct session *s = find_session(session, false);
	return s ? atomic_load(&s->fd) : -1;
}

/* `before`: what io_last_fd was when the call began, which has set it to -1. */
static int read_descriptor(const void *session, int told, int before)
{
	int inside = io_last_fd;

	if (inside < 0)
		io_last_fd = before;
	if (told >= 0 && fds_kind(told) == FD_STREAM)
		return told;
	struct session *s = find_session(session, false);
	if (inside < 0 && s)
		return atomic_load(&s->fd);
	if (!speaks_tls(io_last_fd))
		return -1;
	if (!s)
		s = find_session(session, true);
	if (s)
		atomic_store(&s->fd, io_last_fd);
	return io_last_fd;
}

/* Before a call that reads: whether it does so from a socket will show. */
static int begin_read(void)
{
	int before = io_last_fd;

	io_last_fd = -1;
	return before;
}

static void end_read(int before)
{
	if (io_last_fd < 0)
		io_last_fd = before;
}

/* -- the real ones --------------------------------------------------------------- */

#define TLS_FUNCTIONS(X)                                                        \
	X(openssl, SSL_read, int, (void *, void *, int))                        \
	X(openssl, SSL_read_ex, int, (void *, void *, size_t, size_t *))        \
	X(openssl, SSL_write, int, (void *, const void *, int))                 \
	X(openssl, SSL_write_ex, int, (void *, const void *, size_t, size_t *)) \
	X(openssl, SSL_get_fd, int, (const void *))                             \
	X(openssl, SSL_free, void, (void *))                                    \
	X(gnutls, gnutls_record_recv, ssize_t, (void *, void *, size_t))        \
	X(gnutls, gnutls_record_send, ssize_t, (void *, const void *, size_t))  \
	X(gnutls, gnutls_transport_get_int2, void, (void *, int *, int *))      \
	X(gnutls, gnutls_deinit, void, (void *))

#define X(library, name, result, parameters) static result(*real_##name) parameters;
TLS_FUNCTIONS(X)
#undef X

static void *find(const char *const *names, const char *symbol)
{
	void *found = dlsym(RTLD_NEXT, symbol);

	for (; !found && *names; names++) {
		void *library = dlopen(*names, RTLD_LAZY | RTLD_NOLOAD);
		if (library) {
			found = dlsym(library, symbol);
			dlclose(library);
		}
	}
	return found;
}

static void *find_tls(const char *library, const char *symbol)
{
	static const char *const openssl[] = {"libssl.so.3", "libssl.so.1.1", "libssl.so.1.0.0",
					      "libssl.so.10", NULL};
	static const char *const gnutls[] = {"libgnutls.so.30", NULL};

	return find(*library == 'o' ? openssl : gnutls, symbol);
}

/* Who calls the hook has the library loaded, so it is there. */
#define REAL_TLS(library, name)                                             \
	({                                                                  \
		if (UNLIKELY(!real_##name)) {                               \
			void *found_ = find_tls(#library, #name);           \
			memcpy(&real_##name, &found_, sizeof(real_##name)); \
		}                                                           \
		real_##name;                                                \
	})

/* -- OpenSSL --------------------------------------------------------------------- */

static int openssl_told(const void *ssl)
{
	int (*get)(const void *) = REAL_TLS(openssl, SSL_get_fd);

	return get ? get(ssl) : -1;
}

static void openssl_read(const void *ssl, const void *buffer, size_t bytes, int before)
{
	int fd = read_descriptor(ssl, openssl_told(ssl), before);

	if (fd >= 0)
		io_plain_read(fd, buffer, bytes);
}

static void openssl_wrote(const void *ssl, const void *buffer, size_t bytes)
{
	int fd = write_descriptor(ssl, openssl_told(ssl));

	if (fd >= 0)
		io_plain_write(fd, buffer, bytes);
}

EXPORT int SSL_read(void *ssl, void *buffer, int bytes);
EXPORT int SSL_read(void *ssl, void *buffer, int bytes)
{
	int before = begin_read();
	int result = REAL_TLS(openssl, SSL_read)(ssl, buffer, bytes);

	if (result > 0)
		openssl_read(ssl, buffer, (size_t)result, before);
	end_read(before);
	return result;
}

EXPORT int SSL_read_ex(void *ssl, void *buffer, size_t bytes, size_t *done);
EXPORT int SSL_read_ex(void *ssl, void *buffer, size_t bytes, size_t *done)
{
	int before = begin_read();
	int result = REAL_TLS(openssl, SSL_read_ex)(ssl, buffer, bytes, done);

	if (result > 0)
		openssl_read(ssl, buffer, *done, before);
	end_read(before);
	return result;
}

EXPORT int SSL_write(void *ssl, const void *buffer, int bytes);
EXPORT int SSL_write(void *ssl, const void *buffer, int bytes)
{
	int result = REAL_TLS(openssl, SSL_write)(ssl, buffer, bytes);

	if (result > 0)
		openssl_wrote(ssl, buffer, (size_t)result);
	return result;
}

EXPORT int SSL_write_ex(void *ssl, const void *buffer, size_t bytes, size_t *done);
EXPORT int SSL_write_ex(void *ssl, const void *buffer, size_t bytes, size_t *done)
{
	int result = REAL_TLS(openssl, SSL_write_ex)(ssl, buffer, bytes, done);

	if (result > 0)
		openssl_wrote(ssl, buffer, *done);
	return result;
}

EXPORT void SSL_free(void *ssl);
EXPORT void SSL_free(void *ssl)
{
	forget_session(ssl);
	REAL_TLS(openssl, SSL_free)(ssl);
}

/* -- GnuTLS ---------------------------------------------------------------------- */

static void gnutls_told(void *session, int *in, int *out)
{
	void (*get)(void *, int *, int *) = REAL_TLS(gnutls, gnutls_transport_get_int2);

	*in = *out = -1;
	if (get)
		get(session, in, out);
}

EXPORT ssize_t gnutls_record_recv(void *session, void *buffer, size_t bytes);
EXPORT ssize_t gnutls_record_recv(void *session, void *buffer, size_t bytes)
{
	int before = begin_read(), in, out;
	ssize_t result = REAL_TLS(gnutls, gnutls_record_recv)(session, buffer, bytes);

	if (result > 0) {
		gnutls_told(session, &in, &out);
		int fd = read_descriptor(session, in, before);
		if (fd >= 0)
			io_plain_read(fd, buffer, (size_t)result);
	}
	end_read(before);
	return result;
}

/* Without data it sends again what it could not send before. */
EXPORT ssize_t gnutls_record_send(void *session, const void *buffer, size_t bytes);
EXPORT ssize_t gnutls_record_send(void *session, const void *buffer, size_t bytes)
{
	ssize_t result = REAL_TLS(gnutls, gnutls_record_send)(session, buffer, bytes);
	int in, out;

	if (result > 0 && buffer) {
		gnutls_told(session, &in, &out);
		int fd = write_descriptor(session, out);
		if (fd >= 0)
			io_plain_write(fd, buffer, (size_t)result);
	}
	return result;
}

EXPORT void gnutls_deinit(void *session);
EXPORT void gnutls_deinit(void *session)
{
	forget_session(session);
	REAL_TLS(gnutls, gnutls_deinit)(session);
}
