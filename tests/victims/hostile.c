/* SPDX-License-Identifier: MIT */
/*
 * Programs that make life hard for a preloaded library, one per first argument.
 * What counts are the blocks of 7777 bytes: each mode says on stdout how many
 * it made ("blocks N"), and every one must be found in the ring, with its free.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <pail/mark.h>

extern char **environ;
static char *self;

static void blocks(long count)
{
	for (long i = 0; i < count; i++) {
		void *volatile p = malloc(7777);
		if (!p)
			_exit(97);
		free(p);
	}
}

static void say(const char *what, long count)
{
	char line[64];
	int length = snprintf(line, sizeof(line), "%s %ld\n", what, count);

	if (write(1, line, (size_t)length) != length)
		_exit(98);
}

static void *worker(void *count)
{
	blocks((long)(intptr_t)count);
	return NULL;
}

static void threads(long at_once, long rounds, long each)
{
	pthread_t thread[64];

	for (long round = 0; round < rounds; round++) {
		for (long i = 0; i < at_once; i++)
			if (pthread_create(&thread[i], NULL, worker, (void *)(intptr_t)each) !=
			    0)
				_exit(96);
		for (long i = 0; i < at_once; i++)
			pthread_join(thread[i], NULL);
	}
	say("blocks", at_once * rounds * each);
}

static void wait_all(void)
{
	int status;

	while (wait(&status) > 0)
		if (status != 0)
			_exit(95);
}

static void forks(long count, long each)
{
	for (long i = 0; i < count; i++) {
		pid_t child = fork();
		if (child < 0)
			_exit(94);
		if (child == 0) {
			blocks(each);
			_exit(0);
		}
		if (i % 32 == 31)
			wait_all();
	}
	wait_all();
	say("blocks", count * each);
}

/* fork as a system call: no hook sees it. */
static void raw_forks(long count)
{
	for (long i = 0; i < count; i++) {
		if (syscall(SYS_fork) == 0) {
			blocks(10);
			_exit(0);
		}
		blocks(10);
	}
	wait_all();
	say("blocks", count * 20);
}

static void vforks(long count)
{
	char *const words[] = {self, (char[]){"blocks"}, (char[]){"5"}, (char[]){"quiet"},
			       NULL};
	char *const clean[] = {(char[]){"A=B"}, NULL};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		_exit(93);
	for (long i = 0; i < count; i++) {
		pid_t child = vfork();
		if (child == 0) {
			close(pair[0]);
			close(pair[1]);
			execve(self, words, clean);
			_exit(92);
		}
		if (child < 0)
			_exit(91);
		blocks(1);
		/* Still open here, and still known to be a socket. */
		if (write(pair[0], "x", 1) != 1)
			_exit(90);
	}
	wait_all();
	say("blocks", count * 6);
	say("writes", count);
}

static void chain(long left)
{
	char number[24], total[24];

	blocks(3);
	if (left == 0) {
		say("blocks", 3 * (1 + strtol(getenv("CHAIN"), NULL, 10)));
		return;
	}
	if (!getenv("CHAIN")) {
		snprintf(total, sizeof(total), "%ld", left);
		setenv("CHAIN", total, 1);
	}
	snprintf(number, sizeof(number), "%ld", left - 1);
	execl(self, self, "chain", number, NULL);
	_exit(89);
}

static _Atomic long marks;

static void on_alarm(int signal_number)
{
	(void)signal_number;
	marks++;
	pail_mark_begin(1, -1, "in a signal handler");
}

static void signals(long count)
{
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	struct itimerval often = {{0, 100}, {0, 100}};

	if (!pail_mark_begin)
		_exit(88);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	blocks(count);
	setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
	say("blocks", count);
	say("marks", marks);
}

static _Atomic long children;

static void on_alarm_fork(int signal_number)
{
	int saved = errno;
	pid_t child = fork();

	(void)signal_number;
	if (child == 0) {
		blocks(10);
		_exit(0);
	}
	children += child > 0;
	errno = saved;
}

/* fork wherever a signal finds the program: also within malloc and its hook. */
static void handler_forks(long count)
{
	struct sigaction action = {.sa_handler = on_alarm_fork};
	long made = 0;

	sigaction(SIGALRM, &action, NULL);
	while (children < count) {
		long before = children;
		setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 50}}, NULL);
		for (; children == before; made += 10)
			blocks(10);
		wait_all();
	}
	say("blocks", made + 10 * children);
	say("children", children);
}

/* What a sandboxed worker may call: what this program needs, and what the library says
 * that it does (shim/attach.h). Anything else ends the process. */
static void sandbox(void)
{
	static const int allowed[] = {
		SYS_read,      SYS_write,  SYS_exit_group,    SYS_exit,           SYS_brk,
		SYS_mmap,      SYS_munmap, SYS_mprotect,      SYS_rt_sigprocmask, SYS_gettid,
		SYS_madvise,   SYS_futex,  SYS_clock_gettime, SYS_newfstatat,     SYS_fstat,
		SYS_getrandom,
	};
	enum { COUNT = sizeof(allowed) / sizeof(*allowed) };
	struct sock_filter filter[2 * COUNT + 2] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
	struct sock_fprog program = {2 * COUNT + 2, filter};

	for (size_t i = 0; i < COUNT; i++) {
		filter[1 + 2 * i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
								 (unsigned)allowed[i], 0, 1);
		filter[2 + 2 * i] =
			(struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	filter[2 * COUNT + 1] =
		(struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		_exit(79);
}

/* A child in a sandbox allocates, and sends from memory that must be asked about. */
static void sandboxed(long count)
{
	int pair[2], status = 0;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		_exit(78);
	say("blocks", 2 * count);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		static const char text[] = "a sandboxed answer";
		sandbox();
		blocks(count);
		if (write(pair[1], text, sizeof(text)) != sizeof(text))
			_exit(77);
		_exit(0);
	}
	waitpid(child, &status, 0);
	blocks(count);
	if (status != 0)
		_exit(76);
}

static void limited(int what, rlim_t bytes)
{
	struct rlimit limit = {bytes, bytes};

	if (setrlimit(what, &limit) != 0)
		_exit(87);
	execl(self, self, "blocks", "1000", NULL);
	_exit(86);
}

static void *big_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	long n = argc > 2 ? strtol(argv[2], NULL, 10) : 0;

	self = argv[0];
	if (strcmp(mode, "blocks") == 0) {
		blocks(n);
		if (argc < 4)
			say("blocks", n);
	} else if (strcmp(mode, "threads") == 0) {
		threads(n, 1, 5000);
	} else if (strcmp(mode, "short") == 0) {
		threads(20, n / 20, 1);
	} else if (strcmp(mode, "forks") == 0) {
		forks(n, 10);
	} else if (strcmp(mode, "raw-forks") == 0) {
		raw_forks(n);
	} else if (strcmp(mode, "vforks") == 0) {
		vforks(n);
	} else if (strcmp(mode, "chain") == 0) {
		chain(n);
	} else if (strcmp(mode, "signals") == 0) {
		signals(n);
	} else if (strcmp(mode, "handler-forks") == 0) {
		handler_forks(n);
	} else if (strcmp(mode, "exit") == 0) {
		say("blocks", n);
		blocks(n);
		_exit(3);
	} else if (strcmp(mode, "kill") == 0) {
		say("blocks", n);
		blocks(n);
		raise(SIGKILL);
	} else if (strcmp(mode, "daemon") == 0) {
		say("blocks", 2 * n);
		blocks(n);
		if (daemon(0, 0) != 0)
			_exit(85);
		closefrom(0);
		blocks(n);
	} else if (strcmp(mode, "chroot") == 0) {
		say("blocks", 2 * n);
		if (chroot("/proc/self/fdinfo") != 0)
			_exit(84);
		blocks(n);
		if (fork() == 0) {
			blocks(n);
			_exit(0);
		}
		wait_all();
	} else if (strcmp(mode, "setuid") == 0) {
		if (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0)
			_exit(83);
		blocks(n);
		execl(self, self, "blocks", "1000", NULL);
		_exit(82);
	} else if (strcmp(mode, "sandbox") == 0) {
		sandboxed(n);
	} else if (strcmp(mode, "as") == 0) {
		limited(RLIMIT_AS, (rlim_t)n);
	} else if (strcmp(mode, "fsize") == 0) {
		limited(RLIMIT_FSIZE, 0);
	} else if (strcmp(mode, "as-check") == 0) {
		/* Three quarters of the limit are still there to be had. */
		return big_map((size_t)n) ? 0 : 81;
	} else {
		return 80;
	}
	return 0;
}
