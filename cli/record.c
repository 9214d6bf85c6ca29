/* SPDX-License-Identifier: MIT */
/* pail record: runs a program under the recorder. */
#include "cli/cli.h"

#include "base/table.h"
#include "base/units.h"
#include "cli/recording/adapter.h"
#include "cli/recording/attach_dir.h"
#include "cli/groups.h"
#include "libtrace/collect.h"
#include "libtrace/doctor/doctor.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STEP_MS = 50, SUMMARY_ROUTES = 12 };

enum key {
	KEY_DETAIL = 256,
	KEY_SPLIT,
	KEY_ON_FULL,
	KEY_MODE,
	KEY_FOR,
	KEY_RING,
	KEY_CURE,
	KEY_UNWIND,
	KEY_STACK_ROOM,
	KEY_STACK_DEPTH,
	KEY_HANDOFF,
	KEY_POOLS,
	KEY_EXEC,
	KEY_CPU,
	KEY_KEEP_RAW,
	KEY_REDACT,
	KEY_ADAPTER,
	KEY_ATTACH_DIR,
	KEY_ATTACH_AS,
	KEY_BEGIN,
	KEY_END
};

struct words {
	struct collect_options collect;
	uint64_t for_ns;
	bool cure;
	bool adapter[ADAPTERS];
	const char *attach_dir, *attach_as; /* instead of a command */
	struct attach_dir attach;
	char *begin, *end; /* FILE:FUNCTION */
	char begin_path[PATH_MAX], end_path[PATH_MAX];
	char **command;
};

/* -- words --------------------------------------------------------------- */

static const struct argp_option options[] = {
	{"output", 'o', "FILE", 0, "the trace to write (trace.db)", 0},
	{"detail", KEY_DETAIL, "summary|events|stacks", 0,
	 "what to keep of a request: its numbers; also its allocations (events); also where they"
	 " come from (stacks)",
	 0},
	{"unwind", KEY_UNWIND, "tables|fp", 0,
	 "how stacks are found: by the program's unwind tables, or by frame pointers, which all"
	 " of it must have (tables)",
	 0},
	{"stack-room", KEY_STACK_ROOM, "N", 0,
	 "calls that stacks may be made of, in shared memory, 16 bytes each (1048576)", 0},
	{"stack-depth", KEY_STACK_DEPTH, "hooks|paint", 0,
	 "how deep requests go: as far as recorded calls see, or exactly to 64K, by painting the"
	 " stack, at some 5 us a request (hooks)",
	 0},
	{"split", KEY_SPLIT, "auto|http|message|connection|marker", 0,
	 "what a request is (auto: HTTP requests, else message by message)", 0},
	{"on-full", KEY_ON_FULL, "wait|drop", 0,
	 "when the recorder cannot keep up: the program waits, up to 2 s at a time, or events are"
	 " dropped and counted (wait)",
	 0},
	{"mode", KEY_MODE, "exact|light", 0,
	 "exact: epoll_wait returns one event at a time, so that each has an owner; light: it is"
	 " left alone (exact)",
	 0},
	{"handoff", KEY_HANDOFF, "auto|condvar", 0,
	 "how threads pass requests on: seen by what they read, write and free; or also by queues"
	 " under a condition variable, first in, first out (auto)",
	 0},
	{"redact", KEY_REDACT, "none|values|query|all", 0,
	 "what of targets is not stored: nothing; the values of the query; the whole query; also"
	 " what looks like an identifier in the path (values)",
	 0},
	{"pools", KEY_POOLS, "apr|none", 0,
	 "apr: what pools of the Apache Portable Runtime hand out, block by block; none: the memory"
	 " that they take (apr)",
	 0},
	{"exec", KEY_EXEC, "follow|leave", 0,
	 "follow: programs that CMD becomes or starts are recorded too, also with an"
	 " environment of their own; leave: CMD alone, and what it forks (follow)",
	 0},
	{"cpu", KEY_CPU, NULL, 0,
	 "how much CPU each request took (cpu_ns), from the clock of the thread that works for it,"
	 " asked wherever that may change: a system call for each read, write and wait",
	 0},
	{"keep-raw", KEY_KEEP_RAW, NULL, 0,
	 "keep every event as it came, so that pail attribute can tell the requests anew; wants"
	 " --redact none, since what servers read is in it",
	 0},
	{"for", KEY_FOR, "TIME", 0, "send the program SIGTERM after this time (30s)", 0},
	{"ring", KEY_RING, "SIZE", 0, "shared memory between program and recorder (64M)", 0},
	{"cure", KEY_CURE, NULL, 0,
	 "set what pail doctor advises where that is an environment variable, and say so", 0},
	{"adapter", KEY_ADAPTER, "python|node", 0,
	 "load the adapter that marks for which connection such code runs; may be given twice",
	 0},
	{"begin", KEY_BEGIN, "FILE:FUNCTION", 0,
	 "a request begins with a call of this function of a program or library; needs root",
	 0},
	{"end", KEY_END, "FILE:FUNCTION", 0, "and ends with a call of this one", 0},
	{"attach-dir", KEY_ATTACH_DIR, "DIR", 0,
	 "run nothing; record programs, also in containers, that are started with the variables"
	 " of DIR/pail.env, until ^C",
	 0},
	{"attach-as", KEY_ATTACH_AS, "PATH", 0, "where they see DIR (at its own path)", 0},
	{0}};

static int choose(struct argp_state *state, const char *option, const char *text,
		  const char *const *choices)
{
	for (int i = 0; choices[i]; i++)
		if (strcmp(choices[i], text) == 0)
			return i;
	struct buf list;
	buf_init(&list);
	for (int i = 0; choices[i]; i++)
		buf_printf(&list, "%s%s", i > 0 ? ", " : "", choices[i]);
	argp_error(state, "--%s is one of %s, not '%s'", option, buf_text(&list), text);
	buf_release(&list);
	return 0;
}

static error_t parse(int key, char *text, struct argp_state *state)
{
	static const char *const details[] = {"summary", "events", "stacks", NULL};
	static const char *const splits[] = {"auto",       "http",   "message",
					     "connection", "marker", NULL};
	static const char *const redacts[] = {[REDACT_VALUES] = "values",
					      [REDACT_NONE] = "none",
					      [REDACT_QUERY] = "query",
					      [REDACT_ALL] = "all",
					      [REDACTS] = NULL};
	static const char *const fulls[] = {"wait", "drop", NULL};
	static const char *const handoffs[] = {"auto", "condvar", NULL};
	static const char *const pools[] = {"apr", "none", NULL};
	static const char *const execs[] = {"follow", "leave", NULL};
	static const char *const modes[] = {"exact", "light", NULL};
	static const char *const unwinds[] = {"tables", "fp", NULL};
	static const char *const depths[] = {"hooks", "paint", NULL};
	struct words *w = state->input;
	struct err err = {0};
	uint64_t count;
	int chosen;
	switch (key) {
	case 'o': w->collect.trace_path = text; break;
	case KEY_DETAIL:
		chosen = choose(state, "detail", text, details);
		w->collect.detail = (enum rows_detail)chosen;
		break;
	case KEY_UNWIND:
		w->collect.ring.pointers = choose(state, "unwind", text, unwinds) == 1;
		break;
	case KEY_STACK_ROOM:
		if (cli_parse_count("stack-room", text, &count, &err) != 0)
			argp_error(state, "%s", err.text);
		if (count < 1024 || count > 1 << 26)
			argp_error(state, "--stack-room is from 1024 to 67108864, not '%s'",
				   text);
		w->collect.ring.stack_entries = (uint32_t)count;
		break;
	case KEY_STACK_DEPTH:
		w->collect.ring.paint = choose(state, "stack-depth", text, depths) == 1;
		break;
	case KEY_SPLIT:
		w->collect.split = (enum attribute_split)choose(state, "split", text, splits);
		break;
	case KEY_ON_FULL:
		w->collect.ring.on_full =
			choose(state, "on-full", text, fulls) == 0 ? RING_WAIT : RING_DROP;
		break;
	case KEY_MODE: w->collect.ring.light = choose(state, "mode", text, modes) == 1; break;
	case KEY_HANDOFF:
		w->collect.ring.conditions = choose(state, "handoff", text, handoffs) == 1;
		break;
	case KEY_EXEC: w->collect.ring.no_exec = choose(state, "exec", text, execs) == 1; break;
	case KEY_POOLS: w->collect.ring.pools = choose(state, "pools", text, pools) == 0; break;
	case KEY_CPU: w->collect.ring.cpu = true; break;
	case KEY_FOR:
		if (cli_parse_time("for", text, &w->for_ns, &err) != 0)
			argp_error(state, "%s", err.text);
		if (w->for_ns == 0 || w->for_ns > INT64_MAX / 2)
			argp_error(state, "--for wants a time above 0, not '%s'", text);
		break;
	case KEY_RING:
		if (cli_parse_size("ring", text, &w->collect.ring.bytes, &err) != 0)
			argp_error(state, "%s", err.text);
		if (w->collect.ring.bytes < 1 << 20)
			argp_error(state, "--ring is at least 1M, not '%s'", text);
		break;
	case KEY_CURE: w->cure = true; break;
	case KEY_REDACT:
		w->collect.redact = (enum redact)choose(state, "redact", text, redacts);
		break;
	case KEY_KEEP_RAW: w->collect.keep_raw = true; break;
	case KEY_ADAPTER:
		w->adapter[choose(state, "adapter", text, adapter_names)] = true;
		break;
	case KEY_BEGIN: w->begin = text; break;
	case KEY_END: w->end = text; break;
	case KEY_ATTACH_DIR: w->attach_dir = text; break;
	case KEY_ATTACH_AS: w->attach_as = text; break;
	case ARGP_KEY_ARGS: w->command = state->argv + state->next; break;
	case ARGP_KEY_END:
		if (!w->command && !w->attach_dir)
			argp_error(state, "wants a program to run, after --");
		if (w->command && w->attach_dir)
			argp_error(state, "--attach-dir runs no program");
		if (!w->begin != !w->end)
			argp_error(state, "--begin and --end go together");
		if (w->begin && w->collect.ring.cpu)
			argp_error(
				state,
				"--cpu asks the clock of a thread at its calls, and not where"
				" --begin and --end do");
		if (w->collect.keep_raw && w->collect.redact != REDACT_NONE)
			argp_error(state,
				   "--keep-raw keeps the first bytes of all that is read, with"
				   " header fields and queries: it goes with --redact none");
		if (!w->attach_dir && w->attach_as)
			argp_error(state, "--attach-as goes with --attach-dir");
		if (w->attach_dir && (w->cure || w->adapter[0] || w->adapter[1]))
			argp_error(state, "--cure and --adapter set variables of a program that"
					  " --attach-dir does not start");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	options,
	parse,
	"-- CMD [ARG...]\n--attach-dir=DIR",
	"Runs CMD with the recording library, children too, and writes a trace.\v"
	"Signals are passed on to CMD, and pail record exits as CMD did (128 + signal). It ends"
	" when CMD and all its children have ended.",
	NULL,
	NULL,
	NULL};

/* -- the program --------------------------------------------------------- */

static volatile pid_t program; /* 0 when it has been waited for */
static volatile sig_atomic_t signals_seen;

static void pass_on(int sig)
{
	int saved = errno;
	pid_t pid = program;
	/* What a terminal sends goes to the whole group, as it would have; the
	 * rest to the program alone, as whoever sent it meant. */
	if (pid > 0)
		kill(sig == SIGINT || sig == SIGQUIT ? -pid : pid, sig);
	signals_seen = sig;
	errno = saved;
}

/* Orphans of a program that went to the background are our children now. */
static void signal_orphans(int sig)
{
	char path[64], list[4096];
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, list, sizeof(list) - 1) : -1;
	if (fd >= 0)
		close(fd);
	if (got <= 0)
		return;
	list[got] = '\0';
	for (char *at = list, *end;; at = end) {
		long pid = strtol(at, &end, 10);
		if (end == at || pid <= 1)
			return;
		kill((pid_t)pid, sig);
	}
}

static const int forwarded[] = {SIGINT,  SIGTERM, SIGQUIT,  SIGHUP,
				SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = pass_on};
	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(forwarded) / sizeof(*forwarded); i++)
		sigaction(forwarded[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void run_child(const char *path, char **command, char **environment, int report)
{
	setsid(); /* some servers signal their process group: it must not be ours */
	execve(path, command, environment);
	int error = errno;
	(void)!write(report, &error, sizeof(error));
	_exit(127);
}

/* Starts it and sees it through exec; the pid, or -1. */
static pid_t start(const char *path, char **command, char **environment, struct err *err)
{
	int report[2], error = 0;
	if (pipe2(report, O_CLOEXEC) != 0)
		return err_errno(err, "cannot start \"%s\"", command[0]);
	sigset_t all, before;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	pid_t pid = fork();
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &before, NULL);
		run_child(path, command, environment, report[1]);
	}
	program = pid > 0 ? pid : 0;
	if (pid > 0)
		catch_signals();
	int fork_error = errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(report[1]);
	ssize_t got = 0;
	if (pid > 0)
		do
			got = read(report[0], &error, sizeof(error));
		while (got < 0 && errno == EINTR);
	close(report[0]);
	if (pid < 0) {
		errno = fork_error;
		return err_errno(err, "cannot start \"%s\"", command[0]);
	}
	if (got == (ssize_t)sizeof(error)) {
		waitpid(pid, NULL, 0);
		program = 0;
		errno = error;
		return err_errno(err, "cannot start \"%s\"", command[0]);
	}
	return pid;
}

/* -- the run ------------------------------------------------------------- */

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* `for_ns`: the time after which it ends; 0: when the program does. */
static void show_progress(const struct collect *collect, uint64_t for_ns)
{
	struct collect_summary s;
	collect_summary(collect, &s);
	fprintf(stderr, "\r\033[K%.0f s: %" PRId64 " requests, %.1f M events (%.2f M/s)",
		(double)s.span_ns / 1e9, s.totals.requests, (double)s.ring.events / 1e6,
		(double)s.ring.events / 1e6 / ((double)s.span_ns / 1e9 + 1e-9));
	if (for_ns > (uint64_t)s.span_ns)
		fprintf(stderr, ", %.0f s left", (double)(for_ns - (uint64_t)s.span_ns) / 1e9);
}

/* Waits for what has ended. True when all children have; *status is the
 * program's. */
static bool reap(pid_t pid, int *status)
{
	for (;;) {
		int one;
		pid_t done = waitpid(-1, &one, WNOHANG);
		if (done == 0)
			return false;
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return true;
		if (done == pid) {
			*status = one;
			program = 0;
		}
	}
}

static int follow(struct collect *collect, const struct words *w, pid_t pid)
{
	int status = 0, passed = 0;
	bool progress = isatty(STDERR_FILENO), told = false;
	int64_t start_ns = now_ns(), shown_ns = start_ns;
	while (!reap(pid, &status)) {
		collect_step(collect, STEP_MS);
		int64_t now = now_ns();
		if (w->for_ns > 0 && !told && now - start_ns >= (int64_t)w->for_ns) {
			told = true;
			if (program > 0)
				kill(program, SIGTERM);
			else
				signal_orphans(SIGTERM);
		}
		if (signals_seen != passed && program == 0)
			signal_orphans(signals_seen);
		if (program == 0)
			signals_seen = passed = 0;
		if (progress && now - shown_ns >= 1000000000) {
			show_progress(collect, w->for_ns);
			shown_ns = now;
		}
	}
	if (progress)
		fprintf(stderr, "\r\033[K");
	return status;
}

/* -- the summary --------------------------------------------------------- */

static void write_routes(struct buf *out, const struct groups *groups)
{
	static const char *const heads[] = {"route", ">requests",    ">need p50", ">p99",
					    ">max",  ">allocations", ">escapes",  "confidence"};
	static const char *const confidence[] = {"exact", "inferred", "ambiguous"};
	struct table *table = table_new(sizeof(heads) / sizeof(*heads), heads);
	if (!table)
		return;
	for (size_t i = 0; i < groups->count && i < SUMMARY_ROUTES; i++) {
		const struct group *g = &groups->group[i];
		char p50[UNITS_TEXT_MAX], p99[UNITS_TEXT_MAX], most[UNITS_TEXT_MAX];
		int worst = g->confidence[2] > 0 ? 2 : g->confidence[1] > 0 ? 1 : 0;
		table_cell(table, "%s", g->key);
		table_cell(table, "%" PRId64, g->requests);
		table_cell(table, "%s", units_format_size((uint64_t)g->need_p50, p50));
		table_cell(table, "%s", units_format_size((uint64_t)g->need_p99, p99));
		table_cell(table, "%s", units_format_size((uint64_t)g->need_max, most));
		table_cell(table, "%" PRId64, g->allocations);
		table_cell(table, "%" PRId64, g->escapes);
		if (g->confidence[worst] == g->requests)
			table_cell(table, "%s", confidence[worst]);
		else
			table_cell(table, "%.0f%% %s",
				   100.0 * (double)g->confidence[worst] / (double)g->requests,
				   confidence[worst]);
	}
	table_write(table, out, table_width_of(STDERR_FILENO));
	table_free(table);
	if (groups->count > SUMMARY_ROUTES)
		buf_printf(out, "and %zu more routes: pail report\n",
			   groups->count - SUMMARY_ROUTES);
}

static void write_warnings(struct buf *out, const struct collect_summary *s)
{
	const struct attribute_totals *t = &s->totals;
	char size[UNITS_TEXT_MAX];
	if (t->unattributed_allocations > 0)
		buf_printf(out, "unattributed: %" PRId64 " allocations, %s\n",
			   t->unattributed_allocations,
			   units_format_size((uint64_t)t->unattributed_bytes, size));
	if (s->ring.dropped > 0)
		buf_printf(
			out,
			"dropped: %" PRIu64 " events; %" PRId64
			" requests are marked incomplete (a larger --ring, or --on-full wait)\n",
			s->ring.dropped, t->incomplete);
	if (s->cut)
		buf_printf(out, "a program truncated the shared memory that it is recorded in:"
				" what came after is missing\n");
	if (s->lost_marks > 0)
		buf_printf(out, "%" PRIu64 " calls of --begin and --end could not be noted\n",
			   s->lost_marks);
	if (s->ring.stacks_lost > 0)
		buf_printf(out,
			   "%" PRIu64 " allocations have no stack: the table is full (a larger"
			   " --stack-room)\n",
			   s->ring.stacks_lost);
	if (t->http2_connections > 0)
		buf_printf(out,
			   "%" PRId64
			   " HTTP/2 connections count as one request each, whatever went "
			   "over them: mark their requests (pail/mark.h), or record "
			   "clients that speak HTTP/1.1\n",
			   t->http2_connections);
	if (t->tls_connections > 0)
		buf_printf(out,
			   "%" PRId64
			   " TLS connections could not be looked into (TLS that is linked "
			   "statically?): use markers, or record behind a proxy\n",
			   t->tls_connections);
	if (t->out_of_memory)
		buf_printf(out,
			   "the recorder ran out of memory: the needs above are too low\n");
}

static void say_summary(const char *argv0, const char *path, const struct collect_summary *s)
{
	struct buf out;
	struct trace *trace;
	struct groups groups = {0};
	struct err err = {0};
	buf_init(&out);
	buf_printf(&out, "%s: %" PRId64 " requests in %.1f s, %" PRIu64 " events, in \"%s\"\n",
		   argv0, s->totals.requests - s->lost_requests, (double)s->span_ns / 1e9,
		   s->ring.events, path);
	if (trace_open(path, &trace, &err) == 0) {
		if (groups_load(&groups, trace, GROUP_ROUTE, ARENA_REUSE, &err) == 0 &&
		    groups.count > 0) {
			groups_sort(&groups, "need_max");
			write_routes(&out, &groups);
		}
		groups_release(&groups);
		trace_close(trace);
	}
	write_warnings(&out, s);
	fputs(buf_text(&out), stderr);
	buf_release(&out);
}

/* What the shim had to say, by its absence. */
static int check_result(const char *argv0, const struct words *w,
			const struct collect_summary *s)
{
	struct err err = {0};
	/* Where the shared memory was truncated, what it had to say is lost. */
	bool silent = s->ring.processes == 0 && !s->cut;
	if (silent && w->attach_dir) {
		err_set(&err,
			"nothing was recorded: no program was started with the variables of"
			" pail.env, or it could not open the ring (does it see the folder, may it"
			" write there, is it another's user?)");
		return cli_fail(argv0, &err);
	}
	if (silent) {
		err_set(&err,
			"nothing was recorded: the recording library did not start in \"%s\" (does it"
			" clean its environment before it runs the server?)",
			w->command[0]);
		return cli_fail(argv0, &err);
	}
	if (s->lost_requests > 0) {
		err_set(&err, "%" PRId64 " requests are missing in \"%s\": %s",
			s->lost_requests, w->collect.trace_path, s->lost_because);
		return cli_fail(argv0, &err);
	}
	return EXIT_DONE;
}

/* Completes the trace, says what is in it, and closes the recorder. `begun`: what
 * collect_begin() gave, with its message in err. */
static int finish(const char *argv0, const struct words *w, struct collect *collect, int begun,
		  struct err *err)
{
	struct err ignored = {0};
	struct collect_summary summary;
	int finished = collect_finish(collect, begun == 0 ? err : &ignored);
	collect_summary(collect, &summary);
	collect_close(collect);
	if (begun != 0)
		return cli_fail(argv0, err);
	say_summary(argv0, w->collect.trace_path, &summary);
	int code = check_result(argv0, w, &summary);
	if (code == EXIT_DONE && finished != 0)
		code = cli_fail(argv0, err);
	return code;
}

static int record(const char *argv0, struct words *w, const char *program_path)
{
	struct err err = {0};
	struct collect *collect;
	if (collect_open(&w->collect, &collect, &err) != 0)
		return cli_fail(argv0, &err);
	extern char **environ;
	char **environment = collect_environment(collect, environ);
	if (!environment)
		err_set(&err, "out of memory");
	pid_t pid = environment ? start(program_path, w->command, environment, &err) : -1;
	free(environment);
	if (pid < 0) {
		collect_close(collect);
		return cli_fail(argv0, &err);
	}
	/* A trace that cannot be begun is said at the end: the program runs. */
	int begun = collect_begin(collect, &err);
	int status = follow(collect, w, pid);
	int code = finish(argv0, w, collect, begun, &err);
	if (code != EXIT_DONE)
		return code;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* -- programs that others start ------------------------------------------ */

/* Until it is told to end; what it records may run on. */
static void follow_others(struct collect *collect, const struct words *w)
{
	bool progress = isatty(STDERR_FILENO);
	int64_t start_ns = now_ns(), shown_ns = start_ns;
	while (signals_seen != SIGINT && signals_seen != SIGTERM && signals_seen != SIGHUP) {
		collect_step(collect, STEP_MS);
		int64_t now = now_ns();
		if (w->for_ns > 0 && now - start_ns >= (int64_t)w->for_ns)
			break;
		if (progress && now - shown_ns >= 1000000000) {
			show_progress(collect, w->for_ns);
			shown_ns = now;
		}
	}
	if (progress)
		fprintf(stderr, "\r\033[K");
}

static int record_others(const char *argv0, struct words *w)
{
	static char *const nothing[] = {NULL};
	struct err err = {0};
	struct collect *collect;
	struct buf said;
	w->collect.ring.folder = w->attach.folder;
	w->collect.ring.shared = true;
	if (collect_open(&w->collect, &collect, &err) != 0)
		return cli_fail(argv0, &err);
	catch_signals();
	buf_init(&said);
	char **environment = collect_environment(collect, nothing);
	int rc = environment ? attach_dir_fill(&w->attach, w->collect.library_path, environment,
					       &said, &err)
			     : err_set(&err, "out of memory");
	free(environment);
	if (rc == 0)
		fprintf(stderr, "%s: %s", argv0, buf_text(&said));
	buf_release(&said);
	if (rc != 0) {
		collect_close(collect);
		return cli_fail(argv0, &err);
	}
	int begun = collect_begin(collect, &err);
	follow_others(collect, w);
	attach_dir_clear(&w->attach);
	return finish(argv0, w, collect, begun, &err);
}

/* -- before the run ------------------------------------------------------ */

/* What stands in the way is an error; a cure is taken, or named. */
static int heed(const char *argv0, const struct words *w, const struct doctor *doctor,
		struct err *err)
{
	for (size_t i = 0; i < doctor->count; i++) {
		const struct finding *f = &doctor->finding[i];
		if (f->level == DOCTOR_NO)
			return err_set(err, "cannot record \"%s\": %s; %s", f->subject,
				       f->cause, f->cure);
		if (f->level != DOCTOR_CURE)
			continue;
		fprintf(stderr, "%s: %s: %s; ", argv0, f->subject, f->cause);
		if (!f->variable)
			fprintf(stderr, "%s\n", f->cure);
		else if (!w->cure)
			fprintf(stderr, "%s (--cure does)\n", f->cure);
		else if (setenv(f->variable, f->value, 1) != 0)
			return err_errno(err, "cannot set %s", f->variable);
		else
			fprintf(stderr, "so %s=%s is set\n", f->variable, f->value);
	}
	return 0;
}

static int look_before(const char *argv0, const struct words *w, const char *library,
		       char *path, size_t path_size, struct err *err)
{
	struct doctor doctor;
	const struct doctor_options about = {.library_path = library,
					     .ring_bytes = w->collect.ring.bytes};
	int rc = doctor_program(&doctor, w->command, &about, err);
	if (rc == 0)
		rc = heed(argv0, w, &doctor, err);
	snprintf(path, path_size, "%s", doctor.path);
	doctor_release(&doctor);
	return rc;
}

static int apply_adapters(const char *argv0, const struct words *w, struct err *err)
{
	int rc = 0;
	for (int i = 0; rc == 0 && i < ADAPTERS; i++)
		if (w->adapter[i])
			rc = adapter_apply((enum adapter)i, argv0, w->command, err);
	return rc;
}

static void join_command(struct buf *out, char **command)
{
	for (int i = 0; command[i]; i++)
		buf_printf(out, "%s%s", i > 0 ? " " : "", command[i]);
}

static int find_library(char *library, size_t library_size, struct err *err)
{
	if (cli_locate("lib/pail/libpailtrace.so", library, library_size, err) != 0)
		return -1;
	if (strpbrk(library, " :") == NULL)
		return 0;
	return err_set(err,
		       "\"%s\" has a space or a colon in its path, which LD_PRELOAD cannot "
		       "name: install pail elsewhere",
		       library);
}

/* "nginx:ngx_http_create_request": a program along PATH, or any file by its path. */
static int find_function(const char *option, char *text, char path[PATH_MAX],
			 struct probe_function *function, struct err *err)
{
	char *colon = strrchr(text, ':');
	if (!colon || colon == text || !colon[1]) {
		err_set(err, "%s wants FILE:FUNCTION, not \"%s\"", option, text);
		err->kind = ERR_USAGE;
		return -1;
	}
	*colon = '\0';
	int rc = doctor_find(text, path, PATH_MAX, err);
	*colon = ':';
	*function = (struct probe_function){path, colon + 1};
	return rc;
}

static int find_functions(struct words *w, struct err *err)
{
	return !w->begin ? 0
	       : find_function("--begin", w->begin, w->begin_path, &w->collect.begin, err) != 0
		       ? -1
		       : find_function("--end", w->end, w->end_path, &w->collect.end, err);
}

static int prepare(const char *argv0, struct words *w, const char *library, char path[PATH_MAX],
		   struct err *err)
{
	if (find_functions(w, err) != 0)
		return -1;
	if (w->attach_dir)
		return attach_dir_check(&w->attach, w->attach_dir, w->attach_as, err);
	if (apply_adapters(argv0, w, err) != 0)
		return -1;
	return look_before(argv0, w, library, path, PATH_MAX, err);
}

int cmd_record(int argc, char **argv)
{
	struct words w = {.collect = {.ring.pools = true,
				      .trace_path = "trace.db",
				      .detail = ROWS_EVENTS,
				      .split = SPLIT_AUTO}};
	struct err err = {0};
	char path[PATH_MAX], library[PATH_MAX];
	if (cli_argp_parse(&argp, argc, argv, ARGP_IN_ORDER, &w) != 0)
		return EXIT_USAGE;
	if (find_library(library, sizeof(library), &err) != 0 ||
	    prepare(argv[0], &w, library, path, &err) != 0)
		return cli_fail(argv[0], &err);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	struct buf command;
	buf_init(&command);
	if (w.attach_dir)
		buf_printf(&command, "attached by %s", w.attach.folder);
	else
		join_command(&command, w.command);
	w.collect.command = buf_text(&command);
	w.collect.library_path = library;
	int code = w.attach_dir ? record_others(argv[0], &w) : record(argv[0], &w, path);
	buf_release(&command);
	return code;
}
