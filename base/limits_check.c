/* SPDX-License-Identifier: MIT */
#include "base/limits.h"

#include "base/limits_parts.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

static int refuse(struct limits_place *place, const char *section, const char *key,
		  struct err *err, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

static int refuse(struct limits_place *place, const char *section, const char *key,
		  struct err *err, const char *format, ...)
{
	snprintf(place->section, sizeof(place->section), "%s", section);
	place->key = key;
	char text[320];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return err_set(err, "%s", text);
}

static bool address_is_possible(const char *address)
{
	if (!limits_is_word(address, ""))
		return false;
	if (strncmp(address, "unix:", 5) == 0)
		return address[5] != '\0' && strlen(address + 5) < 108; /* sun_path */
	const char *colon = strrchr(address, ':');
	struct err ignored;
	uint64_t port;
	if (!colon || units_parse_count(str_of(colon + 1), &port, &ignored) < 0 || port > 65535)
		return false;
	/* "::1:80" could be read in two ways */
	size_t host = (size_t)(colon - address);
	if (address[0] == '[')
		return host >= 2 && address[host - 1] == ']';
	return !memchr(address, ':', host);
}

/* Of this machine alone: a loopback address, as it is written, or a unix socket. */
static bool address_is_local(const char *address)
{
	static const char *const local[] = {"unix:", "localhost:", "[::1]:"};
	if (strncmp(address, "127.", 4) == 0 && address[strspn(address, "0123456789.")] == ':')
		return true;
	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
		if (strncmp(address, local[i], strlen(local[i])) == 0)
			return true;
	}
	return false;
}

#define REFUSE(section, key, ...) return refuse(place, section, key, err, __VA_ARGS__)

enum range_kind { NUMBER, BYTES, PAGES };

static int check_range(struct limits_place *place, const char *section, const char *key,
		       uint64_t value, uint64_t low, uint64_t high, enum range_kind kind,
		       struct err *err)
{
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX], c[UNITS_TEXT_MAX];
	bool outside = value < low || value > high;
	if (outside && kind == NUMBER)
		REFUSE(section, key, "%" PRIu64 " is impossible; give %" PRIu64 " to %" PRIu64,
		       value, low, high);
	if (outside)
		REFUSE(section, key, "%s is impossible; give %s to %s",
		       units_write_size(value, a), units_write_size(low, b),
		       units_write_size(high, c));
	if (kind == PAGES && value % LIMITS_PAGE_BYTES != 0)
		REFUSE(section, key,
		       "%" PRIu64 " is no multiple of the page of %d bytes; give %s", value,
		       LIMITS_PAGE_BYTES,
		       units_write_size((value / LIMITS_PAGE_BYTES + 1) * LIMITS_PAGE_BYTES,
					a));
	return 0;
}

/* Whatever a count or a size may be, a sum of 2^50 bytes is a mistake. */
static const uint64_t SIZE_MOST = UINT64_C(1) << 46;

static int check_server(const struct plan *plan, struct limits_place *place, struct err *err)
{
	if (!address_is_possible(plan->listen))
		REFUSE("server", "listen",
		       "'%s' is no address; give HOST:PORT, [IPV6]:PORT or "
		       "unix:/PATH",
		       plan->listen);
	if (plan->admin[0] && !address_is_possible(plan->admin))
		REFUSE("server", "admin",
		       "'%s' is no address; give HOST:PORT, [IPV6]:PORT or "
		       "unix:/PATH",
		       plan->admin);
	if (plan->admin[0] && !plan->admin_remote && !address_is_local(plan->admin))
		REFUSE("server", "admin",
		       "'%s' is no loopback address, and whoever can reach it reads all "
		       "numbers; give 127.0.0.1:PORT, or admin_remote = yes",
		       plan->admin);
	const struct {
		const char *key;
		uint64_t value, low, high;
		enum range_kind kind;
	} range[] = {
		{"threads", plan->threads, 1, LIMITS_THREADS_MAX, NUMBER},
		{"connections", plan->connections, 1, 1 << 24, NUMBER},
		{"per_address", plan->per_address, 0, 1 << 24, NUMBER},
		{"connections_per_address", plan->connections_per_address, 0, 1 << 24, NUMBER},
		/* The kernel's least: SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF are about 2304,
		 * and it silently raises what is below. */
		{"rcvbuf", plan->rcvbuf_bytes, 2304, 1 << 30, BYTES},
		{"sndbuf", plan->sndbuf_bytes, 2304, 1 << 30, BYTES},
		{"head", plan->head_bytes, LIMITS_HEAD_LEAST_BYTES, 1 << 24, BYTES},
		{"body", plan->body_bytes_max, 0, SIZE_MOST, BYTES},
		{"outgoing", plan->outgoing, 0, 1 << 20, NUMBER},
		{"outgoing_rcvbuf", plan->outgoing_rcvbuf_bytes, 2304, 1 << 30, BYTES},
		{"outgoing_sndbuf", plan->outgoing_sndbuf_bytes, 2304, 1 << 30, BYTES},
		{"resolvers", plan->resolvers, 0, 64, NUMBER},
		{"image", plan->image_bytes, MIB, SIZE_MOST, PAGES},
		{"system", plan->system_bytes, 64 * KIB, SIZE_MOST, PAGES},
	};
	for (size_t i = 0; i < sizeof(range) / sizeof(range[0]); i++) {
		if (check_range(place, "server", range[i].key, range[i].value, range[i].low,
				range[i].high, range[i].kind, err) < 0)
			return -1;
	}
	if (plan->queue > plan->connections)
		REFUSE("server", "queue",
		       "%u requests cannot wait on %u connections; lower it or "
		       "raise connections",
		       plan->queue, plan->connections);
	if (plan->threads > plan->connections)
		REFUSE("server", "threads", "%u threads have nothing to do with %u connections",
		       plan->threads, plan->connections);
	const struct {
		const char *key;
		uint64_t ns;
	} timeout[] = {
		{"head_timeout", plan->head_timeout_ns},
		{"body_timeout", plan->body_timeout_ns},
		{"write_timeout", plan->write_timeout_ns},
		{"idle_timeout", plan->idle_timeout_ns},
	};
	for (size_t i = 0; i < sizeof(timeout) / sizeof(timeout[0]); i++) {
		if (timeout[i].ns == 0)
			REFUSE("server", timeout[i].key,
			       "0 would close every connection at once; "
			       "give a time, such as 10s");
	}
	return 0;
}

static int check_stacks(const struct plan *plan, struct limits_place *place, struct err *err)
{
	if (check_range(place, "stack", "size", plan->stack_bytes, 16 * KIB, 1 << 30, PAGES,
			err) < 0)
		return -1;
	if (plan->big_stack_count == 0)
		return 0;
	return check_range(place, "stack", "big_size", plan->big_stack_bytes, plan->stack_bytes,
			   1 << 30, PAGES, err);
}

static int check_log(const struct plan *plan, struct limits_place *place, struct err *err)
{
	return check_range(place, "log", "ring", plan->logs.ring_bytes, 64 * KIB, 1 << 30,
			   PAGES, err);
}

static int check_tls(const struct plan *plan, struct limits_place *place, struct err *err)
{
	const struct plan_tls *tls = &plan->tls;
	if (!tls->listen[0]) {
		if (tls->cert[0] || tls->key[0])
			REFUSE("tls", "listen", "missing; give the address for TLS");
		return 0;
	}
	if (!address_is_possible(tls->listen))
		REFUSE("tls", "listen",
		       "'%s' is no address; give HOST:PORT, [IPV6]:PORT or unix:/PATH",
		       tls->listen);
	if (!tls->cert[0] || !tls->key[0])
		REFUSE("tls", tls->cert[0] ? "key" : "cert", "missing; give a file in PEM");
	if (strcmp(tls->min_version, "1.2") != 0 && strcmp(tls->min_version, "1.3") != 0)
		REFUSE("tls", "min_version", "'%s' is neither 1.2 nor 1.3", tls->min_version);
	if (tls->handshake_timeout_ns == 0)
		REFUSE("tls", "handshake_timeout",
		       "0 would close every connection at once; give a time, such as 5s");
	if (plan->stack_bytes < 32 * KIB)
		REFUSE("stack", "size", "TLS needs stacks of 32K");
	/* Each thread has its share. */
	if (check_range(place, "tls", "connections", tls->connections, plan->threads,
			plan->connections, NUMBER, err) < 0)
		return -1;
	return check_range(place, "tls", "handshakes", tls->handshakes, plan->threads,
			   tls->connections, NUMBER, err);
}

static int check_classes(const struct plan *plan, struct limits_place *place, struct err *err)
{
	if (plan->class_count == 0 || plan->class_count > LIMITS_CLASSES_MAX)
		REFUSE("bucket", "size", "there are %u classes of buckets; give 1 to %d",
		       plan->class_count, LIMITS_CLASSES_MAX);
	for (uint32_t i = 0; i < plan->class_count; i++) {
		const struct plan_class *class = &plan->class[i];
		char section[LIMITS_NAME_MAX + 16];
		snprintf(section, sizeof(section), "bucket %s", class->name);
		if (!limits_is_word(class->name, "[]#;"))
			REFUSE(section, "size",
			       "'%s' is no name for a bucket; use letters, digits, "
			       "'-' and '_'",
			       class->name);
		for (uint32_t k = 0; k < i; k++) {
			if (strcmp(plan->class[k].name, class->name) == 0)
				REFUSE(section, "size", "there are two buckets of that name");
		}
		if (check_range(place, section, "size", class->size_bytes, LIMITS_PAGE_BYTES,
				SIZE_MOST, PAGES, err) < 0 ||
		    check_range(place, section, "count", class->count, 1, 1 << 24, NUMBER,
				err) < 0)
			return -1;
		if (i > 0 && class->size_bytes < plan->class[i - 1].size_bytes)
			REFUSE(section, "size", "the classes are not in order of size");
		/* Threads share nothing: each has buckets of every class. */
		if (class->count < plan->threads)
			REFUSE("server", "threads",
			       "%u threads are more than the %u buckets of '%s'; lower it or "
			       "raise the bucket's count",
			       plan->threads, class->count, class->name);
	}
	return 0;
}

static int check_routes(const struct plan *plan, struct limits_place *place, struct err *err)
{
	if (plan->route_count > LIMITS_ROUTES_MAX)
		REFUSE("route", "bucket", "there are %u routes; give at most %d",
		       plan->route_count, LIMITS_ROUTES_MAX);
	for (uint32_t i = 0; i < plan->route_count; i++) {
		const struct plan_route *route = &plan->route[i];
		char section[LIMITS_PATTERN_MAX + 16];
		snprintf(section, sizeof(section), "route %s", route->pattern);
		if (!limits_pattern_is_possible(route->pattern))
			REFUSE(section, "bucket",
			       "'%s' is no pattern; give '/path', '/prefix/', "
			       "'/prefix*' or '*', with 'GET ' before it if wanted, or the "
			       "name of a recorded route in double quotes",
			       route->pattern);
		for (uint32_t k = 0; k < i; k++) {
			if (strcmp(plan->route[k].pattern, route->pattern) == 0)
				REFUSE(section, "bucket",
				       "there are two routes of that pattern");
		}
		if (route->class_index >= plan->class_count)
			REFUSE(section, "bucket", "there is no such bucket");
		if (route->stack_bytes != 0 &&
		    check_range(place, section, "stack", route->stack_bytes, 16 * KIB, 1 << 30,
				PAGES, err) < 0)
			return -1;
	}
	return 0;
}

static int check_on_oom(const struct plan *plan, struct limits_place *place, struct err *err)
{
	if (plan->on_oom_count > LIMITS_LIBRARIES_MAX)
		REFUSE("on_oom", "*", "there are %u libraries; give at most %d",
		       plan->on_oom_count, LIMITS_LIBRARIES_MAX);
	for (uint32_t i = 0; i < plan->on_oom_count; i++) {
		const char *library = plan->on_oom[i].library;
		if (!limits_is_word(library, "[]#;:="))
			REFUSE("on_oom", library,
			       "'%s' is no library; give a name such as libsqlite3", library);
		for (uint32_t k = 0; k < i; k++) {
			if (strcmp(plan->on_oom[k].library, library) == 0)
				REFUSE("on_oom", library, "it is there twice");
		}
	}
	return 0;
}

int limits_check_at(const struct plan *plan, struct limits_place *place, struct err *err)
{
	if (check_server(plan, place, err) < 0 || check_stacks(plan, place, err) < 0 ||
	    check_tls(plan, place, err) < 0 || check_log(plan, place, err) < 0 ||
	    check_classes(plan, place, err) < 0 || check_routes(plan, place, err) < 0 ||
	    check_on_oom(plan, place, err) < 0)
		return -1;
	uint64_t total_bytes;
	if (!limits_sum(plan, &total_bytes) || total_bytes > UINT64_C(1) << 50) {
		char section[LIMITS_NAME_MAX + 16];
		snprintf(section, sizeof(section), "bucket %s",
			 plan->class[plan->class_count - 1].name);
		REFUSE(section, "count",
		       "the whole plan needs more than 1024 TiB; lower the counts "
		       "and sizes");
	}
	return 0;
}

int limits_check(const struct plan *plan, struct err *err)
{
	struct limits_place place;
	if (limits_check_at(plan, &place, err) < 0)
		return err_prefix(err, "[%s] %s", place.section, place.key);
	return 0;
}
