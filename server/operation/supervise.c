/* SPDX-License-Identifier: MIT */
#include "server/operation/supervise.h"

#include "server/operation/activation.h"
#include "server/failure/fail.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	EXIT_FAILED = 3,
	REPORT_SERVES = 's',
	REPORT_DRAINS = 'd',
	REPORT_LIVES = 'w',
	REPORT_NOT = 'n'
};
static const uint64_t MS_NS = 1000000;
static const uint64_t STEADY_NS = UINT64_C(10000000000);
static const uint64_t PAUSE_MOST_NS = UINT64_C(10000000000);

struct process {
	pid_t pid; /* 0: there is none */
	int report_fd;
	bool served;
	uint64_t start_ns;
	void *memory; /* that it shares */
};

struct supervisor {
	const struct supervise_memory *memory;
	struct process serving;
	struct process leaving; /* drains while another serves */
	sigset_t signals;
	int signal_fd;
	bool overlap;
	int ending; /* the signal that asked for it; 0: nobody has */
	int exit_code;
	bool over;
	uint32_t generation;
	uint64_t pause_ns;   /* before the next start */
	uint64_t waits_ns;   /* the pause that it is in, to be told */
	uint64_t restart_ns; /* when that is; 0: none is due */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* -- starting one -------------------------------------------------------------------- */

static void child_set_up(struct supervisor *s, const int ends[2], pid_t parent,
			 struct supervised *child)
{
	sigset_t set;

	close(ends[0]);
	close(s->signal_fd);
	if (s->leaving.pid)
		close(s->leaving.report_fd);
	/* The others stay blocked; those that are passed on wait until it listens. */
	sigemptyset(&set);
	sigaddset(&set, SUPERVISE_SIGNAL_END);
	sigaddset(&set, SUPERVISE_SIGNAL_REOPEN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	prctl(PR_SET_PDEATHSIG, SUPERVISE_SIGNAL_END);
	if (getppid() != parent)
		_exit(EXIT_FAILED);
	*child = (struct supervised){parent, ends[1], s->generation, child->watchdog_ns,
				     child->memory};
}

/* 1 in the child, 0 in the supervisor, -1: can't be now. */
static int start(struct supervisor *s, struct supervised *child)
{
	int ends[2];
	pid_t parent = getpid();

	s->restart_ns = 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	child->memory = s->memory->piece[0];
	if (s->leaving.pid && s->leaving.memory == child->memory)
		child->memory = s->memory->piece[1];
	pid_t pid = fork();
	if (pid < 0) {
		close(ends[0]);
		close(ends[1]);
		return -1;
	}
	if (pid == 0) {
		child_set_up(s, ends, parent, child);
		return 1;
	}
	close(ends[1]);
	s->serving = (struct process){.pid = pid,
				      .report_fd = ends[0],
				      .start_ns = now_ns(),
				      .memory = child->memory};
	s->generation++;
	return 0;
}

static void restart_later(struct supervisor *s, const struct process *ended)
{
	if (now_ns() - ended->start_ns > STEADY_NS)
		s->pause_ns = 0;
	s->waits_ns = s->pause_ns;
	s->restart_ns = now_ns() + s->waits_ns;
	s->pause_ns = s->pause_ns ? 2 * s->pause_ns : 100 * MS_NS;
	if (s->pause_ns > PAUSE_MOST_NS)
		s->pause_ns = PAUSE_MOST_NS;
}

/* -- one has ended ---------------------------------------------------------------------- */

static void tell_end(const struct supervisor *s, const struct process *process, int status)
{
	double seconds = (double)(now_ns() - process->start_ns) / 1e9;
	char how[96];

	if (WIFSIGNALED(status))
		snprintf(how, sizeof(how), "was ended by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == FAIL_EXIT_TAINTED)
		snprintf(how, sizeof(how), "ended after a failure that it could not contain");
	else
		snprintf(how, sizeof(how), "exited with %d unasked", WEXITSTATUS(status));
	if (s->restart_ns)
		fprintf(stderr, "pail serve: process %d %s after %.1f s; a new one in %.1f s\n",
			(int)process->pid, how, seconds, (double)s->waits_ns / 1e9);
	else
		fprintf(stderr, "pail serve: process %d %s after %.1f s\n", (int)process->pid,
			how, seconds);
}

static void serving_ended(struct supervisor *s, int status)
{
	struct process process = s->serving;

	/* Its last words may have come after we looked, and before it ended. */
	struct pollfd word = {.fd = process.report_fd, .events = POLLIN};
	for (char report; poll(&word, 1, 0) > 0 && read(process.report_fd, &report, 1) == 1;)
		process.served =
			(process.served || report == REPORT_SERVES) && report != REPORT_NOT;
	close(process.report_fd);
	s->memory->ended(process.memory);
	s->serving.pid = 0;
	if (s->ending || (s->generation == 1 && !process.served)) {
		s->over = true;
		s->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
		if (!WIFEXITED(status))
			tell_end(s, &process, status);
		return;
	}
	restart_later(s, &process);
	tell_end(s, &process, status);
}

static void reap(struct supervisor *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == s->serving.pid) {
			serving_ended(s, status);
		} else if (pid == s->leaving.pid) {
			tell_end(s, &s->leaving, status);
			close(s->leaving.report_fd);
			s->memory->ended(s->leaving.memory);
			s->leaving.pid = 0;
		}
	}
}

/* -- what it hears ------------------------------------------------------------------------ */

static void pass_on(struct supervisor *s, int signal)
{
	if (signal != SIGKILL && signal != SIGUSR1)
		signal = signal == SIGHUP ? SUPERVISE_SIGNAL_REOPEN : SUPERVISE_SIGNAL_END;
	if (s->serving.pid)
		kill(s->serving.pid, signal);
	if (s->leaving.pid && signal != SUPERVISE_SIGNAL_REOPEN && signal != SIGUSR1)
		kill(s->leaving.pid, signal);
}

static void take_signal(struct supervisor *s)
{
	struct signalfd_siginfo info;

	if (read(s->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	int signal = (int)info.ssi_signo;
	if (signal == SIGCHLD) {
		reap(s);
		return;
	}
	/* A server that does not come to serve does not come to hear it either. */
	if (signal != SIGHUP && signal != SIGUSR1 && s->ending && s->serving.pid &&
	    !s->serving.served)
		signal = SIGKILL;
	pass_on(s, signal);
	if (signal != SIGHUP && signal != SIGUSR1) {
		if (!s->ending)
			activation_notify("STOPPING=1\nSTATUS=answering what is under way");
		s->ending = signal;
		s->restart_ns = 0;
		s->over = !s->serving.pid;
	}
}

static void tell_serves(pid_t pid, uint32_t generation)
{
	char state[128];

	snprintf(state, sizeof(state), "READY=1\nSTATUS=process %d serves, after %u restarts",
		 (int)pid, generation - 1);
	activation_notify(state);
}

static void take_report(struct supervisor *s)
{
	char report;

	/* Its end is told by SIGCHLD. */
	if (read(s->serving.report_fd, &report, 1) != 1) {
		poll(NULL, 0, 1);
		return;
	}
	if (report == REPORT_SERVES) {
		s->serving.served = true;
		tell_serves(s->serving.pid, s->generation);
	} else if (report == REPORT_NOT) {
		s->serving.served = false;
	} else if (report == REPORT_LIVES) {
		activation_notify("WATCHDOG=1");
	} else if (report == REPORT_DRAINS && s->overlap && !s->leaving.pid && !s->ending) {
		s->leaving = s->serving;
		s->serving.pid = 0;
		restart_later(s, &s->leaving);
	}
}

static int patience_ms(const struct supervisor *s)
{
	uint64_t now = now_ns();

	if (!s->restart_ns)
		return -1;
	return s->restart_ns > now ? (int)((s->restart_ns - now + MS_NS - 1) / MS_NS) : 0;
}

int supervise(bool overlap, const struct supervise_memory *memory, struct supervised *child,
	      int *exit_code, struct err *err)
{
	struct supervisor s = {.memory = memory, .overlap = overlap};

	sigemptyset(&s.signals);
	sigaddset(&s.signals, SIGTERM);
	sigaddset(&s.signals, SIGINT);
	sigaddset(&s.signals, SIGHUP);
	sigaddset(&s.signals, SIGUSR1);
	sigaddset(&s.signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &s.signals, NULL);
	s.signal_fd = signalfd(-1, &s.signals, SFD_CLOEXEC);
	if (s.signal_fd < 0)
		return err_errno(err, "can't listen for signals");
	int started = start(&s, child);
	if (started < 0)
		return err_errno(err, "can't start a process (give --no-supervisor)");
	if (started > 0)
		return 1;
	while (!s.over || s.leaving.pid) {
		struct pollfd fds[2] = {
			{.fd = s.signal_fd, .events = POLLIN},
			{.fd = s.serving.pid ? s.serving.report_fd : -1, .events = POLLIN}};
		poll(fds, 2, patience_ms(&s));
		if (fds[1].revents)
			take_report(&s);
		if (fds[0].revents)
			take_signal(&s);
		if (s.restart_ns && s.restart_ns <= now_ns() && !s.ending) {
			started = start(&s, child);
			if (started > 0)
				return 1;
			if (started < 0)
				restart_later(&s, &s.serving);
		}
	}
	close(s.signal_fd);
	*exit_code = s.exit_code;
	return 0;
}

static void report(const struct supervised *child, char what)
{
	if (child->report_fd < 0 || write(child->report_fd, &what, 1) == 1)
		return;
}

void supervised_serves(const struct supervised *child)
{
	report(child, REPORT_SERVES);
	if (!child->supervisor)
		tell_serves(getpid(), 1);
}

void supervised_does_not(const struct supervised *child)
{
	report(child, REPORT_NOT);
}

void supervised_drains(const struct supervised *child)
{
	report(child, REPORT_DRAINS);
	if (!child->supervisor)
		activation_notify("STOPPING=1\nSTATUS=answering what is under way");
}

void supervised_lives(const struct supervised *child)
{
	report(child, REPORT_LIVES);
	if (!child->supervisor)
		activation_notify("WATCHDOG=1");
}
