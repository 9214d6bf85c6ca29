/* SPDX-License-Identifier: MIT */
/*
 * Runs a command under the shim and prints what came through the ring, one
 * event a line: the eyes of the shim's tests, and of whoever debugs it.
 *
 *	shim_dump [options] LIBRARY -- COMMAND...
 *	-b BYTES  size of the ring	-d  drop when full, not wait
 *	-w MS     longest wait		-s MS  read nothing for so long
 *	-e        exact epoll off	-c  condition variables	-m  mappings
 *	-n        never read until the command has ended
 *	-S        stacks		-F  stacks by frame pointers
 *	-T COUNT  room for so many stacks  -P  stack depth by painting
 *	-A  blocks of pools	-E  what is exec'd is left alone
 *	-q        only the summary	-x FILE  events to FILE, not stdout
 *	-p LIB    LIB is preloaded behind the shim
 *
 * The last line is a summary; the exit code is the command's.
 */
#include "libtrace/ring/ring.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static const char *const kind_name[EVENT_KINDS] = {
	[EVENT_FREE] = "free",
	[EVENT_REALLOC_BEGIN] = "realloc-begin",
	[EVENT_ALLOC] = "alloc",
	[EVENT_REALLOC_END] = "realloc-end",
	[EVENT_TIME] = "time",
	[EVENT_PROCESS_START] = "process-start",
	[EVENT_PROCESS_EXIT] = "process-exit",
	[EVENT_THREAD_START] = "thread-start",
	[EVENT_THREAD_EXIT] = "thread-exit",
	[EVENT_FORK_BEGIN] = "fork-begin",
	[EVENT_FORK_END] = "fork-end",
	[EVENT_EXEC_BEGIN] = "exec-begin",
	[EVENT_EXEC_FAILED] = "exec-failed",
	[EVENT_SOCKET] = "socket",
	[EVENT_ACCEPT] = "accept",
	[EVENT_CONNECT] = "connect",
	[EVENT_DUP] = "dup",
	[EVENT_CLOSE] = "close",
	[EVENT_SHUTDOWN] = "shutdown",
	[EVENT_READ] = "read",
	[EVENT_WRITE] = "write",
	[EVENT_WRITE_RESULT] = "write-result",
	[EVENT_MORE] = "more",
	[EVENT_EPOLL_CTL] = "epoll-ctl",
	[EVENT_WAIT_BEGIN] = "wait-begin",
	[EVENT_WAIT_END] = "wait-end",
	[EVENT_COND_SIGNAL] = "cond-signal",
	[EVENT_MARK_BEGIN] = "mark-begin",
	[EVENT_MARK_END] = "mark-end",
	[EVENT_MAP] = "map",
	[EVENT_UNMAP] = "unmap",
	[EVENT_BREAK] = "break",
	[EVENT_DROPPED] = "dropped",
	[EVENT_MODULE] = "module",
	[EVENT_LOCK] = "lock",
	[EVENT_UNLOCK] = "unlock",
	[EVENT_POOL_MAKE] = "pool-make",
	[EVENT_POOL_CLEAR] = "pool-clear",
	[EVENT_CPU] = "cpu",
};

static uint64_t counts[EVENT_KINDS];
static uint64_t dropped_told;
static FILE *out;

static void print_text(struct str text)
{
	putc('"', out);
	for (size_t i = 0; i < text.length; i++) {
		unsigned char c = (unsigned char)text.bytes[i];
		if (c < 32 || c > 126 || c == '"' || c == '\\')
			fprintf(out, "\\x%02x", c);
		else
			putc(c, out);
	}
	putc('"', out);
}

static void print_payload(const struct ring_event *event)
{
	size_t at = 0;
	uint32_t offset;
	struct str bytes;
	uint64_t word;

	switch (event->kind) {
	case EVENT_READ:
	case EVENT_WRITE:
	case EVENT_MORE:
		while (ring_piece(event, &at, &offset, &bytes)) {
			fprintf(out, " @%u ", offset);
			print_text(bytes);
		}
		break;
	case EVENT_WAIT_BEGIN:
	case EVENT_WAIT_END:
		for (; at + 8 <= event->payload.length; at += 8) {
			memcpy(&word, event->payload.bytes + at, 8);
			fprintf(out, " item=%llx", (unsigned long long)word);
		}
		break;
	default: putc(' ', out); print_text(event->payload);
	}
}

/* Innermost first; '!' is an interrupted place, '~' that outer ones are missing. */
static void print_stack(const struct ring *ring, uint32_t stack)
{
	struct ring_frame frame;

	fprintf(out, " stack=");
	for (const char *comma = ""; ring_frame(ring, stack, &frame); comma = ",") {
		fprintf(out, "%s%llx%s%s", comma, (unsigned long long)frame.address,
			frame.exact ? "!" : "", frame.cut ? "~" : "");
		stack = frame.outer;
	}
}

static void print(void *context, const struct ring_event *event)
{
	counts[event->kind]++;
	if (event->kind == EVENT_DROPPED)
		dropped_told += (uint64_t)event->a;
	if (!out)
		return;
	fprintf(out, "%lld %u %u %d %d %s flags=%u value=%llx", (long long)event->time_ns,
		event->process, event->thread, event->pid, event->tid, kind_name[event->kind],
		event->flags, (unsigned long long)event->value);
	if (event->kind == EVENT_ALLOC || event->kind == EVENT_REALLOC_END)
		fprintf(out, " size=%llu align=%u", (unsigned long long)event->size_bytes,
			event->align_log2);
	if (event->pool)
		fprintf(out, " pool=%llx", (unsigned long long)event->pool);
	if (event->stack)
		print_stack(context, event->stack);
	if (event->timed)
		fprintf(out, " a=%lld b=%llu low=%llx", (long long)event->a,
			(unsigned long long)event->b, (unsigned long long)event->stack_low);
	if (event->payload.length)
		print_payload(event);
	putc('\n', out);
}

static void die(const char *what)
{
	fprintf(stderr, "shim_dump: %s\n", what);
	exit(99);
}

int main(int argc, char **argv)
{
	struct ring_options options = {0};
	struct ring *ring;
	struct err err;
	int option, nap_ms = 0, status = 0;
	bool never = false;

	out = stdout;
	while ((option = getopt(argc, argv, "+b:dw:s:ecmnqx:p:SFPT:AE")) != -1) {
		switch (option) {
		case 'b': options.bytes = strtoull(optarg, NULL, 0); break;
		case 'd': options.on_full = RING_DROP; break;
		case 'w': options.wait_max_ns = strtoull(optarg, NULL, 0) * 1000000; break;
		case 's': nap_ms = (int)strtol(optarg, NULL, 0); break;
		case 'e': options.light = true; break;
		case 'c': options.conditions = true; break;
		case 'm': options.mappings = true; break;
		case 'S': options.stacks = true; break;
		case 'F': options.stacks = options.pointers = true; break;
		case 'P': options.paint = true; break;
		case 'T': options.stack_entries = (uint32_t)strtoul(optarg, NULL, 0); break;
		case 'E': options.no_exec = true; break;
		case 'A': options.pools = true; break;
		case 'n': never = true; break;
		case 'q': out = NULL; break;
		case 'x': out = fopen(optarg, "we"); break;
		case 'p': setenv("LD_PRELOAD", optarg, 1); break;
		default: die("bad option");
		}
	}
	if (argc - optind < 3)
		die("usage: shim_dump [options] LIBRARY -- COMMAND...");
	const char *library = argv[optind];
	char **command = argv + optind + 1;
	if (strcmp(*command, "--") == 0)
		command++;
	if (ring_create(&options, &ring, &err) != 0)
		die(err.text);
	/* Daemons become our children, so that we know when all are gone. */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	pid_t child = fork();
	if (child == 0) {
		char **environment = ring_environment(ring, environ, library);
		execvpe(command[0], command, environment);
		_exit(127);
	}
	if (nap_ms)
		usleep((useconds_t)nap_ms * 1000);
	for (int one;;) {
		pid_t done = waitpid(-1, &one, WNOHANG);
		if (done == child)
			status = one;
		if (done < 0 && errno == ECHILD)
			break;
		if (done == 0 && never)
			usleep(5000);
		else if (done == 0)
			ring_poll(ring, 10, print, ring);
	}
	ring_finish(ring, print, ring);
	struct ring_stats stats;
	ring_stats(ring, &stats);
	if (!out)
		out = stdout;
	fprintf(out,
		"summary events=%llu bytes=%llu dropped=%llu told=%llu waits=%llu processes=%llu "
		"threads=%llu corrupt=%llu chunks_max=%llu alloc=%llu free=%llu "
		"stacks=%llu stacks_lost=%llu stacks_blind=%llu\n",
		(unsigned long long)stats.events, (unsigned long long)stats.event_bytes,
		(unsigned long long)stats.dropped, (unsigned long long)dropped_told,
		(unsigned long long)stats.waits, (unsigned long long)stats.processes,
		(unsigned long long)stats.threads, (unsigned long long)stats.corrupt_chunks,
		(unsigned long long)stats.chunks_open_max,
		(unsigned long long)counts[EVENT_ALLOC], (unsigned long long)counts[EVENT_FREE],
		(unsigned long long)stats.stack_entries, (unsigned long long)stats.stacks_lost,
		(unsigned long long)stats.stacks_blind);
	fclose(out);
	ring_free(ring);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
