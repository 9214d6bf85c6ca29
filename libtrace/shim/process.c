/* SPDX-License-Identifier: MIT */
/*
 * Processes: fork in its ways, exec with our environment kept, the end, and
 * the marks that programs and scripts make.
 *
 * A forked child finds out by itself that it is one (process.alive is wiped);
 * the hooks only say so at once, and bracket the call, so that the child's
 * tables are its parent's at that point.
 */
#include "libtrace/shim/attach.h"
#include "libtrace/shim/memory.h"
#include "libtrace/shim/real.h"

#include <alloca.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <pail/mark.h>

/* -- fork ------------------------------------------------------------------------ */

static void fork_begins(unsigned flags)
{
	if (!writer_on() || writer.in_vfork)
		return;
	int saved = errno;
	writer.fork_token = atomic_fetch_add(&region->next_token, 1) + 1;
	write_long(EVENT_FORK_BEGIN, flags, writer.fork_token, 0, 0, NULL, 0);
	errno = saved;
}

static void fork_ended(unsigned flags, int64_t child)
{
	if (!writer_on() || writer.in_vfork)
		return;
	int saved = errno;
	write_long(EVENT_FORK_END, flags, writer.fork_token,
		   child < 0 ? -(int64_t)saved : child, 0, NULL, 0);
	writer.fork_token = 0;
	errno = saved;
}

static pid_t forked(pid_t child)
{
	if (child != 0) {
		fork_ended(0, child);
		return child;
	}
	int saved = errno;
	/* Wiped by the kernel, and perhaps begun anew by a handler of the fork; if
	 * its pid is still our parent's then it was not. */
	if (region && this_process.pid != getpid())
		process_forget();
	writer_announce();
	errno = saved;
	return 0;
}

EXPORT pid_t fork(void)
{
	fork_begins(0);
	return forked(REAL(fork)());
}

EXPORT pid_t _Fork(void)
{
	fork_begins(0);
	return forked(REAL(_Fork)());
}

EXPORT int daemon(int no_chdir, int no_close)
{
	fork_begins(0);
	int result = REAL(daemon)(no_chdir, no_close);
	if (result < 0)
		fork_ended(0, -1);
	else
		forked(0);
	return result;
}

/* Called by vfork.S. */
void vfork_begins(void) HIDDEN;
void vfork_ended(long result) HIDDEN;

void vfork_begins(void)
{
	fork_begins(EVENT_VFORKED);
	writer.in_vfork++;
}

void vfork_ended(long result)
{
	writer.in_vfork--;
	if (result < 0)
		errno = (int)-result;
	fork_ended(EVENT_VFORKED, result);
}

/* -- exec ------------------------------------------------------------------------- */

/* The kernel's limits: of one string, and of pointers within reason. */
enum { STRING_MOST = 32 * 4096, WORDS_MOST = 1 << 18 };

/* How many words there are; -1 if they cannot all be read: then what the kernel
 * says to that is to be had from the kernel. */
static ssize_t count_words(char *const words[])
{
	for (size_t count = 0; count < WORDS_MOST; count++) {
		if (((uintptr_t)&words[count] % 4096 == 0 || count == 0) &&
		    !memory_readable(&words[count], sizeof(*words)))
			return -1;
		if (!words[count])
			return (ssize_t)count;
	}
	return -1;
}

/* What stands behind the name in "NAME=value", or NULL if it is not that. */
static const char *value_of(const char *entry, const char *name, size_t length)
{
	return memory_readable(entry, length) && memcmp(entry, name, length) == 0
		       ? entry + length
		       : NULL;
}

static bool holds(const char *list, const char *path)
{
	size_t length = strlen(path);

	for (const char *at = strstr(list, path); at; at = strstr(at + 1, path))
		if ((at == list || at[-1] == ':' || at[-1] == ' ') &&
		    (at[length] == 0 || at[length] == ':' || at[length] == ' '))
			return true;
	return false;
}

/* What must be added to `environment`: the ring's entry, and how many bytes a
 * new LD_PRELOAD takes (0 = none needed), with the old one's place. */
struct missing {
	bool any, ring;
	size_t preload_bytes, preload_at, count;
	const char *preload;
};

static struct missing find_missing(char *const environment[])
{
	struct missing missing = {.preload = "", .ring = true};
	const char *ours = attach_preload + strlen("LD_PRELOAD="), *found;

	if (!region || !(region_mode & REGION_FOLLOW) || !environment)
		return missing;
	ssize_t count = count_words(environment);
	if (count < 0)
		return missing;
	missing.count = missing.preload_at = (size_t)count;
	for (size_t i = 0; i < missing.count; i++) {
		if (value_of(environment[i], REGION_ENV "=", strlen(REGION_ENV "=")))
			missing.ring = false;
		found = value_of(environment[i], "LD_PRELOAD=", strlen("LD_PRELOAD="));
		if (!found)
			continue;
		missing.preload_at = i;
		missing.preload = found;
		if (memory_text(found, STRING_MOST) < 0)
			return missing;
	}
	if (*attach_preload && !holds(missing.preload, ours))
		missing.preload_bytes = strlen(attach_preload) + strlen(missing.preload) + 2;
	missing.any = missing.ring || missing.preload_bytes;
	return missing;
}

static char **fill_missing(const struct missing *missing, char *const environment[],
			   char **words, char *preload)
{
	size_t count = missing->count;

	memcpy(words, environment, count * sizeof(*words));
	if (missing->ring)
		words[count++] = attach_ring;
	if (missing->preload_bytes) {
		strcpy(preload, attach_preload);
		if (*missing->preload) {
			strcat(preload, ":");
			strcat(preload, missing->preload);
		}
		if (missing->preload_at < missing->count)
			words[missing->preload_at] = preload;
		else
			words[count++] = preload;
	}
	words[count] = NULL;
	return words;
}

/* The environment with our entries, on the caller's stack if it must be made:
 * after vfork or in a handler nothing may be allocated. */
#define WITH_OURS(environment)                                                             \
	({                                                                                 \
		struct missing missing_ = find_missing(environment);                       \
		missing_.any ? fill_missing(&missing_, environment,                        \
					    alloca((missing_.count + 3) * sizeof(char *)), \
					    alloca(missing_.preload_bytes + 1))            \
			     : (char **)(uintptr_t)(environment);                          \
	})

enum { PATH_SHOWN = 1024, MARK_MOST = 512 };

static void exec_begins(const char *path)
{
	if (writer.in_vfork || !writer_on())
		return;
	int saved = errno;
	ssize_t bytes = memory_text(path, PATH_SHOWN);
	write_long(EVENT_EXEC_BEGIN, 0, 0, 0, 0, path, bytes > 0 ? (size_t)bytes : 0);
	errno = saved;
}

static int exec_failed(int result)
{
	if (writer.in_vfork || !writer_on())
		return result;
	int saved = errno;
	write_long(EVENT_EXEC_FAILED, 0, 0, -(int64_t)saved, 0, NULL, 0);
	errno = saved;
	return result;
}

EXPORT int execve(const char *path, char *const words[], char *const environment[])
{
	exec_begins(path);
	return exec_failed(REAL(execve)(path, words, WITH_OURS(environment)));
}

EXPORT int execv(const char *path, char *const words[])
{
	return execve(path, words, environ);
}

EXPORT int execvpe(const char *file, char *const words[], char *const environment[])
{
	exec_begins(file);
	return exec_failed(REAL(execvpe)(file, words, WITH_OURS(environment)));
}

EXPORT int execvp(const char *file, char *const words[])
{
	return execvpe(file, words, environ);
}

EXPORT int fexecve(int fd, char *const words[], char *const environment[])
{
	exec_begins("(descriptor)");
	return exec_failed(REAL(fexecve)(fd, words, WITH_OURS(environment)));
}

EXPORT int execveat(int folder, const char *path, char *const words[],
		    char *const environment[], int flags)
{
	exec_begins(path);
	return exec_failed(REAL(execveat)(folder, path, words, WITH_OURS(environment), flags));
}

/* Gathers the words of execl() and its kin on the stack. */
#define LISTED_WORDS(first, list)                                      \
	({                                                             \
		va_list again_;                                        \
		size_t count_ = 1;                                     \
		va_copy(again_, list);                                 \
		while (va_arg(again_, char *))                         \
			count_++;                                      \
		va_end(again_);                                        \
		char **words_ = alloca((count_ + 1) * sizeof(char *)); \
		words_[0] = (char *)(uintptr_t)(first);                \
		for (size_t i_ = 1; i_ <= count_; i_++)                \
			words_[i_] = va_arg(list, char *);             \
		words_;                                                \
	})

EXPORT int execl(const char *path, const char *word, ...)
{
	va_list list;

	va_start(list, word);
	char **words = LISTED_WORDS(word, list);
	va_end(list);
	return execve(path, words, environ);
}

EXPORT int execlp(const char *file, const char *word, ...)
{
	va_list list;

	va_start(list, word);
	char **words = LISTED_WORDS(word, list);
	va_end(list);
	return execvpe(file, words, environ);
}

EXPORT int execle(const char *path, const char *word, ...)
{
	va_list list;

	va_start(list, word);
	char **words = LISTED_WORDS(word, list);
	char *const *environment = va_arg(list, char *const *);
	va_end(list);
	return execve(path, words, environment);
}

EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
		       const posix_spawnattr_t *attributes, char *const words[],
		       char *const environment[])
{
	return REAL(posix_spawn)(pid, path, actions, attributes, words, WITH_OURS(environment));
}

EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
			const posix_spawnattr_t *attributes, char *const words[],
			char *const environment[])
{
	return REAL(posix_spawnp)(pid, file, actions, attributes, words,
				  WITH_OURS(environment));
}

/* -- the end ---------------------------------------------------------------------- */

static void quick_end(int status)
{
	if (!writer.in_vfork && atomic_load(&this_process.alive))
		write_long(EVENT_PROCESS_EXIT, EVENT_QUICK, (uint64_t)(status & 0xff), 0, 0,
			   NULL, 0);
}

EXPORT void _exit(int status)
{
	quick_end(status);
	REAL(_exit)(status);
	__builtin_unreachable();
}

EXPORT void _Exit(int status)
{
	_exit(status);
}

/* -- marks ------------------------------------------------------------------------ */

EXPORT void pail_mark_begin(uint64_t id, int fd, const char *label)
{
	if (!writer_on())
		return;
	int saved = errno;
	write_long(EVENT_MARK_BEGIN, 0, (uint64_t)((int64_t)fd + 1) & 0xffffffff, 0, id, label,
		   label ? strnlen(label, 255) : 0);
	errno = saved;
}

EXPORT void pail_mark_end(uint64_t id)
{
	if (!writer_on())
		return;
	int saved = errno;
	write_long(EVENT_MARK_END, 0, 0, 0, id, NULL, 0);
	errno = saved;
}

/* "/@pail/begin/ID/fd=N,label" and "/@pail/end/ID": marks of those who can call
 * no C. The path is not there, and the caller is told so. */
static void mark_path(const char *text)
{
	char *end;
	int fd = -1;

	if (strncmp(text, "end/", 4) == 0) {
		pail_mark_end(strtoull(text + 4, NULL, 10));
	} else if (strncmp(text, "begin/", 6) == 0) {
		uint64_t id = strtoull(text + 6, &end, 10);
		if (*end == '/')
			end++;
		if (strncmp(end, "fd=", 3) == 0) {
			fd = (int)strtol(end + 3, &end, 10);
			if (*end == ',')
				end++;
		}
		pail_mark_begin(id, fd, *end ? end : NULL);
	}
}

EXPORT int access(const char *path, int mode)
{
	if (UNLIKELY(memory_readable(path, 7) && memcmp(path, "/@pail/", 7) == 0 &&
		     memory_text(path, MARK_MOST) > 0)) {
		mark_path(path + 7);
		errno = ENOENT;
		return -1;
	}
	return REAL(access)(path, mode);
}
