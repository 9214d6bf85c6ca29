/* SPDX-License-Identifier: MIT */
#include "server/failure/libc_lock.h"

#include "server/request/bucket.h"
#include "server/failure/fail.h"
#include "server/failure/fault.h"
#include "server/connection/loop.h"
#include "server/memory/malloc.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

/* What locks nothing, or streams only. rand() and its kin are not here: they do. */
#define LIBC_LOCK_NONE                                                                         \
	"memcpy", "memmove", "memset", "memcmp", "memchr", "memrchr", "memmem", "mempcpy",     \
		"memccpy", "rawmemchr", "bcmp", "bcopy", "bzero", "strlen", "strnlen",         \
		"strcpy", "strncpy", "stpcpy", "stpncpy", "strcat", "strncat", "strcmp",       \
		"strncmp", "strcasecmp", "strncasecmp", "strchr", "strrchr", "strchrnul",      \
		"strstr", "strcasestr", "strspn", "strcspn", "strpbrk", "strtok", "strtok_r",  \
		"strsep", "strcoll", "strxfrm", "strerror_r", "__memcpy_chk", "__memmove_chk", \
		"__memset_chk", "__strcpy_chk", "__strcat_chk", "__stpcpy_chk",                \
		"__strncpy_chk", "wcslen", "wcscpy", "wcscmp", "wmemcpy", "wmemset",           \
		"mbrtowc", "wcrtomb", "mbstowcs", "wcstombs", "qsort", "qsort_r", "bsearch",   \
		"lsearch", "lfind", "tsearch", "tfind", "tdelete", "twalk", "abs", "atoi",     \
		"atol", "atoll", "atof", "strtol", "strtoul", "strtoll", "strtoull", "strtod", \
		"strtof", "strtold", "strtoimax", "strtoumax", "__isoc99_sscanf", "sscanf",    \
		"vsscanf", "__isoc99_vsscanf", "fscanf", "__isoc99_fscanf", "printf",          \
		"fprintf", "sprintf", "snprintf", "dprintf", "vprintf", "vfprintf",            \
		"vsprintf", "vsnprintf", "vdprintf", "asprintf", "vasprintf", "__printf_chk",  \
		"__fprintf_chk", "__sprintf_chk", "__snprintf_chk", "__vprintf_chk",           \
		"__vfprintf_chk", "__vsprintf_chk", "__vsnprintf_chk", "__asprintf_chk",       \
		"__vasprintf_chk", "__dprintf_chk", "puts", "fputs", "putchar", "putc",        \
		"fputc", "fwrite", "fread", "fgets", "fgetc", "getc", "ungetc", "getline",     \
		"getdelim", "fflush", "fseek", "fseeko", "ftell", "ftello", "rewind",          \
		"setvbuf", "setbuf", "feof", "ferror", "clearerr", "fileno", "flockfile",      \
		"ftrylockfile", "funlockfile", "fwrite_unlocked", "fputs_unlocked",            \
		"putc_unlocked", "getc_unlocked", "read", "write", "pread", "pwrite", "readv", \
		"writev", "lseek", "lseek64", "open", "open64", "openat", "close", "stat",     \
		"fstat", "lstat", "fstatat", "access", "unlink", "rename", "mkdir", "rmdir",   \
		"fcntl", "ioctl", "fsync", "fdatasync", "ftruncate", "pipe", "pipe2", "dup",   \
		"dup2", "dup3", "socket", "connect", "bind", "listen", "accept", "accept4",    \
		"send", "sendto", "sendmsg", "recv", "recvfrom", "recvmsg", "shutdown",        \
		"getsockopt", "setsockopt", "poll", "ppoll", "select", "pselect",              \
		"epoll_wait", "epoll_ctl", "sendfile", "mmap", "munmap", "mprotect",           \
		"madvise", "getpid", "getppid", "gettid", "getuid", "kill", "raise", "pause",  \
		"sched_yield", "syscall", "nanosleep", "clock_nanosleep", "clock_gettime",     \
		"gettimeofday", "time", "getrandom", "getcwd", "readlink", "realpath",         \
		"readdir", "readdir64", "getenv", "secure_getenv", "sysconf", "uname",         \
		"gethostname", "inet_ntop", "inet_pton", "__inet_pton_length", "freeaddrinfo", \
		"pthread_mutex_lock", "pthread_mutex_unlock", "pthread_mutex_trylock",         \
		"pthread_rwlock_rdlock", "pthread_rwlock_wrlock", "pthread_rwlock_unlock",     \
		"pthread_cond_wait", "pthread_cond_timedwait", "pthread_cond_signal",          \
		"pthread_cond_broadcast", "pthread_self", "pthread_getspecific",               \
		"pthread_setspecific", "longjmp", "siglongjmp", "_longjmp", "_setjmp",         \
		"__sigsetjmp", "__longjmp_chk", "__errno_location", "__ctype_b_loc",           \
		"__ctype_tolower_loc", "__ctype_toupper_loc", "tolower", "toupper", "isalpha", \
		"gmtime_r", "difftime", "sem_wait", "sem_post", "abort"

static struct {
	uintptr_t safe[512];
	size_t count;
} libc_lock;

static int compare_address(const void *a, const void *b)
{
	uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
	return (x > y) - (x < y);
}

void libc_lock_open(void)
{
	static const char *const names[] = {LIBC_LOCK_NONE};
	/* Not RTLD_DEFAULT: some of them are defined in the server, over libc's. */
	void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
	void *tls = dlsym(RTLD_DEFAULT, "__tls_get_addr");

	static_assert(sizeof(names) / sizeof(names[0]) < 500, "room");
	for (size_t i = 0; libc && i < sizeof(names) / sizeof(names[0]); i++) {
		/* What the C library chose for this machine, where it has several. */
		void *found = dlsym(libc, names[i]);
		if (found)
			libc_lock.safe[libc_lock.count++] = (uintptr_t)found;
	}
	if (tls)
		libc_lock.safe[libc_lock.count++] = (uintptr_t)tls;
	qsort(libc_lock.safe, libc_lock.count, sizeof(uintptr_t), compare_address);
}

static bool is_safe(uintptr_t function)
{
	size_t low = 0, high = libc_lock.count;

	while (low < high) {
		size_t middle = (low + high) / 2;
		if (libc_lock.safe[middle] < function)
			low = middle + 1;
		else
			high = middle;
	}
	return low < libc_lock.count && libc_lock.safe[low] == function;
}

/* -- the walk ------------------------------------------------------------------------- */

struct walk {
	bool begun, unsafe, whole;
	uint32_t frames;
	uintptr_t entry; /* function of the last frame if that was libc's, or 0 */
	uintptr_t culprit;
	uintptr_t caller; /* first frame outside libc */
};

static _Thread_local void *volatile walk_out[5]; /* of __builtin_setjmp */
static _Thread_local volatile bool walking;

static _Unwind_Reason_Code walk_frame(struct _Unwind_Context *context, void *argument)
{
	struct walk *walk = argument;
	int interrupted = 0;
	uintptr_t pc = _Unwind_GetIPInfo(context, &interrupted);

	/* In a signal handler, our own frames come first. */
	if (!walk->begun && !interrupted)
		return _URC_NO_REASON;
	walk->begun = true;
	if (++walk->frames > LIBC_LOCK_FRAMES_MAX)
		return _URC_END_OF_STACK;
	if (malloc_pc_in_libc(pc)) {
		walk->entry = _Unwind_GetRegionStart(context);
		return _URC_NO_REASON;
	}
	if (!walk->caller)
		walk->caller = pc;
	if (walk->entry && !is_safe(walk->entry)) {
		walk->unsafe = true;
		walk->culprit = walk->entry;
		return _URC_END_OF_STACK;
	}
	walk->entry = 0;
	walk->whole = true;
	return _URC_NO_REASON;
}

void libc_lock_walk_failed(void)
{
	if (!walking)
		return;
	walking = false;
	__builtin_longjmp((void **)walk_out, 1);
}

__attribute__((noinline)) static void walk_stack(struct walk *walk, bool in_signal)
{
	sigset_t ours;

	walk->begun = !in_signal;
	if (__builtin_setjmp((void **)walk_out) == 0) {
		walking = true;
		_Unwind_Backtrace(walk_frame, walk);
		walking = false;
		return;
	}
	/* The nested handler was left without its return. */
	if (!in_signal) {
		sigemptyset(&ours);
		sigaddset(&ours, FAULT_TICK_SIGNAL);
		sigaddset(&ours, FAULT_WATCH_SIGNAL);
		pthread_sigmask(SIG_UNBLOCK, &ours, NULL);
	}
	walk->whole = false;
}

/* -- the quick look --------------------------------------------------------------------- */

/* A full stack is thousands of words, each of which is compared twice: without a
 * branch, a block at a time, and four at once where the processor can. */
enum { BLOCK_WORDS = 64 };

struct libc_code {
	struct malloc_code libc, loader;
};

__attribute__((no_sanitize_address)) static bool block_meets(const uintptr_t *word,
							     const struct libc_code *code)
{
	size_t met = 0;

#pragma GCC unroll 8
	for (size_t i = 0; i < BLOCK_WORDS; i++) {
		met += word[i] - code->libc.low < code->libc.bytes;
		met += word[i] - code->loader.low < code->loader.bytes;
	}
	return met != 0;
}

#ifdef __x86_64__
typedef uint64_t words4 __attribute__((vector_size(32), aligned(8), may_alias));

__attribute__((no_sanitize_address, target("avx2"))) static bool
block_meets_by_four(const uintptr_t *word, const struct libc_code *code)
{
	const words4 *four = (const words4 *)word;
	const words4 none = {0}, libc_low = none + code->libc.low,
		     libc_bytes = none + code->libc.bytes, loader_low = none + code->loader.low,
		     loader_bytes = none + code->loader.bytes;
	words4 met = none;

#	pragma GCC unroll 4
	for (size_t i = 0; i < BLOCK_WORDS / 4; i++) {
		met |= (words4)(four[i] - libc_low < libc_bytes);
		met |= (words4)(four[i] - loader_low < loader_bytes);
	}
	return (met[0] | met[1] | met[2] | met[3]) != 0;
}
#endif

__attribute__((no_sanitize_address)) static bool points_into_libc(const unsigned char *from,
								  const unsigned char *to)
{
	bool (*meets)(const uintptr_t *, const struct libc_code *) = block_meets;
	const uintptr_t *word = (const uintptr_t *)from, *end = (const uintptr_t *)to;
	struct libc_code code;

#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2"))
		meets = block_meets_by_four;
#endif
	malloc_libc_code(&code.libc, &code.loader);
	for (; end - word >= BLOCK_WORDS; word += BLOCK_WORDS)
		if (meets(word, &code))
			return true;
	while (word < end)
		if (malloc_pc_in_libc(*word++))
			return true;
	return false;
}

static bool libc_may_be_on_stack(const struct pail_request *r, uintptr_t sp)
{
	const unsigned char *at = (const unsigned char *)(sp & ~(uintptr_t)7);
	const unsigned char *low = r->bucket->stack, *top = low + r->bucket->stack_bytes;

	/* An overflow has it in the guard. */
	if (at >= low - REGION_GUARD_BYTES && at < top)
		return points_into_libc(at < low ? low : at, top);
	if (r->big_stack < 0)
		return false; /* nowhere: not to be walked either */
	const unsigned char *big = region_big_stack(&core.region, (uint32_t)r->big_stack);
	const unsigned char *big_top = big + core.plan.big_stack_bytes;
	if (at < big - REGION_GUARD_BYTES || at >= big_top)
		return false;
	return points_into_libc(at < big ? big : at, big_top) || points_into_libc(low, top);
}

void libc_lock_left(struct pail_request *r, uintptr_t pc, uintptr_t sp, bool in_signal)
{
	struct walk walk = {0};

	if (libc_lock.count == 0 || (!malloc_pc_in_libc(pc) && !libc_may_be_on_stack(r, sp)))
		return;
	r->critical++;
	walk_stack(&walk, in_signal);
	r->critical--;
	if (in_signal && r->site == pc && malloc_pc_in_libc(pc) && walk.caller)
		r->site = walk.caller;
	if (walk.unsafe)
		fail_taint(walk.culprit, "a request was left inside a function of libc");
	else if (!walk.whole && malloc_pc_in_libc(pc))
		fail_taint(pc, "a request was left inside libc");
}
