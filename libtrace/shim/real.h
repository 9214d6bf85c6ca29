/* SPDX-License-Identifier: MIT */
/*
 * The functions that we stand in front of, as the next library in line defines
 * them (libc, or an allocator that the program brought). The malloc family
 * points at stubs until it is resolved, so that its hooks need no test; dlsym
 * itself may allocate, and is served from a small boot arena.
 */
#ifndef PAIL_SHIM_REAL_H
#define PAIL_SHIM_REAL_H

#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#include "libtrace/shim/writer.h"

struct real_heap {
	void *(*malloc)(size_t);
	void *(*calloc)(size_t, size_t);
	void *(*realloc)(void *, size_t);
	void (*free)(void *);
	void *(*memalign)(size_t, size_t);
	void *(*aligned_alloc)(size_t, size_t);
	int (*posix_memalign)(void **, size_t, size_t);
	void *(*valloc)(size_t);
	void *(*pvalloc)(size_t);
	size_t (*malloc_usable_size)(void *);
};
extern struct real_heap real_heap HIDDEN;

/* name, result, parameters: one line per function, in real.c and here. */
#define REAL_FUNCTIONS(X)                                                                     \
	X(read, ssize_t, (int, void *, size_t))                                               \
	X(readv, ssize_t, (int, const struct iovec *, int))                                   \
	X(recv, ssize_t, (int, void *, size_t, int))                                          \
	X(recvfrom, ssize_t, (int, void *, size_t, int, struct sockaddr *, socklen_t *))      \
	X(recvmsg, ssize_t, (int, struct msghdr *, int))                                      \
	X(recvmmsg, int, (int, struct mmsghdr *, unsigned, int, struct timespec *))           \
	X(write, ssize_t, (int, const void *, size_t))                                        \
	X(writev, ssize_t, (int, const struct iovec *, int))                                  \
	X(send, ssize_t, (int, const void *, size_t, int))                                    \
	X(sendto, ssize_t,                                                                    \
	  (int, const void *, size_t, int, const struct sockaddr *, socklen_t))               \
	X(sendmsg, ssize_t, (int, const struct msghdr *, int))                                \
	X(sendmmsg, int, (int, struct mmsghdr *, unsigned, int))                              \
	X(sendfile, ssize_t, (int, int, off_t *, size_t))                                     \
	X(sendfile64, ssize_t, (int, int, off_t *, size_t))                                   \
	X(splice, ssize_t, (int, off_t *, int, off_t *, size_t, unsigned))                    \
	X(accept, int, (int, struct sockaddr *, socklen_t *))                                 \
	X(accept4, int, (int, struct sockaddr *, socklen_t *, int))                           \
	X(connect, int, (int, const struct sockaddr *, socklen_t))                            \
	X(socket, int, (int, int, int))                                                       \
	X(socketpair, int, (int, int, int, int *))                                            \
	X(close, int, (int))                                                                  \
	X(close_range, int, (unsigned, unsigned, int))                                        \
	X(closefrom, void, (int))                                                             \
	X(fclose, int, (FILE *))                                                              \
	X(dup, int, (int))                                                                    \
	X(dup2, int, (int, int))                                                              \
	X(dup3, int, (int, int, int))                                                         \
	X(fcntl, int, (int, int, ...))                                                        \
	X(fcntl64, int, (int, int, ...))                                                      \
	X(shutdown, int, (int, int))                                                          \
	X(epoll_ctl, int, (int, int, int, struct epoll_event *))                              \
	X(epoll_wait, int, (int, struct epoll_event *, int, int))                             \
	X(epoll_pwait, int, (int, struct epoll_event *, int, int, const sigset_t *))          \
	X(epoll_pwait2, int,                                                                  \
	  (int, struct epoll_event *, int, const struct timespec *, const sigset_t *))        \
	X(poll, int, (struct pollfd *, nfds_t, int))                                          \
	X(ppoll, int, (struct pollfd *, nfds_t, const struct timespec *, const sigset_t *))   \
	X(select, int, (int, fd_set *, fd_set *, fd_set *, struct timeval *))                 \
	X(pselect, int,                                                                       \
	  (int, fd_set *, fd_set *, fd_set *, const struct timespec *, const sigset_t *))     \
	X(nanosleep, int, (const struct timespec *, struct timespec *))                       \
	X(clock_nanosleep, int, (clockid_t, int, const struct timespec *, struct timespec *)) \
	X(usleep, int, (useconds_t))                                                          \
	X(sleep, unsigned, (unsigned))                                                        \
	X(pthread_cond_wait, int, (pthread_cond_t *, pthread_mutex_t *))                      \
	X(pthread_cond_timedwait, int,                                                        \
	  (pthread_cond_t *, pthread_mutex_t *, const struct timespec *))                     \
	X(pthread_cond_clockwait, int,                                                        \
	  (pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *))          \
	X(pthread_cond_signal, int, (pthread_cond_t *))                                       \
	X(pthread_cond_broadcast, int, (pthread_cond_t *))                                    \
	X(fork, pid_t, (void))                                                                \
	X(_Fork, pid_t, (void))                                                               \
	X(daemon, int, (int, int))                                                            \
	X(_exit, void, (int))                                                                 \
	X(execve, int, (const char *, char *const[], char *const[]))                          \
	X(execvpe, int, (const char *, char *const[], char *const[]))                         \
	X(fexecve, int, (int, char *const[], char *const[]))                                  \
	X(execveat, int, (int, const char *, char *const[], char *const[], int))              \
	X(posix_spawn, int,                                                                   \
	  (pid_t *, const char *, const posix_spawn_file_actions_t *,                         \
	   const posix_spawnattr_t *, char *const[], char *const[]))                          \
	X(posix_spawnp, int,                                                                  \
	  (pid_t *, const char *, const posix_spawn_file_actions_t *,                         \
	   const posix_spawnattr_t *, char *const[], char *const[]))                          \
	X(access, int, (const char *, int))                                                   \
	X(brk, int, (void *))                                                                 \
	X(sbrk, void *, (intptr_t))                                                           \
	X(dlclose, int, (void *))                                                             \
	X(_dl_find_object, int, (void *, struct dl_find_object *))

#define X(name, result, parameters) extern result(*real_##name) parameters HIDDEN;
REAL_FUNCTIONS(X)
#undef X

/* Resolves everything, once; called at the start and by whoever comes first. */
void real_resolve(void) HIDDEN;

/* REAL(read)(fd, ...): resolved if it was not. */
#define REAL(name) \
	(*(LIKELY(real_##name != NULL) ? &real_##name : (real_resolve(), &real_##name)))

/* Memory of the boot arena, which nobody may give to the real free(). */
extern unsigned char boot_arena[] HIDDEN;
enum { BOOT_BYTES = 64 * 1024 };
static inline bool boot_owns(const void *p)
{
	return UNLIKELY((uintptr_t)p - (uintptr_t)boot_arena < BOOT_BYTES);
}
size_t boot_usable(const void *p) HIDDEN;

#endif
