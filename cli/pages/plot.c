/* SPDX-License-Identifier: MIT */
#include "cli/pages/plot.h"

#include "base/file.h"
#include "base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

extern char **environ;

enum { QUOTE_MAX = 60, ANSWER_MS = 300 };

void plot_init(struct plot *plot, const char *name)
{
	plot->name = name;
	plot->width = 800;
	plot->height = 440;
	buf_init(&plot->data);
	buf_init(&plot->body);
}

void plot_release(struct plot *plot)
{
	buf_release(&plot->data);
	buf_release(&plot->body);
}

void plot_quote(struct buf *out, struct str text)
{
	size_t n = text.length <= QUOTE_MAX ? text.length : QUOTE_MAX - 3;
	buf_append_str(out, "'");
	for (size_t i = 0; i < n; i++) {
		char c = text.bytes[i];
		bool plain = c >= ' ' && c <= '~' && !strchr("'\"`\\@", c);
		buf_append(out, plain ? &c : "?", 1);
	}
	buf_append_str(out, n < text.length ? "...'" : "'");
}

static void put_mark(struct buf *body, uint64_t bytes, const char *comma)
{
	char text[UNITS_TEXT_MAX];
	buf_printf(body, "%s'%s' %" PRIu64, comma, units_write_size(bytes, text), bytes);
}

void plot_bytes_axis(struct buf *body, char axis, uint64_t least, uint64_t most,
		     bool logarithmic)
{
	const char *comma = "";
	uint64_t step = 1, at;
	if (logarithmic) {
		unsigned apart = 1, doublings = 0;
		for (at = least > 0 ? least : 1; at < most; at *= 2)
			doublings++;
		apart = doublings > 14 ? 4 : doublings > 6 ? 2 : 1;
		for (at = 1; at < least; at <<= apart)
			;
		buf_printf(body, "set logscale %c 2\nset %ctics (", axis, axis);
		for (; at <= most && at < UINT64_C(1) << 60; at <<= apart, comma = ", ")
			put_mark(body, at, comma);
	} else {
		while (most / step > 7)
			step *= 2;
		buf_printf(body, "set %crange [0:*]\nset %ctics (", axis, axis);
		for (at = 0; at <= most + step; at += step, comma = ", ")
			put_mark(body, at, comma);
	}
	buf_append_str(body, ")\n");
}

/* -- running gnuplot ------------------------------------------------------- */

static bool find_program(void)
{
	const char *at = getenv("PATH");
	char path[4096];
	for (struct str rest = str_of(at), folder; rest.length > 0;) {
		str_cut(rest, ':', &folder, &rest);
		int n = snprintf(path, sizeof(path), "%.*s/gnuplot", STR_ARG(folder));
		if (folder.length > 0 && n < (int)sizeof(path) && access(path, X_OK) == 0)
			return true;
	}
	return false;
}

bool plot_possible(struct err *err)
{
	if (find_program())
		return true;
	err_set(err, "gnuplot is not installed, so there are no plots (Debian: apt install "
		     "gnuplot-nox)");
	return false;
}

static int read_all(int fd, struct buf *out, struct err *err)
{
	char bytes[65536];
	ssize_t got;
	while ((got = read(fd, bytes, sizeof(bytes))) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_errno(err, "cannot read what gnuplot draws");
		buf_append(out, bytes, (size_t)got);
	}
	return out->failed ? err_set(err, "out of memory for a plot") : 0;
}

static int wait_for(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}

/* The first line that gnuplot complained with, without its pointer lines. */
static int complaint(const char *folder, const char *name, struct err *err)
{
	char path[512], *text = NULL;
	size_t length;
	struct err ignored;
	snprintf(path, sizeof(path), "%s/stderr", folder);
	struct str rest = {"", 0}, line;
	if (file_read_all(path, 1 << 20, &text, &length, &ignored) == 0)
		rest = (struct str){text, length};
	while (rest.length > 0) {
		str_cut(rest, '\n', &line, &rest);
		line = str_trim(line);
		if (line.length > 0 && line.bytes[0] == '"' &&
		    memmem(line.bytes, line.length, " line ", 6)) {
			err_set(err, "gnuplot cannot draw '%s': %.*s", name, STR_ARG(line));
			free(text);
			return -1;
		}
	}
	free(text);
	return err_set(err, "gnuplot cannot draw '%s'", name);
}

/* Runs `gnuplot -d script` in the folder, its output into `out`. */
static int run(const char *folder, const char *script, const char *name, struct buf *out,
	       struct err *err)
{
	int ends[2], failed;
	pid_t pid = 0;
	posix_spawn_file_actions_t actions;
	char program[] = "gnuplot", defaults[] = "-d", file[64];
	char *const argv[] = {program, defaults, file, NULL};
	snprintf(file, sizeof(file), "%s", script);
	if (pipe2(ends, O_CLOEXEC) != 0)
		return err_errno(err, "cannot run gnuplot");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addchdir_np(&actions, folder);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "stderr",
					 O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	failed = posix_spawnp(&pid, program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	if (failed) {
		close(ends[0]);
		errno = failed;
		return err_errno(err, "cannot run gnuplot");
	}
	int result = read_all(ends[0], out, err);
	close(ends[0]);
	int status = wait_for(pid);
	if (result == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
		return complaint(folder, name, err);
	return result;
}

static int put_file(const char *folder, const char *name, const char *suffix,
		    const struct buf *text, struct err *err)
{
	char path[4096];
	int n = snprintf(path, sizeof(path), "%s/%s.%s", folder, name, suffix);
	if (n >= (int)sizeof(path))
		return err_set(err, "the name of the folder '%s' is too long", folder);
	if (text->failed)
		return err_set(err, "out of memory for a plot");
	return file_write_atomic(path, text->bytes, text->length, 0644, err);
}

static int put_files(const struct plot *plot, const char *folder, const char *before,
		     struct err *err)
{
	struct buf script;
	buf_init(&script);
	buf_append_str(&script, before);
	if (plot->body.length > 0)
		buf_append(&script, plot->body.bytes, plot->body.length);
	script.failed |= plot->body.failed;
	int result = put_file(folder, plot->name, "dat", &plot->data, err);
	if (result == 0)
		result = put_file(folder, plot->name, "gp", &script, err);
	buf_release(&script);
	return result;
}

static void folder_remove(const char *folder, const char *name)
{
	static const char *const suffix[] = {".gp", ".dat"};
	char path[512];
	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s%s", folder, name, suffix[i]);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/stderr", folder);
	unlink(path);
	rmdir(folder);
}

static int draw(const struct plot *plot, const char *before, struct buf *out, struct err *err)
{
	char folder[256], script[64];
	const char *temporary = getenv("TMPDIR");
	if (!plot_possible(err))
		return -1;
	snprintf(folder, sizeof(folder), "%s/pail-plot-XXXXXX",
		 temporary && *temporary ? temporary : "/tmp");
	if (!mkdtemp(folder))
		return err_errno(err, "cannot make a folder in '%s'",
				 temporary && *temporary ? temporary : "/tmp");
	int result = put_files(plot, folder, before, err);
	snprintf(script, sizeof(script), "%s.gp", plot->name);
	if (result == 0)
		result = run(folder, script, plot->name, out, err);
	folder_remove(folder, plot->name);
	return result;
}

/* -- SVG -------------------------------------------------------------------- */

/* Puts the plot's name before every id and every reference to one, so that
 * several plots can lie in one page. */
static void put_prefixed(struct buf *out, struct str svg, const char *name)
{
	static const char *const before[] = {" id=\"", " id='", "href='#", "href=\"#", "url(#"};
	for (size_t i = 0; i < svg.length;) {
		size_t matched = 0;
		for (size_t k = 0; k < sizeof(before) / sizeof(*before) && matched == 0; k++) {
			size_t n = strlen(before[k]);
			if (svg.length - i >= n && memcmp(svg.bytes + i, before[k], n) == 0)
				matched = n;
		}
		if (matched == 0) {
			buf_append(out, svg.bytes + i++, 1);
			continue;
		}
		buf_append(out, svg.bytes + i, matched);
		buf_printf(out, "%s-", name);
		i += matched;
	}
}

/* Cuts every <tag>...</tag> out, in place. */
static size_t without(char *bytes, size_t length, const char *tag)
{
	char open[32], close[32];
	snprintf(open, sizeof(open), "<%s>", tag);
	snprintf(close, sizeof(close), "</%s>", tag);
	char *at = bytes, *end = bytes + length;
	while ((at = memmem(at, (size_t)(end - at), open, strlen(open)))) {
		char *stop = memmem(at, (size_t)(end - at), close, strlen(close));
		if (!stop)
			break;
		stop += strlen(close);
		memmove(at, stop, (size_t)(end - stop));
		end -= stop - at;
	}
	return (size_t)(end - bytes);
}

int plot_svg(const struct plot *plot, struct buf *svg, struct err *err)
{
	struct buf raw;
	char before[256];
	buf_init(&raw);
	snprintf(before, sizeof(before),
		 "set terminal svg size %d,%d dynamic noenhanced font 'sans-serif,13' "
		 "linewidth 1.2\n",
		 plot->width, plot->height);
	int result = draw(plot, before, &raw, err);
	if (result == 0) {
		raw.length = without(raw.bytes, raw.length, "title");
		raw.length = without(raw.bytes, raw.length, "desc");
		char *at = memmem(raw.bytes, raw.length, "<svg", 4);
		/* gnuplot escapes what it writes; should it ever not, no page is made. */
		if (!at || memmem(raw.bytes, raw.length, "<script", 7) ||
		    memmem(raw.bytes, raw.length, "<foreignObject", 14))
			result = err_set(err, "what gnuplot drew of '%s' is no plain SVG",
					 plot->name);
		else
			put_prefixed(svg,
				     (struct str){at, raw.length - (size_t)(at - raw.bytes)},
				     plot->name);
	}
	buf_release(&raw);
	return result;
}

/* -- files ------------------------------------------------------------------ */

int plot_save(const struct plot *plot, const char *folder, struct err *err)
{
	char before[512];
	struct stat st;
	if (mkdir(folder, 0777) != 0 && errno != EEXIST)
		return err_errno(err, "cannot make the folder '%s'", folder);
	if (stat(folder, &st) == 0 && !S_ISDIR(st.st_mode))
		return err_set(err, "'%s' is no folder", folder);
	snprintf(before, sizeof(before),
		 "# Run in this folder: gnuplot %s.gp\n"
		 "# Made by pail; change it as you like: the data are in %s.dat.\n"
		 "set terminal svg size %d,%d dynamic noenhanced font 'sans-serif,13'\n"
		 "set output '%s.svg'\n",
		 plot->name, plot->name, plot->width, plot->height, plot->name);
	return put_files(plot, folder, before, err);
}

/* -- the terminal ------------------------------------------------------------- */

/* Asks the terminal what it is (primary device attributes); 4 among the answers
 * is sixels. Without an answer in time it has none. */
static bool has_sixels(int fd)
{
	struct termios before, raw;
	char answer[128];
	size_t length = 0;
	bool ended = false;
	const char *term = getenv("TERM");
	/* In the background a question to the terminal would stop us. */
	if (!isatty(fd) || !term || strcmp(term, "dumb") == 0 || tcgetpgrp(fd) != getpgrp() ||
	    tcgetattr(fd, &before) != 0)
		return false;
	int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (tty < 0)
		return false;
	raw = before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(tty, TCSANOW, &raw);
	if (write(tty, "\033[c", 3) == 3) {
		struct pollfd poll_fd = {.fd = tty, .events = POLLIN};
		while (!ended && length < sizeof(answer) - 1 &&
		       poll(&poll_fd, 1, ANSWER_MS) == 1) {
			if (read(tty, &answer[length], 1) != 1)
				break;
			ended = answer[length++] == 'c';
		}
	}
	tcsetattr(tty, TCSANOW, &before);
	close(tty);
	answer[length] = '\0';
	return ended && (strstr(answer, ";4;") || strstr(answer, ";4c"));
}

int plot_terminal(const struct plot *plot, int fd, struct buf *out, struct err *err)
{
	char before[256];
	struct winsize size = {0};
	int columns = 80, rows = 24;
	if (isatty(fd) && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 &&
	    size.ws_row > 0) {
		columns = size.ws_col;
		rows = size.ws_row;
	}
	if (has_sixels(fd)) {
		int width = size.ws_xpixel > 0 ? size.ws_xpixel : columns * 9;
		width = width > 1200 ? 1200 : width;
		snprintf(before, sizeof(before),
			 "set terminal sixelgd size %d,%d noenhanced font 'sans,11'\n", width,
			 width / 2);
	} else {
		snprintf(before, sizeof(before), "set terminal dumb size %d,%d noenhanced%s\n",
			 columns - 1,
			 rows > 40       ? 36
			 : rows - 2 > 16 ? rows - 2
					 : 16,
			 isatty(fd) && !getenv("NO_COLOR") ? " ansi256" : "");
	}
	return draw(plot, before, out, err);
}
