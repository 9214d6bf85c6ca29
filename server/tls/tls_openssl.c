/* SPDX-License-Identifier: MIT */
/* lib/pail/pail-tls.so: tls_ops.h by OpenSSL 3. */
#include "server/tls/tls_ops.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

static bool ops_set_memory(const struct tls_memory *memory)
{
	return CRYPTO_set_mem_functions(memory->alloc, memory->realloc, memory->free) == 1;
}

/* Of the first error in the queue, which is the cause. */
static void why_of(char why[TLS_WHY_BYTES], const char *key, const char *value,
		   const char *what)
{
	unsigned long code = ERR_get_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	snprintf(why, TLS_WHY_BYTES, "[tls] %s: '%s' %s%s%s", key, value, what,
		 reason ? ": " : "", reason ? reason : "");
	ERR_clear_error();
}

static int choose_http(SSL *session, const unsigned char **chosen, unsigned char *length,
		       const unsigned char *offered, unsigned int offered_length,
		       void *argument)
{
	static const unsigned char ours[] = "\x08http/1.1";

	(void)session;
	(void)argument;
	return SSL_select_next_proto((unsigned char **)chosen, length, ours, sizeof(ours) - 1,
				     offered, offered_length) == OPENSSL_NPN_NEGOTIATED
		       ? SSL_TLSEXT_ERR_OK
		       : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool context_files(SSL_CTX *context, const struct tls_words *words, char *why)
{
	if (SSL_CTX_use_certificate_chain_file(context, words->cert) != 1)
		why_of(why, "cert", words->cert,
		       "can't be read as a chain of certificates in PEM");
	else if (SSL_CTX_use_PrivateKey_file(context, words->key, SSL_FILETYPE_PEM) != 1)
		why_of(why, "key", words->key,
		       "can't be read as the certificate's private key in PEM");
	else if (SSL_CTX_check_private_key(context) != 1)
		why_of(why, "key", words->key, "does not belong to the certificate");
	else if (words->ciphers[0] && SSL_CTX_set_cipher_list(context, words->ciphers) != 1)
		why_of(why, "ciphers", words->ciphers, "names no cipher that OpenSSL knows");
	else
		return true;
	return false;
}

static void *ops_context_new(const struct tls_words *words, char why[TLS_WHY_BYTES])
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());

	if (!context) {
		snprintf(why, TLS_WHY_BYTES, "OpenSSL can't start: no memory");
		return NULL;
	}
	ERR_clear_error();
	SSL_CTX_set_min_proto_version(context,
				      words->only_13 ? TLS1_3_VERSION : TLS1_2_VERSION);
	/* A session is in the client's ticket, and nothing of it is kept here. */
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(context, 1);
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
					     SSL_OP_CIPHER_SERVER_PREFERENCE |
					     SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
					  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_alpn_select_cb(context, choose_http, NULL);
	if (!context_files(context, words, why)) {
		SSL_CTX_free(context);
		return NULL;
	}
	return context;
}

/* A handshake with ourselves, which leaves behind what the library keeps of its
 * first: that is not to be charged to the first client. False: no memory. */
static bool warm_by(SSL_CTX *context, int version)
{
	enum { PIPE_BYTES = 32 << 10 };
	SSL_CTX *ours = SSL_CTX_new(TLS_client_method());
	SSL *client = ours ? SSL_new(ours) : NULL, *server = client ? SSL_new(context) : NULL;
	BIO *near = NULL, *far = NULL;
	int done[2] = {0, 0};
	char byte = 0;

	if (server && BIO_new_bio_pair(&near, PIPE_BYTES, &far, PIPE_BYTES) == 1) {
		SSL_set_bio(client, near, near);
		SSL_set_bio(server, far, far);
		SSL_set_connect_state(client);
		SSL_set_accept_state(server);
		SSL_set_max_proto_version(client, version);
		for (int turn = 0; turn < 8 && (done[0] != 1 || done[1] != 1); turn++) {
			done[0] = SSL_do_handshake(client);
			done[1] = SSL_do_handshake(server);
		}
		SSL_write(client, &byte, 1);
		SSL_read(server, &byte, 1);
		SSL_write(server, &byte, 1);
	}
	SSL_free(client);
	SSL_free(server);
	SSL_CTX_free(ours);
	ERR_clear_error();
	return far != NULL;
}

static bool ops_warm(void *context)
{
	return warm_by(context, TLS1_2_VERSION) && warm_by(context, TLS1_3_VERSION);
}

static void ops_context_free(void *context)
{
	SSL_CTX_free(context);
}

static void *ops_session_new(void *context, int fd)
{
	SSL *session = SSL_new(context);

	if (session && SSL_set_fd(session, fd) != 1) {
		SSL_free(session);
		session = NULL;
	}
	if (session)
		SSL_set_accept_state(session);
	ERR_clear_error();
	return session;
}

static void ops_session_free(void *session)
{
	SSL_free(session);
	ERR_clear_error();
}

/* What a call that gave no bytes means: 0 is the peer's end. */
static int outcome(SSL *session, int result)
{
	int error = SSL_get_error(session, result);

	ERR_clear_error();
	switch (error) {
	case SSL_ERROR_WANT_READ: return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE: return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN: return 0;
	default: return TLS_FAILED;
	}
}

static int ops_handshake(void *session)
{
	int result = SSL_do_handshake(session);

	if (result == 1)
		return 1;
	result = outcome(session, result);
	return result == 0 ? TLS_FAILED : result;
}

static ssize_t ops_receive(void *session, void *to, size_t bytes)
{
	int result = SSL_read(session, to, (int)(bytes < INT32_MAX ? bytes : INT32_MAX));

	return result > 0 ? result : outcome(session, result);
}

static ssize_t ops_send(void *session, const void *bytes, size_t length)
{
	int result = SSL_write(session, bytes, (int)length);

	if (result > 0)
		return result;
	result = outcome(session, result);
	return result == 0 ? TLS_FAILED : result;
}

static void ops_goodbye(void *session)
{
	SSL_shutdown(session);
	ERR_clear_error();
}

const struct tls_ops pail_tls_ops = {
	.set_memory = ops_set_memory,
	.context_new = ops_context_new,
	.warm = ops_warm,
	.context_free = ops_context_free,
	.session_new = ops_session_new,
	.session_free = ops_session_free,
	.handshake = ops_handshake,
	.receive = ops_receive,
	.send = ops_send,
	.goodbye = ops_goodbye,
};
