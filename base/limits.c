/* SPDX-License-Identifier: MIT */
#include "base/limits.h"

#include "base/units.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { KIB = 1024, MIB = 1024 * 1024 };
static const uint64_t SECOND_NS = UINT64_C(1000000000);

void limits_defaults(struct plan *plan)
{
	*plan = (struct plan){
		.listen = "127.0.0.1:8080",
		.threads = 1,
		.connections = 1024,
		/* The kernel doubles both and charges them to every connection, so they
		 * are the largest term by far: 32K still moves 32 MB/s at 1 ms. */
		.rcvbuf_bytes = 16 * KIB,
		.sndbuf_bytes = 32 * KIB,
		.head_bytes = 8 * KIB,
		.queue = 64,
		.wait_ns = SECOND_NS,
		.patience_ns = SECOND_NS / 2,
		.drain_ns = 30 * SECOND_NS,
		.head_timeout_ns = 10 * SECOND_NS,
		.body_timeout_ns = 30 * SECOND_NS,
		.write_timeout_ns = 30 * SECOND_NS,
		.idle_timeout_ns = 60 * SECOND_NS,
		.cpu_deadline_ns = 5 * SECOND_NS,
		.wall_deadline_ns = 30 * SECOND_NS,
		.outgoing = 32,
		.outgoing_rcvbuf_bytes = 16 * KIB,
		.outgoing_sndbuf_bytes = 16 * KIB,
		.outgoing_wait_ns = SECOND_NS,
		.resolvers = 2,
		.image_bytes = 16 * MIB,
		.system_bytes = 8 * MIB,
		.policy = ARENA_REUSE,
		.stack_bytes = 64 * KIB,
		.big_stack_bytes = MIB,
		.big_stack_count = 2,
		.big_stack_wait_ns = SECOND_NS / 10,
		.tls = {.min_version = "1.2",
			.connections = 128,
			.handshakes = 16,
			.handshake_timeout_ns = 5 * SECOND_NS},
		.logs = {.ring_bytes = 256 * KIB},
		.class_count = 1,
		.class = {{.name = "main", .size_bytes = 256 * KIB, .count = 16}},
	};
}

/* -- the sum -------------------------------------------------------------- */

uint64_t limits_class_stack_bytes(const struct plan *plan, uint32_t class_index)
{
	uint64_t most = plan->stack_bytes;
	for (uint32_t i = 0; i < plan->route_count; i++) {
		const struct plan_route *route = &plan->route[i];
		bool reaches = route->class_index == class_index ||
			       (route->retry && route->class_index < class_index);
		if (reaches && route->stack_bytes > most)
			most = route->stack_bytes;
	}
	return most;
}

/* Adds up while it watches for overflow; `bound` may be NULL. */
struct sum {
	struct bound *bound;
	uint64_t total_bytes;
	bool overflow;
};

static struct bound_term *add(struct sum *sum, uint64_t count, uint64_t each_bytes)
{
	uint64_t bytes;
	sum->overflow |= __builtin_mul_overflow(count, each_bytes, &bytes);
	sum->overflow |= __builtin_add_overflow(sum->total_bytes, bytes, &sum->total_bytes);
	if (!sum->bound)
		return NULL;
	assert(sum->bound->term_count < LIMITS_TERMS_MAX);
	struct bound_term *term = &sum->bound->term[sum->bound->term_count++];
	term->bytes = bytes;
	term->how[0] = '\0';
	return term;
}

/* "256 KiB" where it is exact, bytes where it is not. */
static const char *exact(uint64_t bytes, char text[UNITS_TEXT_MAX])
{
	if (bytes >= MIB && bytes % MIB == 0)
		snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 " MiB", bytes / MIB);
	else if (bytes >= KIB && bytes % KIB == 0)
		snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 " KiB", bytes / KIB);
	else
		snprintf(text, UNITS_TEXT_MAX, "%" PRIu64 " B", bytes);
	return text;
}

static void name_term(struct bound_term *term, const char *name, const char *how, ...)
	__attribute__((format(printf, 3, 4)));

static void name_term(struct bound_term *term, const char *name, const char *how, ...)
{
	if (!term)
		return;
	snprintf(term->name, sizeof(term->name), "%s", name);
	va_list args;
	va_start(args, how);
	vsnprintf(term->how, sizeof(term->how), how, args);
	va_end(args);
}

static void add_classes(struct sum *sum, const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->class_count; i++) {
		const struct plan_class *class = &plan->class[i];
		uint64_t stack_bytes = limits_class_stack_bytes(plan, i), each_bytes;
		sum->overflow |=
			__builtin_add_overflow(class->size_bytes, stack_bytes, &each_bytes);
		sum->overflow |= __builtin_add_overflow(each_bytes, LIMITS_BUCKET_META_BYTES,
							&each_bytes);
		struct bound_term *term = add(sum, class->count, each_bytes);
		if (!term)
			continue;
		char name[sizeof(term->name)], a[UNITS_TEXT_MAX], s[UNITS_TEXT_MAX],
			m[UNITS_TEXT_MAX];
		snprintf(name, sizeof(name), "bucket %s", class->name);
		name_term(term, name, "%u x (%s arena + %s stack + %s meta)", class->count,
			  exact(class->size_bytes, a), exact(stack_bytes, s),
			  exact(LIMITS_BUCKET_META_BYTES, m));
	}
}

static void add_connections(struct sum *sum, const struct plan *plan)
{
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX];
	struct bound_term *term = add(sum, plan->connections, plan->head_bytes);
	name_term(term, "header buffers", "%u connections x %s", plan->connections,
		  exact(plan->head_bytes, a));
	term = add(sum, plan->connections, LIMITS_CONNECTION_BYTES);
	name_term(term, "connection table", "%u connections x %s", plan->connections,
		  exact(LIMITS_CONNECTION_BYTES, a));
	if (limits_addresses(plan) > 0)
		name_term(add(sum, limits_addresses(plan), LIMITS_ADDRESS_BYTES),
			  "client addresses", "(%u connections + %u threads) x %s",
			  plan->connections, plan->threads, exact(LIMITS_ADDRESS_BYTES, a));
	uint64_t buffers_bytes;
	sum->overflow |=
		__builtin_add_overflow(plan->rcvbuf_bytes, plan->sndbuf_bytes, &buffers_bytes);
	sum->overflow |= __builtin_mul_overflow(buffers_bytes, 2, &buffers_bytes);
	term = add(sum, plan->connections, buffers_bytes);
	name_term(term, "socket buffers", "%u connections x 2 x (%s rcvbuf + %s sndbuf)",
		  plan->connections, exact(plan->rcvbuf_bytes, a),
		  exact(plan->sndbuf_bytes, b));
	term = add(sum, plan->connections, LIMITS_KERNEL_CONNECTION_BYTES);
	name_term(term, "kernel's own", "%u connections x %s of sockets, files, timers",
		  plan->connections, exact(LIMITS_KERNEL_CONNECTION_BYTES, a));
}

/* Sockets that handlers open, to databases and the like. */
static void add_outgoing(struct sum *sum, const struct plan *plan)
{
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX], c[UNITS_TEXT_MAX];
	uint64_t each_bytes;
	if (plan->outgoing > 0) {
		sum->overflow |= __builtin_add_overflow(
			plan->outgoing_rcvbuf_bytes, plan->outgoing_sndbuf_bytes, &each_bytes);
		sum->overflow |= __builtin_mul_overflow(each_bytes, 2, &each_bytes);
		sum->overflow |= __builtin_add_overflow(
			each_bytes, LIMITS_KERNEL_CONNECTION_BYTES, &each_bytes);
		name_term(add(sum, plan->outgoing, each_bytes), "outgoing connections",
			  "%u x (2 x (%s rcvbuf + %s sndbuf) + %s kernel's own)",
			  plan->outgoing, exact(plan->outgoing_rcvbuf_bytes, a),
			  exact(plan->outgoing_sndbuf_bytes, b),
			  exact(LIMITS_KERNEL_CONNECTION_BYTES, c));
	}
	if (plan->resolvers > 0)
		name_term(add(sum, plan->resolvers, LIMITS_RESOLVER_BYTES), "name look-ups",
			  "%u threads x %s", plan->resolvers, exact(LIMITS_RESOLVER_BYTES, a));
}

/* One more for each thread: a newcomer is looked up before another makes room. */
uint32_t limits_addresses(const struct plan *plan)
{
	bool counts = plan->per_address > 0 || plan->connections_per_address > 0;
	return counts ? plan->connections + plan->threads : 0;
}

uint64_t limits_tls_bytes(const struct plan *plan)
{
	const uint64_t more_bytes = LIMITS_TLS_HANDSHAKE_BYTES - LIMITS_TLS_CONNECTION_BYTES;
	if (!plan->tls.listen[0])
		return 0;
	return LIMITS_TLS_BASE_BYTES +
	       plan->tls.connections * (uint64_t)LIMITS_TLS_CONNECTION_BYTES +
	       plan->tls.handshakes * more_bytes;
}

static void add_tls(struct sum *sum, const struct plan *plan)
{
	char a[UNITS_TEXT_MAX], b[UNITS_TEXT_MAX], c[UNITS_TEXT_MAX];
	if (!plan->tls.listen[0])
		return;
	name_term(add(sum, 1, limits_tls_bytes(plan)), "TLS",
		  "%s + %u connections x %s + %u handshakes x %s",
		  exact(LIMITS_TLS_BASE_BYTES, a), plan->tls.connections,
		  exact(LIMITS_TLS_CONNECTION_BYTES, b), plan->tls.handshakes,
		  exact(LIMITS_TLS_HANDSHAKE_BYTES - LIMITS_TLS_CONNECTION_BYTES, c));
}

/* Eight bytes for each page of address space, guard zones included: at most
 * one stack with its guard for each bucket, big stack and worker. */
static void add_page_tables(struct sum *sum, const struct plan *plan)
{
	uint64_t stacks = plan->big_stack_count + plan->resolvers + (uint64_t)plan->threads * 2;
	for (uint32_t i = 0; i < plan->class_count; i++)
		stacks += plan->class[i].count;
	uint64_t user_bytes = sum->total_bytes, space_bytes;
	sum->overflow |=
		__builtin_add_overflow(user_bytes, stacks * LIMITS_GUARD_BYTES, &space_bytes);
	name_term(add(sum, 1, LIMITS_PAGE_TABLES_LEAST_BYTES + space_bytes / 512),
		  "page tables", "8 bytes for each page, and those of guard zones");
}

static void add_all(struct sum *sum, const struct plan *plan)
{
	char a[UNITS_TEXT_MAX];
	add_classes(sum, plan);
	struct bound_term *term = add(sum, plan->big_stack_count, plan->big_stack_bytes);
	name_term(term, "big stacks", "%u x %s", plan->big_stack_count,
		  exact(plan->big_stack_bytes, a));
	add_connections(sum, plan);
	add_outgoing(sum, plan);
	add_tls(sum, plan);
	name_term(add(sum, 1, plan->system_bytes), "system region",
		  "what is allocated outside "
		  "requests");
	term = add(sum, plan->threads, LIMITS_THREAD_BYTES);
	name_term(term, "worker threads", "%u x %s", plan->threads,
		  exact(LIMITS_THREAD_BYTES, a));
	term = add(sum, plan->threads, plan->logs.ring_bytes);
	name_term(term, "log", "%u threads x %s of lines that wait to be written",
		  plan->threads, exact(plan->logs.ring_bytes, a));
	if (plan->admin[0])
		name_term(add(sum, 1, LIMITS_ADMIN_REGION_BYTES + LIMITS_ADMIN_KERNEL_BYTES),
			  "admin address", "%d clients, their buffers and sockets, a thread",
			  LIMITS_ADMIN_CLIENTS);
	name_term(add(sum, 1, plan->image_bytes), "text, data and libraries", "allowance");
	add_page_tables(sum, plan);
	if (plan->overlap)
		name_term(add(sum, 1, sum->total_bytes), "successor",
			  "overlap: all of it once more, while a process that failed drains");
	if (plan->recorder)
		name_term(add(sum, 1,
			      LIMITS_RECORD_PIPE_BYTES + LIMITS_RECORDER_BYTES +
				      plan->threads * (uint64_t)LIMITS_RECORD_RING_BYTES),
			  "recorder",
			  "--record: a pipe, %u rings before it, and a process that writes "
			  "the trace",
			  plan->threads);
}

void limits_bound(const struct plan *plan, struct bound *bound)
{
	bound->term_count = 0;
	struct sum sum = {.bound = bound};
	add_all(&sum, plan);
	assert(!sum.overflow);
	bound->total_bytes = sum.total_bytes;
}

uint64_t limits_bound_bytes(const struct plan *plan)
{
	struct sum sum = {0};
	add_all(&sum, plan);
	assert(!sum.overflow);
	return sum.total_bytes;
}

/* -- impossible numbers ---------------------------------------------------- */

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

/* Printable ASCII or UTF-8 without blanks, and none of `without`. */
static bool is_word(const char *text, const char *without)
{
	if (*text == '\0')
		return false;
	for (const char *c = text; *c; c++) {
		if ((unsigned char)*c <= ' ' || *c == 0x7f || strchr(without, *c))
			return false;
	}
	return true;
}

static bool address_is_possible(const char *address)
{
	if (!is_word(address, ""))
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
		if (!is_word(class->name, "[]#;"))
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

/* ---- quoted names ------------------------------------------------------------ */

/* What stands for itself between quotes in a section's line of pail.conf. */
static bool is_plain(unsigned char c)
{
	return c >= ' ' && c != 0x7f && !strchr("\"\\[]#;", c);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* The next byte of a quoted pattern; -1 at its closing quote, -2 if it is none. */
static int quoted_next(struct str *rest)
{
	if (rest->length == 1 && rest->bytes[0] == '"')
		return -1;
	size_t taken = 1;
	int byte = -2;
	if (rest->length >= 4 && rest->bytes[0] == '\\' && rest->bytes[1] == 'x') {
		int high = hex_digit(rest->bytes[2]), low = hex_digit(rest->bytes[3]);
		byte = high < 0 || low < 0 ? -2 : high * 16 + low;
		/* One spelling for each name: two rules for the same would not be seen. */
		if (byte >= 0 && is_plain((unsigned char)byte))
			byte = -2;
		taken = 4;
	} else if (rest->length > 0 && is_plain((unsigned char)rest->bytes[0])) {
		byte = (unsigned char)rest->bytes[0];
	}
	if (byte >= 0)
		*rest = (struct str){rest->bytes + taken, rest->length - taken};
	return byte;
}

static bool quoted_is_possible(const char *pattern)
{
	struct str rest = {pattern + 1, strlen(pattern) - 1};
	int byte;
	size_t length = 0;
	while ((byte = quoted_next(&rest)) >= 0)
		length++;
	return byte == -1 && length > 0;
}

/* True when the name is "METHOD path", or the path where there is no method. */
static bool quoted_fits(struct str pattern, struct str method, struct str path)
{
	struct str rest = {pattern.bytes + 1, pattern.length - 1};
	size_t lead = method.length ? method.length + 1 : 0, length = lead + path.length;
	for (size_t i = 0; i < length; i++) {
		char want = i < method.length ? method.bytes[i]
			    : i < lead        ? ' '
					      : path.bytes[i - lead];
		if (quoted_next(&rest) != (unsigned char)want)
			return false;
	}
	return quoted_next(&rest) == -1;
}

static int quote(struct str name, char pattern[LIMITS_PATTERN_MAX])
{
	static const char digit[] = "0123456789abcdef";
	size_t n = 0;
	pattern[n++] = '"';
	for (size_t i = 0; i < name.length; i++) {
		unsigned char c = (unsigned char)name.bytes[i];
		if (n + (is_plain(c) ? 1 : 4) + 2 > LIMITS_PATTERN_MAX)
			return -1;
		if (is_plain(c)) {
			pattern[n++] = (char)c;
			continue;
		}
		pattern[n++] = '\\';
		pattern[n++] = 'x';
		pattern[n++] = digit[c >> 4];
		pattern[n++] = digit[c & 15];
	}
	pattern[n++] = '"';
	pattern[n] = '\0';
	return 0;
}

/* ---- routes ------------------------------------------------------------------ */

/* "*", "/path", "/prefix/", "/prefix*", each with "METHOD " before it or not; or a
 * whole name in quotes. */
static bool pattern_is_possible(const char *pattern)
{
	if (pattern[0] == '"')
		return quoted_is_possible(pattern);
	const char *path = strchr(pattern, ' ');
	if (path) {
		for (const char *c = pattern; c < path; c++) {
			if (*c < 'A' || *c > 'Z')
				return false;
		}
		if (path == pattern)
			return false;
		path++;
	} else {
		path = pattern;
	}
	if (strcmp(path, "*") == 0)
		return true;
	const char *star = strchr(path, '*');
	return path[0] == '/' && is_word(path, "?") && (!star || star[1] == '\0');
}

int limits_pattern_of(struct str name, char pattern[LIMITS_PATTERN_MAX])
{
	bool fits = name.length > 0 && name.length < LIMITS_PATTERN_MAX &&
		    !memchr(name.bytes, '\0', name.length);
	if (fits) {
		memcpy(pattern, name.bytes, name.length);
		pattern[name.length] = '\0';
		/* A star would mean all that begins so, a bracket end the section's line. */
		if (pattern_is_possible(pattern) && !strpbrk(pattern, "\"*[]#;"))
			return 0;
	}
	return quote(name, pattern);
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
		if (!pattern_is_possible(route->pattern))
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
		if (!is_word(library, "[]#;:="))
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
	struct sum sum = {0};
	add_all(&sum, plan);
	if (sum.overflow || sum.total_bytes > UINT64_C(1) << 50) {
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

/* -- routes ---------------------------------------------------------------- */

bool limits_is_identifier(struct str segment)
{
	enum { HEX_LEAST = 16, UUID_BYTES = 36 };
	size_t digits = 0, hex = 0, dashes = 0;
	for (size_t i = 0; i < segment.length; i++) {
		char c = segment.bytes[i];
		bool digit = c >= '0' && c <= '9';
		digits += digit;
		hex += digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
		dashes += c == '-';
	}
	if (segment.length == 0)
		return false;
	return digits == segment.length ||
	       (hex == segment.length && segment.length >= HEX_LEAST && digits > 0) ||
	       (segment.length == UUID_BYTES && dashes == 4 && hex == UUID_BYTES - 4);
}

/* Segment by segment, ":id" for an identifier. */
static bool identifiers_fit(struct str pattern, struct str path)
{
	for (;;) {
		struct str wanted, segment;
		bool more = str_cut(pattern, '/', &wanted, &pattern);
		if (str_cut(path, '/', &segment, &path) != more)
			return false;
		if (!str_equal(wanted, segment) &&
		    !(str_equal(wanted, STR(":id")) && limits_is_identifier(segment)))
			return false;
		if (!more)
			return true;
	}
}

/* How well a pattern fits, 0 for not at all: exact before one with identifiers,
 * that before a prefix, then longer before shorter, then with a method before
 * without. */
static size_t route_rank(struct str pattern, struct str method, struct str path)
{
	const size_t exact_rank = (size_t)1 << 32;
	if (pattern.length > 0 && pattern.bytes[0] == '"')
		return quoted_fits(pattern, method, path) ? exact_rank + 2 : 0;
	struct str wanted, rest;
	bool with_method = str_cut(pattern, ' ', &wanted, &rest);
	if (with_method && !str_equal(wanted, method))
		return 0;
	struct str p = with_method ? rest : pattern;
	if (str_equal(p, path))
		return exact_rank + with_method;
	if (memmem(p.bytes, p.length, "/:id", 4) && identifiers_fit(p, path))
		return exact_rank / 2 + 2 * p.length + with_method;
	bool star = p.length > 0 && p.bytes[p.length - 1] == '*';
	bool folder = p.length > 0 && p.bytes[p.length - 1] == '/';
	if (star)
		p.length--;
	if ((!star && !folder) || !str_starts(path, p))
		return 0;
	return 2 * (p.length + 1) + with_method;
}

int limits_route(const struct plan *plan, struct str method, struct str path)
{
	int best = -1;
	size_t best_rank = 0;
	for (uint32_t i = 0; i < plan->route_count; i++) {
		size_t rank = route_rank(str_of(plan->route[i].pattern), method, path);
		if (rank > best_rank) {
			best_rank = rank;
			best = (int)i;
		}
	}
	return best;
}
