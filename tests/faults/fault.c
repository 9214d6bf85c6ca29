/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into pail, makes one of its system calls fail: the k-th of a kind.
 *
 *	PAIL_FAULT=kind:k:how	how: a name of errno, or "short"; k from 1;
 *				k = 0 only counts
 *	PAIL_FAULT_NOTE=FILE	an existing file of sizeof(struct note) zero bytes
 *	PAIL_FAULT_IN=NAME	the program it is meant for: others pass all calls on
 *	PAIL_FAULT_FORKS=1	children that it forks count on; otherwise they do not
 *	PAIL_FAULT_WHERE=1	writes the stack of the call that failed to stderr
 *
 * The note is mapped by all processes, so that counts outlive whatever happens.
 * What pail's libraries call is seen, for it comes by the same symbols; what libc
 * calls within itself is not. Standard output and standard error never fail:
 * they are how pail says what went wrong.
 *
 * faults.py knows the kinds by their order here.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* clang-format off */
#define KINDS(K) \
	K(open) K(read) K(write) K(sync) K(truncate) K(allocate) K(map) K(protect) K(rename) \
	K(unlink) K(close) K(stat) K(mkstemp) K(mkdtemp) K(lock) K(random) K(pipe) K(fork) \
	K(thread) K(socket) K(bind) K(listen) K(epoll) K(epoll_ctl) K(event) K(accept) \
	K(send) K(receive) K(malloc)
/* clang-format on */
#define KIND_ENUM(name) KIND_##name,
#define KIND_NAME(name) #name,
enum kind { KINDS(KIND_ENUM) KIND_COUNT };
static const char *const kind_name[] = {KINDS(KIND_NAME)};

struct note {
	_Atomic uint64_t count[32];
	_Atomic uint64_t hit;
	char folder[8][128]; /* of mkdtemp */
	_Atomic uint64_t folders;
};
_Static_assert(KIND_COUNT <= 32, "faults.py reads 32 counts");

enum { SHORT = -1 };

static struct note *note;
static int want_kind = -1, how;
static uint64_t want;
static pid_t owner; /* 0: all that it forks */

static int how_of(const char *word)
{
	static const struct {
		const char *name;
		int value;
	} hows[] = {{"short", SHORT},          {"EIO", EIO},       {"ENOSPC", ENOSPC},
		    {"EMFILE", EMFILE},        {"ENOMEM", ENOMEM}, {"EINTR", EINTR},
		    {"EAGAIN", EAGAIN},        {"EACCES", EACCES}, {"EADDRINUSE", EADDRINUSE},
		    {"ECONNRESET", ECONNRESET}};
	for (size_t i = 0; i < sizeof(hows) / sizeof(*hows); i++)
		if (strcmp(hows[i].name, word) == 0)
			return hows[i].value;
	return 0;
}

/* Reads PAIL_FAULT; anything odd in it and nothing fails. */
__attribute__((constructor)) static void fault_start(void)
{
	const char *in = getenv("PAIL_FAULT_IN"), *path = getenv("PAIL_FAULT_NOTE");
	const char *text = getenv("PAIL_FAULT");
	if (!in || !path || !text || strcmp(in, program_invocation_short_name) != 0)
		return;
	for (int kind = 0; kind < KIND_COUNT; kind++) {
		size_t length = strlen(kind_name[kind]);
		char *end;
		if (strncmp(text, kind_name[kind], length) != 0 || text[length] != ':')
			continue;
		want = strtoull(text + length + 1, &end, 10);
		how = *end == ':' ? how_of(end + 1) : 0;
		want_kind = kind;
	}
	int fd = open(path, O_RDWR | O_CLOEXEC);
	void *at = fd >= 0 ? mmap(NULL, sizeof(struct note), PROT_READ | PROT_WRITE, MAP_SHARED,
				  fd, 0)
			   : MAP_FAILED;
	if (fd >= 0)
		close(fd);
	owner = getenv("PAIL_FAULT_FORKS") ? 0 : getpid();
	if (at != MAP_FAILED)
		note = at;
}

/* Counts the call; true if it is the one to fail. */
static bool fails(enum kind kind)
{
	if (!note || (owner && owner != getpid()))
		return false;
	uint64_t number = atomic_fetch_add(&note->count[kind], 1) + 1;
	if ((int)kind != want_kind || number != want)
		return false;
	atomic_store(&note->hit, 1);
	if (getenv("PAIL_FAULT_WHERE")) {
		void *stack[24];
		backtrace_symbols_fd(stack, backtrace(stack, 24), 2);
	}
	if (how != SHORT)
		errno = how;
	return true;
}

#define REAL(name)                     \
	static __typeof__(name) *real; \
	if (!real)                     \
	real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

/* name(parameters) fails as `kind` with `bad`, else it is called with arguments. */
#define PASS(type, name, parameters, arguments, kind, bad)          \
	type name parameters;                                       \
	type name parameters                                        \
	{                                                           \
		REAL(name);                                         \
		return fails(KIND_##kind) ? (bad) : real arguments; \
	}

/* Reads and writes: fail, or do one byte only. */
#define DATA(type, name, parameters, arguments, shorter, kind) \
	type name parameters;                                  \
	type name parameters                                   \
	{                                                      \
		REAL(name);                                    \
		if (fd <= 2 || !fails(KIND_##kind))            \
			return real arguments;                 \
		return how == SHORT ? real shorter : -1;       \
	}

#define OPEN(name)                                                                      \
	int name(const char *path, int flags, ...);                                     \
	int name(const char *path, int flags, ...)                                      \
	{                                                                               \
		va_list rest;                                                           \
		va_start(rest, flags);                                                  \
		mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
		va_end(rest);                                                           \
		REAL(name);                                                             \
		return fails(KIND_open) ? -1 : real(path, flags, mode);                 \
	}
#define OPENAT(name)                                                                    \
	int name(int folder, const char *path, int flags, ...);                         \
	int name(int folder, const char *path, int flags, ...)                          \
	{                                                                               \
		va_list rest;                                                           \
		va_start(rest, flags);                                                  \
		mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
		va_end(rest);                                                           \
		REAL(name);                                                             \
		return fails(KIND_open) ? -1 : real(folder, path, flags, mode);         \
	}

/* clang-format off */
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
DATA(ssize_t, read, (int fd, void *to, size_t n), (fd, to, n), (fd, to, n > 0), read)
DATA(ssize_t, pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at), (fd, to, n > 0, at), read)
DATA(ssize_t, pread64, (int fd, void *to, size_t n, off_t at), (fd, to, n, at), (fd, to, n > 0, at), read)
DATA(ssize_t, write, (int fd, const void *from, size_t n), (fd, from, n), (fd, from, n > 0), write)
DATA(ssize_t, pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at), (fd, from, n > 0, at), write)
DATA(ssize_t, pwrite64, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at), (fd, from, n > 0, at), write)
DATA(ssize_t, send, (int fd, const void *from, size_t n, int flags), (fd, from, n, flags), (fd, from, n > 0, flags), send)
DATA(ssize_t, recv, (int fd, void *to, size_t n, int flags), (fd, to, n, flags), (fd, to, n > 0, flags), receive)
PASS(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags), send, -1)
PASS(int, fsync, (int fd), (fd), sync, -1)
PASS(int, fdatasync, (int fd), (fd), sync, -1)
PASS(int, ftruncate, (int fd, off_t n), (fd, n), truncate, -1)
PASS(int, ftruncate64, (int fd, off_t n), (fd, n), truncate, -1)
PASS(int, posix_fallocate, (int fd, off_t at, off_t n), (fd, at, n), allocate, how)
PASS(void *, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t from), (at, n, prot, flags, fd, from), map, MAP_FAILED)
PASS(void *, mmap64, (void *at, size_t n, int prot, int flags, int fd, off_t from), (at, n, prot, flags, fd, from), map, MAP_FAILED)
PASS(int, mprotect, (void *at, size_t n, int prot), (at, n, prot), protect, -1)
PASS(int, rename, (const char *from, const char *to), (from, to), rename, -1)
PASS(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to), rename, -1)
PASS(int, unlink, (const char *path), (path), unlink, -1)
PASS(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags), unlink, -1)
PASS(int, stat, (const char *path, struct stat *st), (path, st), stat, -1)
PASS(int, fstat, (int fd, struct stat *st), (fd, st), stat, -1)
PASS(int, lstat, (const char *path, struct stat *st), (path, st), stat, -1)
PASS(int, fstatat, (int folder, const char *path, struct stat *st, int flags), (folder, path, st, flags), stat, -1)
PASS(int, mkstemp, (char *name), (name), mkstemp, -1)
PASS(int, mkstemp64, (char *name), (name), mkstemp, -1)
PASS(int, flock, (int fd, int how_to), (fd, how_to), lock, -1)
PASS(ssize_t, getrandom, (void *to, size_t n, unsigned flags), (to, n, flags), random, -1)
PASS(int, pipe2, (int ends[2], int flags), (ends, flags), pipe, -1)
PASS(pid_t, fork, (void), (), fork, -1)
PASS(int, pthread_create, (pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg), (t, a, run, arg), thread, how)
PASS(int, socket, (int domain, int type, int protocol), (domain, type, protocol), socket, -1)
PASS(int, bind, (int fd, const struct sockaddr *name, socklen_t n), (fd, name, n), bind, -1)
PASS(int, listen, (int fd, int backlog), (fd, backlog), listen, -1)
PASS(int, epoll_create1, (int flags), (flags), epoll, -1)
PASS(int, epoll_ctl, (int e, int op, int fd, struct epoll_event *event), (e, op, fd, event), epoll_ctl, -1)
PASS(int, eventfd, (unsigned count, int flags), (count, flags), event, -1)
PASS(int, accept4, (int fd, struct sockaddr *name, socklen_t *n, int flags), (fd, name, n, flags), accept, -1)
/* clang-format on */

int close(int fd)
{
	REAL(close);
	bool bad = fd > 2 && fails(KIND_close);
	int saved = errno, rc = real(fd); /* Linux closes it in any case */
	if (bad)
		errno = saved;
	return bad ? -1 : rc;
}

/* The server makes most of its calls this way. */
static int kind_of(long number)
{
	switch (number) {
	case SYS_openat:
	case SYS_openat2: return KIND_open;
	case SYS_read:
	case SYS_readv: return KIND_read;
	case SYS_write:
	case SYS_writev: return KIND_write;
	case SYS_mmap:
	case SYS_mremap: return KIND_map;
	case SYS_close: return KIND_close;
	case SYS_memfd_create: return KIND_mkstemp;
	case SYS_socket:
	case SYS_socketpair: return KIND_socket;
	case SYS_epoll_create1: return KIND_epoll;
	case SYS_accept4: return KIND_accept;
	case SYS_sendto:
	case SYS_sendmsg: return KIND_send;
	case SYS_recvfrom:
	case SYS_recvmsg: return KIND_receive;
	default: return -1;
	}
}

long syscall(long number, ...)
{
	va_list rest;
	long a[6];
	va_start(rest, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(rest, long);
	va_end(rest);
	REAL(syscall);
	int kind = kind_of(number);
	bool one = kind == KIND_read || kind == KIND_write;
	if (kind < 0 || (one && a[0] <= 2) || !fails((enum kind)kind))
		return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (kind == KIND_close)
		(void)real(number, a[0]);
	if (how != SHORT) {
		errno = how; /* close may have set it */
		return -1;
	}
	if ((number == SYS_read || number == SYS_write || number == SYS_sendto ||
	     number == SYS_recvfrom) &&
	    a[2] > 1)
		a[2] = 1;
	return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* SQLite locks with fcntl; the rest of it is nobody's failure. */
static int control(int (*real)(int, int, ...), int fd, int command, void *argument)
{
	bool locks = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK;
	return locks && fails(KIND_lock) ? -1 : real(fd, command, argument);
}

#define CONTROL(name)                                        \
	int name(int fd, int command, ...);                  \
	int name(int fd, int command, ...)                   \
	{                                                    \
		va_list rest;                                \
		va_start(rest, command);                     \
		void *argument = va_arg(rest, void *);       \
		va_end(rest);                                \
		REAL(name);                                  \
		return control(real, fd, command, argument); \
	}
CONTROL(fcntl)
CONTROL(fcntl64)

/* Where the ring is, so that one can look whether it went. */
char *mkdtemp(char *name)
{
	REAL(mkdtemp);
	if (fails(KIND_mkdtemp))
		return NULL;
	char *made = real(name);
	if (made && note) {
		uint64_t at = atomic_fetch_add(&note->folders, 1);
		if (at < 8)
			strncpy(note->folder[at], made, sizeof(note->folder[at]) - 1);
	}
	return made;
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *p, size_t size);

void *malloc(size_t size)
{
	return fails(KIND_malloc) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return fails(KIND_malloc) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *p, size_t size)
{
	return fails(KIND_malloc) ? NULL : __libc_realloc(p, size);
}
