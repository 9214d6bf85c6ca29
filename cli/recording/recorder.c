/* SPDX-License-Identifier: MIT */
#include "cli/recording/recorder.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STATE_TEXT = sizeof(((struct err *)NULL)->text) };

int recorder_redact(const char *name, enum redact *redact)
{
	for (int i = 0; i < REDACTS; i++) {
		if (strcmp(name, redact_name[i]) == 0) {
			*redact = (enum redact)i;
			return 0;
		}
	}
	return -1;
}

static void summary_tell(const struct recorder *r, const struct served *served)
{
	struct served_summary sums;
	served_summary(served, &sums);
	if (sums.processes == 0)
		return;
	fprintf(stderr, "%s: %" PRId64 " requests in \"%s\"\n", r->argv0, sums.requests,
		r->trace_path);
	if (sums.refused > 0)
		fprintf(stderr,
			"%s: %" PRId64
			" of them found no bucket: their need and service are not "
			"known, so a plan from this trace is for less than the traffic\n",
			r->argv0, sums.refused);
	if (sums.dropped > 0)
		fprintf(stderr,
			"%s: %" PRIu64 " requests were answered, but not recorded: the "
			"recorder could not keep up\n",
			r->argv0, sums.dropped);
	if (sums.unstored > 0)
		fprintf(stderr, "%s: %" PRId64 " requests could not be stored\n", r->argv0,
			sums.unstored);
}

/* A pipe that is given descriptors keeps their listeners open, and whoever reads
 * our standard output waits for its end. */
static void keep_only(int input, int state)
{
	int low = input < state ? input : state, high = input < state ? state : input;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	if (low > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, (unsigned)low - 1, 0);
	if (high > low + 1)
		close_range((unsigned)low + 1, (unsigned)high - 1, 0);
	close_range((unsigned)high + 1, ~0U, 0);
}

__attribute__((noreturn)) static void recorder_main(const struct recorder *r, int input,
						    int state)
{
	static const int not_ours[] = {SIGTERM, SIGINT,  SIGHUP, SIGUSR1,
				       SIGPIPE, SIGQUIT, SIGXFSZ};
	const struct served_options options = {r->trace_path, r->command, r->redact};
	struct served *served;
	struct err err = {0};

	for (size_t i = 0; i < sizeof(not_ours) / sizeof(not_ours[0]); i++)
		signal(not_ours[i], SIG_IGN);
	keep_only(input, state);
	/* An empty text: it is begun. */
	int rc = served_open(&options, &served, &err);
	if (write(state, err.text, STATE_TEXT) < 0 || rc < 0)
		_exit(EXIT_FAILURE);
	close(state);
	rc = served_run(served, input, &err);
	summary_tell(r, served);
	if (rc < 0)
		fprintf(stderr, "%s: the recorder: %s\n", r->argv0, err.text);
	served_close(served);
	_exit(rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* What it says of its beginning. */
static int state_read(int fd, struct err *err)
{
	char text[STATE_TEXT];
	size_t filled = 0;
	ssize_t got;

	while (filled < sizeof(text) &&
	       (got = read(fd, text + filled, sizeof(text) - filled)) != 0)
		if (got > 0)
			filled += (size_t)got;
		else if (errno != EINTR)
			break;
	if (filled < sizeof(text))
		return err_set(err, "the recorder ended before it began");
	if (text[0])
		return err_set(err, "%.*s", (int)sizeof(text) - 1, text);
	return 0;
}

int recorder_start(const struct recorder *r, int *fd, pid_t *pid, struct err *err)
{
	int messages[2], state[2];

	if (pipe2(messages, O_CLOEXEC) < 0)
		return err_errno(err, "can't make a pipe");
	if (pipe2(state, O_CLOEXEC) < 0) {
		close(messages[0]);
		close(messages[1]);
		return err_errno(err, "can't make a pipe");
	}
	/* Less of it only means that more is dropped in a rush. */
	fcntl(messages[1], F_SETPIPE_SZ, LIMITS_RECORD_PIPE_BYTES);
	*pid = fork();
	if (*pid == 0)
		recorder_main(r, messages[0], state[1]);
	if (*pid < 0)
		err_errno(err, "can't start the recorder");
	close(messages[0]);
	close(state[1]);
	int rc = *pid < 0 ? -1 : state_read(state[0], err);
	close(state[0]);
	if (rc == 0 &&
	    (fcntl(messages[1], F_SETFL, O_NONBLOCK) < 0 || fcntl(messages[1], F_SETFD, 0) < 0))
		rc = err_errno(err, "can't set the pipe to the recorder");
	if (rc < 0) {
		close(messages[1]);
		if (*pid > 0)
			waitpid(*pid, NULL, 0);
		return -1;
	}
	*fd = messages[1];
	return 0;
}
