/* SPDX-License-Identifier: MIT */
#include "server/server.h"

#include "base/conf.h"
#include "base/json.h"
#include "base/table.h"
#include "base/units.h"
#include "server/operation/activation.h"
#include "server/operation/admin.h"
#include "server/app.h"
#include "server/memory/escapes.h"
#include "server/failure/fail.h"
#include "server/failure/fault.h"
#include "server/memory/image.h"
#include "server/failure/libc_lock.h"
#include "server/connection/loop.h"
#include "server/memory/malloc.h"
#include "server/memory/modules.h"
#include "server/memory/pkeys.h"
#include "server/operation/log_writer.h"
#include "server/operation/record.h"
#include "server/waiting/resolve.h"
#include "server/memory/seal.h"
#include "server/waiting/sockets.h"
#include "server/startup.h"
#include "server/tls/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { EXIT_BAD_USAGE = 2, EXIT_BAD_INPUT = 3 };

struct options {
	const char *conf, *app, *listen, *log, *port_file, *recorder;
	bool check, print_bound, json, seal, alone, escapes;
	int argc; /* of pail_start() */
	char **argv;
};

static int complain(const struct err *err)
{
	fprintf(stderr, "pail serve: %s\n", err->text);
	return err->kind == ERR_USAGE ? EXIT_BAD_USAGE : EXIT_BAD_INPUT;
}

/* -- words of the command line ------------------------------------------------------- */

static int options_read(struct options *options, int argc, char **argv, struct err *err)
{
	static const struct option words[] = {
		{"config", required_argument, NULL, 'c'},
		{"app", required_argument, NULL, 'a'},
		{"listen", required_argument, NULL, 'l'},
		{"log", required_argument, NULL, 'L'},
		{"port-file", required_argument, NULL, 'p'},
		{"check", no_argument, NULL, 'C'},
		{"print-bound", no_argument, NULL, 'b'},
		{"json", no_argument, NULL, 'j'},
		{"seal", no_argument, NULL, 's'},
		{"debug-escapes", no_argument, NULL, 'e'},
		{"no-supervisor", no_argument, NULL, 'n'},
		{"recorder", required_argument, NULL, 'r'},
		{NULL, 0, NULL, 0},
	};
	int word;

	memset(options, 0, sizeof(*options));
	opterr = 0;
	while ((word = getopt_long(argc, argv, "+c:", words, NULL)) != -1) {
		switch (word) {
		case 'c': options->conf = optarg; break;
		case 'a': options->app = optarg; break;
		case 'l': options->listen = optarg; break;
		case 'L': options->log = optarg; break;
		case 'p': options->port_file = optarg; break;
		case 'C': options->check = true; break;
		case 'b': options->print_bound = true; break;
		case 'j': options->json = true; break;
		case 'e': options->escapes = true; break;
		case 'n': options->alone = true; break;
		case 's': options->seal = true; break;
		case 'r': options->recorder = optarg; break;
		default:
			return err_usage(err,
					 "'%s' is no option of pail serve, or lacks its value",
					 argv[optind - 1]);
		}
	}
	/* argv[0] of pail_start() is the app's word. */
	options->argc = argc - optind + 1;
	options->argv = argv + optind - 1;
	options->argv[0] = (char *)options->app;
	return 0;
}

static int plan_read(struct plan *plan, const struct options *options, struct err *err)
{
	limits_defaults(plan);
	if (options->conf && conf_read(options->conf, plan, err) < 0)
		return -1;
	if (options->recorder && record_parse(options->recorder, err) < 0)
		return -1;
	plan->recorder = options->recorder != NULL;
	if (options->listen) {
		if (strlen(options->listen) >= sizeof(plan->listen))
			return err_usage(err, "--listen: '%s' is too long", options->listen);
		snprintf(plan->listen, sizeof(plan->listen), "%s", options->listen);
		if (limits_check(plan, err) < 0) {
			err->kind = ERR_USAGE;
			return err_prefix(err, "--listen");
		}
	}
	return 0;
}

/* -- --print-bound --------------------------------------------------------------------- */

static void bound_json(const struct bound *bound, struct buf *out)
{
	struct json json;

	json_init(&json, out);
	json_object_begin(&json);
	json_pair_text(&json, "schema", "pail.bound/1");
	json_key(&json, "terms");
	json_array_begin(&json);
	for (uint32_t i = 0; i < bound->term_count; i++) {
		json_object_begin(&json);
		json_pair_text(&json, "name", bound->term[i].name);
		json_pair_u64(&json, "bytes", bound->term[i].bytes);
		json_pair_text(&json, "how", bound->term[i].how);
		json_object_end(&json);
	}
	json_array_end(&json);
	json_pair_u64(&json, "bound_bytes", bound->total_bytes);
	json_object_end(&json);
	buf_append_str(out, "\n");
}

static void bound_table(const struct bound *bound, struct buf *out)
{
	static const char *const heads[] = {"term", ">bytes", ">size", "how"};
	struct table *table = table_new(4, heads);
	char size[UNITS_TEXT_MAX];

	for (uint32_t i = 0; i < bound->term_count; i++) {
		const struct bound_term *term = &bound->term[i];
		table_cell(table, "%s", term->name);
		table_cell(table, "%" PRIu64, term->bytes);
		table_cell(table, "%s", units_format_size(term->bytes, size));
		table_cell(table, "%s", term->how);
	}
	table_cell(table, "bound");
	table_cell(table, "%" PRIu64, bound->total_bytes);
	table_cell(table, "%s", units_format_size(bound->total_bytes, size));
	table_cell(table, "the sum");
	table_write(table, out, table_width_of(STDOUT_FILENO));
	table_free(table);
}

static int bound_print(const struct plan *plan, bool json)
{
	struct bound bound;
	struct buf out;

	limits_bound(plan, &bound);
	buf_init(&out);
	if (json)
		bound_json(&bound, &out);
	else
		bound_table(&bound, &out);
	const char *text = buf_text(&out);
	bool failed = out.failed || fputs(text, stdout) < 0 || fflush(stdout) != 0;
	buf_release(&out);
	if (failed)
		fprintf(stderr, "pail serve: can't write the bound: %s\n", strerror(errno));
	return failed ? EXIT_BAD_INPUT : 0;
}

/* -- starting ---------------------------------------------------------------------------- */

/* Where lines with a cause go: by default to stderr, unless the access log has a
 * place for all that they say. */
static const char *error_log(const char *access)
{
	const struct plan_log *logs = &core.plan.logs;
	bool whole = access && strcmp(access, "none") != 0 && logs->format == PLAN_LOG_JSON;

	return logs->errors[0] ? logs->errors : whole ? "none" : "-";
}

static int logs_open(const char *access, struct err *err)
{
	core.log_fd = log_file_open(access, err);
	if (core.log_fd == -2)
		return -1;
	core.error_fd = log_file_open(error_log(access), err);
	if (core.error_fd == -2)
		return err_prefix(err, "[log] errors");
	return log_writer_open(access, error_log(access), err);
}

static int descriptors_allow(const struct plan *plan, struct err *err)
{
	/* Each connection, a file that it sends, and the server's own. */
	rlim_t need = 2 * (rlim_t)plan->connections + 2 * (rlim_t)plan->outgoing + 64;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
		return 0;
	if (limit.rlim_max < need && limit.rlim_max < plan->connections + 64)
		return err_set(err,
			       "%u connections need %" PRIu64
			       " descriptors, and the limit is %" PRIu64
			       " (raise ulimit -n, or lower [server] connections)",
			       plan->connections, (uint64_t)need, (uint64_t)limit.rlim_max);
	limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
	setrlimit(RLIMIT_NOFILE, &limit);
	return 0;
}

/* The rings of the log, which the supervisor shares. */
static size_t rings_span_bytes;

static int image_fits(const struct plan *plan, struct err *err)
{
	uint64_t bytes;

	if (image_measure(&core.region, &bytes, err) < 0)
		return -1;
#ifdef PAIL_MALLOC_OFF
	return 0; /* a sanitizer's shadow fits no plan */
#endif
	bytes -= escapes_bytes() < bytes ? escapes_bytes() : 0; /* for debugging only */
	if (core.supervised.supervisor)
		bytes += SUPERVISE_BYTES;
	bytes -= rings_span_bytes < bytes ? rings_span_bytes : 0;
	if (bytes <= plan->image_bytes)
		return 0;
	char size[UNITS_TEXT_MAX];
	uint64_t round = (bytes + (1 << 20) - 1) & ~(uint64_t)((1 << 20) - 1);
	return err_set(err,
		       "text, data and libraries take %" PRIu64 " bytes, and the plan allows "
		       "%" PRIu64 "; set [server] image = %s",
		       bytes, plan->image_bytes, units_write_size(round, size));
}

static int app_start(const struct options *options, struct err *err)
{
	if (!core.handler.start)
		return 0;
	errno = 0;
	int result = core.handler.start(options->argc, options->argv);
	if (result == 0)
		return 0;
	if (handler_message[0])
		return err_set(err, "the app '%s' did not start: %s", options->app,
			       handler_message);
	if (errno)
		return err_errno(err, "the app '%s' did not start (%d)", options->app, result);
	return err_set(err, "pail_start() of '%s' returned %d", options->app, result);
}

/* --check without an app: the certificate and the key. */
static int tls_check(struct err *err)
{
	if (region_open(&core.region, &core.plan, err) < 0)
		return -1;
	malloc_system_open(region_system(&core.region), core.plan.system_bytes);
	return tls_open(err);
}

/* The table of clients' addresses, with a key that nobody outside knows. */
static int addresses_open(struct err *err)
{
	uint64_t key;

	if (limits_addresses(&core.plan) == 0)
		return 0;
	if (getrandom(&key, sizeof(key), 0) != (ssize_t)sizeof(key))
		return err_errno(err, "can't get random bytes");
	addresses_init(&core.addresses, region_addresses(&core.region),
		       limits_addresses(&core.plan), core.plan.connections_per_address,
		       core.plan.per_address, key);
	return 0;
}

/* For each process that may serve at a time. */
static int rings_map(struct supervise_memory *memory, struct err *err)
{
	size_t bytes = log_memory_bytes(&core.plan);

	for (int i = 0; i <= core.plan.overlap; i++) {
		memory->piece[i] = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (memory->piece[i] == MAP_FAILED)
			return err_errno(err, "can't map %zu bytes for the log", bytes);
		rings_span_bytes += bytes;
	}
	return 0;
}

/* In the process that serves: backed now, like all else. */
static int rings_touch(struct err *err)
{
	size_t bytes = log_memory_bytes(&core.plan);

	if (!core.log_memory)
		return 0; /* --check */
	if (madvise(core.log_memory, bytes, MADV_POPULATE_WRITE) < 0)
		memset(core.log_memory, 0, bytes); /* a kernel before 5.14 */
	if (core.plan.mlock && mlock(core.log_memory, bytes) < 0)
		return err_errno(err, "[server] mlock: can't lock the log's rings (raise "
				      "ulimit -l, or give the capability IPC_LOCK)");
	core.region.touched_bytes += bytes;
	return 0;
}

/* All of the core but the workers' threads. */
static int core_open(const struct options *options, struct err *err)
{
	if (region_open(&core.region, &core.plan, err) < 0 || rings_touch(err) < 0)
		return -1;
	malloc_system_open(region_system(&core.region), core.plan.system_bytes);
	if (sockets_open(&core.plan, err) < 0 || tls_open(err) < 0 || addresses_open(err) < 0)
		return -1;
	if (descriptors_allow(&core.plan, err) < 0 || fault_open(err) < 0 ||
	    app_open(options->app, &core.handler, err) < 0)
		return -1;
	malloc_modules_find(&core.plan);
	if (app_start(options, err) < 0)
		return -1;
	for (uint32_t i = 0; i < core.plan.threads; i++) {
		unsigned char *block = region_worker(&core.region, i);
		core.worker[i] = (struct worker *)(block + LOOP_STACK_BYTES);
		if (worker_init(core.worker[i], i, err) < 0)
			return -1;
	}
	if (core.plan.isolation == PLAN_ISOLATION_PKEYS && pkeys_open(err) < 0)
		return -1;
	libc_lock_open();
	if (options->escapes && escapes_open(err) < 0)
		return -1;
	malloc_modules_find(&core.plan); /* whatever the app has loaded meanwhile */
	modules_find();
	return 0;
}

/* Whole or not at all, and closed before it can be seen: who waits for it may count
 * our descriptors next. */
static int port_write(const char *path, unsigned port, struct err *err)
{
	char temporary[4096];

	if (!path)
		return 0;
	int length = snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
	if ((size_t)length >= sizeof(temporary))
		return err_set(err, "the path of the port file is too long");
	int fd = mkstemp(temporary);
	if (fd < 0)
		return err_errno(err, "can't write the port to '%s'", path);
	bool failed = fchmod(fd, 0644) < 0 || dprintf(fd, "%u\n", port) < 0;
	failed |= close(fd) < 0;
	if (failed || rename(temporary, path) < 0) {
		err_errno(err, "can't write the port to '%s'", path);
		unlink(temporary);
		return -1;
	}
	return 0;
}

/* -- the main thread's part while the workers serve ---------------------------------------- */

/* The buckets follow by themselves (bucket_renew()). */
static void app_reload(const char *app)
{
	if (!core.handler.reload)
		return;
	handler_message[0] = 0;
	if (core.handler.reload() == 0) {
		atomic_fetch_add(&core.app_generation, 1);
		fprintf(stderr, "pail serve: '%s' is read again\n", app);
	} else {
		fprintf(stderr, "pail serve: '%s' stays as it was: %s\n", app,
			handler_message[0] ? handler_message : "pail_reload() failed");
	}
}

/* Whether each worker has turned since it was last asked to: word of it for who
 * would start us anew if we hung. */
static void watchdog_look(const bool *joined)
{
	static uint64_t seen[CORE_THREADS_MAX], next_ns;
	uint64_t now_ns = loop_now_ns();

	if (core.supervised.watchdog_ns == 0 || now_ns < next_ns)
		return;
	for (uint32_t i = 0; i < core.plan.threads; i++)
		if (next_ns && !joined[i] && metrics_read(&core.worker[i]->turns) == seen[i])
			return;
	if (next_ns)
		supervised_lives(&core.supervised);
	next_ns = now_ns + core.supervised.watchdog_ns / 4;
	for (uint32_t i = 0; i < core.plan.threads; i++) {
		seen[i] = metrics_read(&core.worker[i]->turns);
		worker_wake(core.worker[i]);
	}
}

static void certificate_reload(void)
{
	struct err err;

	if (tls_reload(&err) < 0)
		fprintf(stderr, "pail serve: the certificate stays as it was: %s\n", err.text);
}

static void drain_begin(void)
{
	atomic_store(&core.draining, true);
	for (uint32_t i = 0; i < core.plan.threads; i++)
		worker_wake(core.worker[i]);
}

static bool all_joined(bool *joined)
{
	bool all = true;

	for (uint32_t i = 0; i < core.plan.threads; i++) {
		joined[i] = joined[i] || atomic_load(&core.worker[i]->stopped) ||
			    pthread_tryjoin_np(core.worker[i]->thread, NULL) == 0;
		all &= joined[i];
	}
	return all;
}

/* Until a signal has ended it and all requests under way are answered. */
static void core_run(const struct options *options, const sigset_t *signals)
{
	const struct timespec tick = {0, 20 * 1000 * 1000};
	bool joined[CORE_THREADS_MAX] = {false};
	uint64_t drain_until_ns = 0;

	for (;;) {
		bool watching = core.plan.wall_deadline_ns != 0 || drain_until_ns != 0 ||
				core.supervised.watchdog_ns != 0;
		int signal = watching ? sigtimedwait(signals, NULL, &tick)
				      : sigwaitinfo(signals, NULL);
		if (fail_pending() && !drain_until_ns) {
			supervised_drains(&core.supervised);
			drain_until_ns = loop_now_ns() + core.plan.drain_ns;
			drain_begin();
		}
		if (signal == SIGUSR1)
			log_writer_reopen();
		if (signal == SIGHUP || signal == SUPERVISE_SIGNAL_REOPEN) {
			log_writer_reopen();
			certificate_reload();
			app_reload(options->app);
		}
		if (signal == SIGTERM || signal == SIGINT || signal == SUPERVISE_SIGNAL_END) {
			if (drain_until_ns)
				atomic_store(&core.halting, true); /* asked twice */
			else if (!core.supervised.supervisor)
				supervised_drains(&core.supervised);
			drain_until_ns = loop_now_ns() + core.plan.drain_ns;
			drain_begin();
		}
		for (uint32_t i = 0; i < core.plan.threads && core.plan.wall_deadline_ns; i++)
			if (!joined[i])
				fault_watch(core.worker[i]);
		watchdog_look(joined);
		if (!drain_until_ns)
			continue;
		if (all_joined(joined))
			return;
		if (loop_now_ns() > drain_until_ns)
			atomic_store(&core.halting, true);
		if (atomic_load(&core.halting))
			drain_begin();
	}
}

/* The last line of the log: what came of it all. */
static void core_log_end(void)
{
	struct worker_counts all = {0};
	struct malloc_counts system;
	struct socket_counts sockets;
	struct log_writer_counts logs = log_writer_count();
	uint64_t lines = 0, dropped = logs.left[LOG_ACCESS] + logs.left[LOG_ERRORS];
	char line[960];

	for (uint32_t i = 0; i < core.plan.threads; i++) {
		const struct worker_counts *counts = &core.worker[i]->counts;
		all.accepted += counts->accepted;
		all.evicted += counts->evicted;
		all.turned_away += counts->turned_away;
		all.requests += counts->requests;
		all.failed += counts->failed;
		all.rejected += counts->rejected;
		all.refused += counts->refused;
		all.io_waits += counts->io_waits;
		all.io_waiting_peak += counts->io_waiting_peak;
		for (int k = LOG_ACCESS; k <= LOG_ERRORS; k++) {
			lines += core.worker[i]->log.count[k].told;
			dropped += core.worker[i]->log.count[k].dropped;
		}
	}
	malloc_count(&system);
	sockets_count(&sockets);
	int length = snprintf(
		line, sizeof(line),
		"{\"end\":true,\"connections\":%" PRIu64 ",\"evicted\":%" PRIu64
		",\"turned_away\":%" PRIu64 ",\"requests\":%" PRIu64 ",\"failed\":%" PRIu64
		",\"rejected\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"system_bytes\":%" PRIu64
		",\"system_blocks\":%" PRIu64 ",\"system_bytes_peak\":%" PRIu64
		",\"system_refusals\":%" PRIu64 ",\"escapes\":%" PRIu64 ",\"io_waits\":%" PRIu64
		",\"io_waiting_peak\":%" PRIu64
		",\"outgoing\":%u,\"outgoing_peak\":%u,\"outgoing_refused\":%" PRIu64
		",\"tls_bytes_peak\":%" PRIu64 ",\"log_lines\":%" PRIu64
		",\"log_dropped\":%" PRIu64 ",\"log_failures\":%" PRIu64 "}\n",
		all.accepted, all.evicted, all.turned_away, all.requests, all.failed,
		all.rejected, all.refused, system.system_bytes_now, system.system_blocks,
		system.system_bytes_peak, system.refused, escapes_count(), all.io_waits,
		all.io_waiting_peak, sockets.now, sockets.peak, sockets.refused,
		tls_pool_peak(), lines, dropped, logs.failures);
	if (core.log_fd >= 0)
		log_writer_last(line, (size_t)length);
	if (dropped > 0 && core.log_fd != STDERR_FILENO)
		fprintf(stderr, "pail serve: %" PRIu64 " lines of the log were dropped\n",
			dropped);
}

static void core_record_end(void)
{
	uint64_t untold = log_writer_count().left[LOG_RECORDS];

	for (uint32_t i = 0; i < core.plan.threads; i++)
		untold += core.worker[i]->log.untold[LOG_RECORDS];
	record_end(untold);
}

static void signals_take(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, FAIL_SIGNAL);
	if (core.supervised.supervisor) {
		sigaddset(signals, SUPERVISE_SIGNAL_END);
		sigaddset(signals, SUPERVISE_SIGNAL_REOPEN);
	} else {
		sigaddset(signals, SIGTERM);
		sigaddset(signals, SIGINT);
		sigaddset(signals, SIGHUP);
	}
	sigaddset(signals, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, signals, NULL);
}

static struct startup opened;

/* Once the listener is open. */
static int core_serve(const struct options *options, struct err *err)
{
	sigset_t signals;

	signals_take(&signals);
	if (logs_open(options->log, err) < 0 || resolve_open(err) < 0)
		return -1;
	for (uint32_t i = 0; i < core.plan.threads; i++)
		if (worker_start(core.worker[i], err) < 0)
			return -1;
	if ((core.admin_fd >= 0 && admin_start(core.admin_fd, err) < 0) ||
	    image_fits(&core.plan, err) < 0 || (options->seal && seal_close(err) < 0))
		return -1;
	/* Who finds the port file may rely on a server that is started anew; but what
	 * fails in a start is not tried again. */
	supervised_serves(&core.supervised);
	if (core.supervised.generation == 0 &&
	    port_write(options->port_file, opened.port, err) < 0) {
		supervised_does_not(&core.supervised);
		return -1;
	}
	record_begin();
	log_writer_record();
	if (core.supervised.generation == 0) {
		if (core.admin_fd >= 0)
			fprintf(stderr, "pail serve: admin address http://%s/\n",
				opened.admin_name);
		fprintf(stderr, "pail serve: listening on %s\n", opened.name);
		if (core.tls_fd >= 0)
			fprintf(stderr, "pail serve: listening on %s with TLS\n",
				opened.tls_name);
	}
	core_run(options, &signals);
	log_writer_close();
	core_log_end();
	core_record_end();
	if (fail_pending())
		fail_end();
	return 0;
}

static const char *access_log; /* in the supervisor, for what a process leaves */

static void process_ended(void *rings)
{
	log_salvage(rings, &core.plan, access_log, error_log(access_log), core.record_fd);
}

/* The listener first: it is the supervisor's, and outlives each that serves. */
static int serve(const struct options *options)
{
	struct supervise_memory rings = {.ended = process_ended};
	int exit_code;
	struct err err = {0};

	access_log = options->log;
	signal(SIGXFSZ, SIG_IGN); /* a log that may not grow is told and tried again */
	if (startup(&core.plan, options->conf, &opened, &err) < 0)
		return complain(&err);
	core.listen_fd = opened.listen_fd;
	core.admin_fd = opened.admin_fd;
	core.tls_fd = opened.tls_fd;
	core.supervised.watchdog_ns = activation_watchdog_ns();
	if (rings_map(&rings, &err) < 0)
		return complain(&err);
	core.supervised.memory = rings.piece[0];
	int is_child = options->alone ? 1
				      : supervise(core.plan.overlap, &rings, &core.supervised,
						  &exit_code, &err);
	if (is_child < 0)
		return complain(&err);
	if (!is_child) {
		record_wait();
		return exit_code;
	}
	core.log_memory = core.supervised.memory;
	if (core_open(options, &err) < 0 || core_serve(options, &err) < 0) {
		_exit(complain(&err)); /* workers may run already */
	}
	if (options->alone)
		record_wait();
	return 0;
}

static int check(const struct options *options, struct err *err)
{
	if (startup_check(&core.plan, options->conf, options->log, err) < 0)
		return -1;
	if (!options->app && core.plan.tls.listen[0])
		return tls_check(err);
	return options->app && (core_open(options, err) < 0 || image_fits(&core.plan, err) < 0)
		       ? -1
		       : 0;
}

int main(int argc, char **argv)
{
	struct options options;
	struct err err = {0};

	core.log_fd = core.error_fd = core.record_fd = core.listen_fd = core.tls_fd =
		core.admin_fd = core.supervised.report_fd = -1;
	if (options_read(&options, argc, argv, &err) < 0 ||
	    plan_read(&core.plan, &options, &err) < 0)
		return complain(&err);
	if (!options.log && core.plan.log[0])
		options.log = core.plan.log;
	if (options.print_bound)
		return bound_print(&core.plan, options.json);
	if (!options.app && !options.check) {
		err_usage(&err,
			  "no app to serve; give --app with lib.so, a folder, or builtin:NAME");
		return complain(&err);
	}
	if (!options.check)
		return serve(&options);
	return check(&options, &err) < 0 ? complain(&err) : 0;
}
