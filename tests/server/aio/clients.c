/* SPDX-License-Identifier: MIT */
/*
 * A handler that asks a real database, by the libraries as Debian has them:
 *
 *	/pg?n=K       libpq: SELECT K*2, after pg_sleep(0.2); ports are in pail_start's
 *	              arguments: redis, PostgreSQL, HTTP; 0 for what is not there
 *	/redis?n=K    hiredis: ECHO K, after BLPOP of an empty list for a while
 *	/pool?n=K     hiredis, on a connection that lasts: "K of" how many were opened
 *	/curl?n=K     libcurl: GET /slow?n=K of the HTTP server, by name
 */
#include <pail/handler.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WITH_PQ
#	include <libpq-fe.h>
#endif
#ifdef WITH_REDIS
#	include <hiredis.h>
#endif
#ifdef WITH_CURL
#	include <curl/curl.h>
#endif

static int redis_port, pg_port, http_port;

int pail_start(int argc, char **argv)
{
	redis_port = argc > 1 ? atoi(argv[1]) : 0;
	pg_port = argc > 2 ? atoi(argv[2]) : 0;
	http_port = argc > 3 ? atoi(argv[3]) : 0;
#ifdef WITH_CURL
	if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK)
		return 1;
#endif
	return 0;
}

int pail_thread_start(void)
{
#ifdef WITH_CURL
	CURL *curl = curl_easy_init();

	curl_easy_cleanup(curl);
	return curl == NULL;
#else
	return 0;
#endif
}

static void say(struct pail_request *r, const char *text)
{
	pail_write(r, text, strlen(text));
}

#ifdef WITH_PQ
static int ask_pg(struct pail_request *r, const char *n, const char *seconds)
{
	char words[160], query[160];

	snprintf(words, sizeof(words),
		 "host=127.0.0.1 port=%d user=pail dbname=postgres sslmode=disable "
		 "gssencmode=disable connect_timeout=10",
		 pg_port);
	PGconn *connection = PQconnectdb(words);
	if (PQstatus(connection) != CONNECTION_OK) {
		say(r, PQerrorMessage(connection));
		PQfinish(connection);
		return 502;
	}
	snprintf(query, sizeof(query), "SELECT %s * 2 FROM pg_sleep(%s)", n, seconds);
	PGresult *result = PQexec(connection, query);
	int fine = PQresultStatus(result) == PGRES_TUPLES_OK;
	say(r, fine ? PQgetvalue(result, 0, 0) : PQerrorMessage(connection));
	PQclear(result);
	PQfinish(connection);
	return fine ? 200 : 502;
}
#endif

#ifdef WITH_REDIS
static int ask_redis(struct pail_request *r, const char *n, const char *seconds)
{
	redisContext *context = redisConnect("127.0.0.1", redis_port);
	int status = 502;

	if (!context || context->err) {
		say(r, context ? context->errstr : "no memory");
		return 502;
	}
	redisReply *reply = redisCommand(context, "BLPOP nothing-%s %s", n, seconds);
	if (reply && reply->type == REDIS_REPLY_NIL) {
		redisReply *echo = redisCommand(context, "ECHO %s", n);
		if (echo && echo->type == REDIS_REPLY_STRING) {
			pail_write(r, echo->str, echo->len);
			status = 200;
		}
	}
	if (status != 200)
		say(r, context->errstr);
	redisFree(context);
	return status;
}
#endif

#ifdef WITH_REDIS
/* Connections that outlive their request: a pool per thread, outside of buckets. */
enum { POOL = 16 };
static _Thread_local struct {
	redisContext *context[POOL];
	int count, opened;
} pool;

struct loan {
	redisContext *context;
	int idle; /* between a command's answer and the next command */
};

/* On every end of the request, by a jump too. */
static void give_back(void *argument)
{
	struct loan *loan = argument;

	pail_outside_begin();
	if (loan->context && loan->idle && pool.count < POOL)
		pool.context[pool.count++] = loan->context;
	else if (loan->context)
		redisFree(loan->context);
	pail_outside_end();
}

static int ask_pool(struct pail_request *r, const char *n, const char *seconds)
{
	struct loan *loan = pail_alloc(r, sizeof(*loan));
	char text[64] = "";

	*loan = (struct loan){NULL, 0};
	pail_defer(r, give_back, loan);
	pail_outside_begin();
	if (pool.count > 0) {
		loan->context = pool.context[--pool.count];
	} else {
		loan->context = redisConnect("127.0.0.1", redis_port);
		pool.opened++;
	}
	if (loan->context && !loan->context->err) {
		redisReply *wait = redisCommand(loan->context, "BLPOP none-%s %s", n, seconds);
		redisReply *echo = wait ? redisCommand(loan->context, "ECHO %s", n) : NULL;
		if (echo && echo->type == REDIS_REPLY_STRING)
			snprintf(text, sizeof(text), "%s of %d", echo->str, pool.opened);
		freeReplyObject(wait);
		freeReplyObject(echo);
		loan->idle = text[0] != 0;
	}
	pail_outside_end();
	say(r, text);
	return text[0] ? 200 : 502;
}
#endif

#ifdef WITH_CURL
static size_t take(char *bytes, size_t size, size_t count, void *context)
{
	pail_write(context, bytes, size * count);
	return size * count;
}

static int ask_curl(struct pail_request *r, const char *n)
{
	CURL *curl = curl_easy_init();
	char url[128];

	/* Curl knows localhost itself; this one it looks up on a thread. */
	snprintf(url, sizeof(url), "http://%s:%d/slow?n=%s", getenv("PAIL_TEST_HOST"),
		 http_port, n);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, r);
	CURLcode code = curl_easy_perform(curl);
	if (code != CURLE_OK)
		say(r, curl_easy_strerror(code));
	curl_easy_cleanup(curl);
	return code == CURLE_OK ? 200 : 502;
}
#endif

int pail_handle(struct pail_request *r)
{
	const char *path = pail_path(r), *query = pail_query(r);
	char n[16] = "0", seconds[16] = "1";

	sscanf(query, "n=%15[0-9]&s=%15[0-9.]", n, seconds);
	(void)path;
	(void)seconds;
#ifdef WITH_PQ
	if (strcmp(path, "/pg") == 0)
		return ask_pg(r, n, seconds);
#endif
#ifdef WITH_REDIS
	if (strcmp(path, "/redis") == 0)
		return ask_redis(r, n, seconds);
	if (strcmp(path, "/pool") == 0)
		return ask_pool(r, n, seconds);
#endif
#ifdef WITH_CURL
	if (strcmp(path, "/curl") == 0)
		return ask_curl(r, n);
#endif
	return 404;
}
