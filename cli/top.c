/* SPDX-License-Identifier: MIT */
/*
 * pail top: a running server, or a recording, as it goes on. Plain ANSI on the
 * terminal's other screen: what was there is there again afterwards, whether it
 * ends by a key, by ^C or by SIGTERM.
 */
#include "cli/cli.h"
#include "base/conf.h"
#include "base/table.h"
#include "cli/top/top_draw.h"
#include "cli/top/top_sample.h"

#include <argp.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { OPTION_INTERVAL = 256, OPTION_ONCE, OPTION_JSON };

struct ask {
	const char *argv0, *source, *conf;
	char address[160];
	uint64_t interval_ns;
	bool once, json;
};

static const struct argp_option options[] = {
	{"config", 'c', "FILE", 0, "The server whose plan this is: its [server] admin", 0},
	{"interval", OPTION_INTERVAL, "TIME", 0, "How often to look (1s)", 0},
	{"once", OPTION_ONCE, NULL, 0, "Print one picture as text, after one interval, and end",
	 0},
	{"json", OPTION_JSON, NULL, 0, "The same as one JSON document (pail.top/1)", 0},
	{0},
};

static error_t parse(int key, char *text, struct argp_state *state)
{
	struct ask *a = state->input;
	struct err err = {0};
	int bad = 0;
	switch (key) {
	case 'c': a->conf = text; break;
	case OPTION_INTERVAL:
		bad = cli_parse_time("--interval", text, &a->interval_ns, &err);
		if (!bad && (a->interval_ns < 10000000 || a->interval_ns > 3600000000000))
			argp_error(state, "--interval is not within 10ms and 1h");
		break;
	case OPTION_ONCE: a->once = true; break;
	case OPTION_JSON: a->json = a->once = true; break;
	case ARGP_KEY_ARG:
		if (a->source)
			argp_error(state, "'%s' is one too many", text);
		a->source = text;
		break;
	case ARGP_KEY_END:
		if (!a->source && !a->conf)
			argp_error(state, "wants a server's admin address, or a trace");
		if (a->source && a->conf)
			argp_error(state, "-c and an address exclude each other");
		break;
	default: return ARGP_ERR_UNKNOWN;
	}
	if (bad)
		argp_error(state, "%s", err.text);
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse,
	.args_doc = "HOST:PORT|TRACE",
	.doc = "Shows what a running server does, or what a recorder has written so far: "
	       "requests, buckets, needs, rejections."
	       "\vHOST:PORT is the server's admin address. Keys: q ends, p pauses, r, n and e order "
	       "the routes by requests, need or rejections.",
};

/* -- where from ---------------------------------------------------------------------- */

struct top {
	const struct ask *ask;
	struct top_trace *trace; /* NULL: a server */
	struct top_sample now, before;
	struct top_screen screen;
	bool any; /* `now` is one */
};

static int find_source(struct ask *a, struct err *err)
{
	if (!a->conf)
		return 0;
	struct plan *plan = malloc(sizeof(*plan));
	int result = plan ? conf_read(a->conf, plan, err) : err_set(err, "out of memory");
	if (result == 0 && plan->admin[0] == '\0')
		result = err_set(err, "'%s' has no [server] admin address", a->conf);
	if (result == 0) {
		snprintf(a->address, sizeof(a->address), "%s", plan->admin);
		a->source = a->address;
	}
	free(plan);
	return result;
}

static int take(struct top *t, struct err *err)
{
	struct top_sample fresh;
	int result = t->trace ? top_trace_sample(t->trace, &fresh, err)
			      : top_server_sample(t->ask->source, &fresh, err);
	if (result != 0) {
		top_sample_release(&fresh);
		return -1;
	}
	top_sample_release(&t->before);
	t->before = t->now;
	t->now = fresh;
	if (t->before.at_ns > 0)
		top_sample_rates(&t->now, &t->before);
	t->any = true;
	return 0;
}

/* -- the terminal ------------------------------------------------------------------------ */

static volatile sig_atomic_t ended, resized, stopped;
static struct termios before_us;

static void on_signal(int number)
{
	if (number == SIGWINCH)
		resized = 1;
	else if (number == SIGTSTP)
		stopped = 1;
	else
		ended = number;
}

static void put(const char *text, size_t length)
{
	while (length > 0) {
		ssize_t n = write(STDOUT_FILENO, text, length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		text += n;
		length -= (size_t)n;
	}
}

static void terminal_enter(void)
{
	static const char enter[] = "\033[?1049h\033[?25l\033[2J";
	struct termios raw = before_us;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
	put(enter, sizeof(enter) - 1);
}

static void terminal_leave(void)
{
	static const char leave[] = "\033[?25h\033[?1049l";
	put(leave, sizeof(leave) - 1);
	tcsetattr(STDIN_FILENO, TCSANOW, &before_us);
}

static void catch_signals(void)
{
	static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH, SIGTSTP};
	struct sigaction action = {.sa_handler = on_signal};
	for (size_t i = 0; i < sizeof(caught) / sizeof(*caught); i++)
		sigaction(caught[i], &action, NULL);
}

/* ^Z: as if it were not there, until it comes back. */
static void stop_here(void)
{
	stopped = 0;
	terminal_leave();
	raise(SIGSTOP);
	terminal_enter();
	resized = 1;
}

static void measure_screen(struct top_screen *screen)
{
	struct winsize size;
	screen->columns = 80;
	screen->rows = 24;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 &&
	    size.ws_row > 0) {
		screen->columns = size.ws_col;
		screen->rows = size.ws_row;
	}
}

static void redraw(struct top *t)
{
	struct buf picture, out;
	buf_init(&picture);
	buf_init(&out);
	measure_screen(&t->screen);
	top_draw(&t->screen, &t->now, &picture);
	/* Line by line over the old picture: nothing flickers. */
	buf_append_str(&out, "\033[H");
	struct str rest = {picture.bytes, picture.length}, one;
	for (bool more = true; more && rest.length > 0;) {
		more = str_cut(rest, '\n', &one, &rest);
		buf_append(&out, one.bytes, one.length);
		buf_append_str(&out, more ? "\033[K\n" : "\033[K");
	}
	buf_append_str(&out, "\033[J");
	if (!out.failed && !picture.failed)
		put(out.bytes, out.length);
	buf_release(&out);
	buf_release(&picture);
}

static void press(struct top *t, char key)
{
	switch (key) {
	case 'q':
	case 'Q': ended = SIGINT; break;
	case 'p':
	case ' ': t->screen.paused = !t->screen.paused; break;
	case 'r': t->screen.order = TOP_BY_RATE; break;
	case 'n': t->screen.order = TOP_BY_NEED; break;
	case 'e': t->screen.order = TOP_BY_REJECTIONS; break;
	default: break;
	}
}

static int64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Until the next look is due: keys, a new size, a stop. */
static void attend(struct top *t, int64_t until_ns)
{
	while (!ended) {
		struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
		int64_t left = until_ns - now_ns();
		char key;
		if (stopped)
			stop_here();
		if (resized) {
			resized = 0;
			redraw(t);
		}
		if (left <= 0)
			return;
		if (poll(&input, 1, (int)(left / 1000000) + 1) <= 0)
			continue;
		ssize_t got = read(STDIN_FILENO, &key, 1);
		if (got == 1) {
			press(t, key);
			redraw(t);
		} else if (got == 0 || errno != EINTR) {
			ended = SIGHUP; /* the terminal is gone */
		}
	}
}

static int watch(struct top *t, struct err *err)
{
	static char trouble[sizeof(err->text)];
	if (take(t, err) != 0)
		return -1; /* what is not there at the start is an error */
	tcgetattr(STDIN_FILENO, &before_us);
	catch_signals();
	t->screen.keys = true;
	const char *term = getenv("TERM"), *none = getenv("NO_COLOR");
	t->screen.colour = (!none || !*none) && term && strcmp(term, "dumb") != 0;
	terminal_enter();
	redraw(t);
	while (!ended) {
		struct err now = {0};
		attend(t, now_ns() + (int64_t)t->ask->interval_ns);
		if (ended || t->screen.paused)
			continue;
		int result = take(t, &now);
		snprintf(trouble, sizeof(trouble), "%s", now.text);
		t->screen.trouble = result != 0 ? trouble : NULL;
		redraw(t);
	}
	terminal_leave();
	return 0;
}

static int once(struct top *t, struct buf *out, struct err *err)
{
	struct timespec pause = {.tv_sec = (time_t)(t->ask->interval_ns / 1000000000),
				 .tv_nsec = (long)(t->ask->interval_ns % 1000000000)};
	if (take(t, err) != 0)
		return -1;
	nanosleep(&pause, NULL);
	if (take(t, err) != 0)
		return -1;
	t->screen.columns = table_width_of(STDOUT_FILENO);
	if (t->ask->json)
		top_json(&t->screen, &t->now, out);
	else
		top_draw(&t->screen, &t->now, out);
	return 0;
}

int cmd_top(int argc, char **argv)
{
	struct ask a = {.argv0 = argv[0], .interval_ns = 1000000000};
	struct err err = {0};
	struct stat st;
	struct buf out;
	if (cli_argp_parse(&argp, argc, argv, 0, &a) != 0)
		return EXIT_USAGE;
	struct top top = {.ask = &a};
	buf_init(&out);
	int result = find_source(&a, &err);
	if (result == 0 && stat(a.source, &st) == 0)
		result = top_trace_new(a.source, &top.trace, &err);
	top.screen.source = a.source;
	bool terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
	if (result == 0)
		result = a.once || !terminal ? once(&top, &out, &err) : watch(&top, &err);
	int code = result == 0 ? cli_print(a.argv0, &out) : cli_fail(a.argv0, &err);
	top_sample_release(&top.now);
	top_sample_release(&top.before);
	top_trace_free(top.trace);
	buf_release(&out);
	return code;
}
