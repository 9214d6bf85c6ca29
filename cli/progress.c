/* SPDX-License-Identifier: MIT */
#include "cli/progress.h"

#include "libtrace/trace.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { BAR = 24, LINE_MAX_BYTES = 256 };
static const int64_t first_ns = INT64_C(2000000000), every_ns = INT64_C(250000000);

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void progress_begin(struct progress *p, const char *who, const char *what, uint64_t total)
{
	const char *term = getenv("TERM"), *none = getenv("NO_COLOR");
	*p = (struct progress){.who = who, .what = what, .total = total};
	p->terminal = isatty(STDERR_FILENO) == 1;
	p->colour = (!none || !*none) && term && strcmp(term, "dumb") != 0;
	p->begun_ns = now_ns();
}

/* 1234567 as "1.23 M". */
static void short_count(double value, char text[16])
{
	static const char unit[] = {' ', 'k', 'M', 'G', 'T'};
	size_t u = 0;
	while (value >= 999.5 && u + 1 < sizeof(unit)) {
		value /= 1000;
		u++;
	}
	snprintf(text, 16, u ? "%.3g %c" : "%.0f", value, unit[u]);
}

static void time_left(double seconds, char text[32])
{
	if (seconds < 100)
		snprintf(text, 32, "%.0f s left", seconds);
	else if (seconds < 6000)
		snprintf(text, 32, "%.0f min left", seconds / 60);
	else
		snprintf(text, 32, "%.1f h left", seconds / 3600);
}

void progress_line(const struct progress *p, double seconds, int columns, char *text, int size)
{
	char done[16], rate[16], left[32], bar[BAR + 1];
	double per_second = seconds > 0 ? (double)p->done / seconds : 0;
	short_count((double)p->done, done);
	short_count(per_second, rate);
	if (p->watched) {
		snprintf(text, (size_t)size, "%s: %s, %.0f s", p->who, p->what, seconds);
	} else if (p->total == 0) {
		snprintf(text, (size_t)size, "%s: %s %s, %s/s, %.0f s", p->who, done, p->what,
			 rate, seconds);
	} else {
		double share = (double)p->done / (double)p->total;
		share = share > 1 ? 1 : share;
		int full = (int)(share * BAR);
		memset(bar, '.', BAR);
		memset(bar, '#', (size_t)full);
		bar[BAR] = '\0';
		if (p->done > 0)
			time_left(
				(double)(p->total - (p->done < p->total ? p->done : p->total)) /
					per_second,
				left);
		else
			snprintf(left, sizeof(left), "%.0f s", seconds);
		snprintf(text, (size_t)size, "%s: [%s] %3.0f %%, %s %s, %s/s, %s", p->who, bar,
			 100 * share, done, p->what, rate, left);
	}
	/* A line that wraps could not be wiped. */
	if (columns > 1 && columns - 1 < size)
		text[columns - 1] = '\0';
}

static void show(struct progress *p, int64_t now)
{
	char text[LINE_MAX_BYTES];
	struct winsize window;
	int columns = 80;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
		columns = window.ws_col;
	progress_line(p, (double)(now - p->begun_ns) / 1e9, columns, text, sizeof(text));
	fprintf(stderr, p->colour ? "\r\033[36m%s\033[0m\033[K" : "\r%s\033[K", text);
	p->shown = true;
	p->shown_ns = now;
}

void progress_at(struct progress *p, uint64_t done)
{
	p->done = done;
	if (!p->terminal)
		return;
	int64_t now = now_ns();
	if (now - p->begun_ns >= first_ns && now - p->shown_ns >= every_ns)
		show(p, now);
}

static void *watch(void *arg)
{
	struct progress *p = arg;
	struct pollfd end = {.fd = p->wake[0], .events = POLLIN};
	while (poll(&end, 1, 250) == 0) {
		int64_t now = now_ns();
		if (now - p->begun_ns >= first_ns)
			show(p, now);
	}
	return NULL;
}

void progress_watch(struct progress *p, const char *who, const char *what)
{
	sigset_t all, before;
	progress_begin(p, who, what, 0);
	if (!p->terminal || pipe2(p->wake, O_CLOEXEC) != 0)
		return;
	/* Signals are for those who have handlers for them. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	p->watched = true;
	if (pthread_create(&p->watcher, NULL, watch, p) != 0) {
		p->watched = false;
		close(p->wake[0]);
		close(p->wake[1]);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

uint64_t progress_requests(struct trace *trace)
{
	struct trace_stream *stream;
	struct err ignored;
	if (trace_stream_open(trace, ARENA_REUSE, &stream, &ignored) != 0)
		return 0;
	uint64_t requests = trace_stream_requests(stream);
	trace_stream_close(stream);
	return requests;
}

void progress_end(struct progress *p)
{
	if (p->watched) {
		close(p->wake[1]);
		pthread_join(p->watcher, NULL);
		close(p->wake[0]);
		p->watched = false;
	}
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
