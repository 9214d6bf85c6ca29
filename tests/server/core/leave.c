/* SPDX-License-Identifier: MIT */
/*
 * A plug-in that leaves things behind: descriptors, streams, folders and timers of a
 * request that dies, blocks of libc's and of the loader's, blocks of other requests.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <iconv.h>
#include <locale.h>
#include <netdb.h>
#include <pail/handler.h>
#include <pthread.h>
#include <pwd.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

static unsigned char *volatile shared; /* of the request that holds */
static unsigned char *volatile dead;   /* of one that is over */
static unsigned char *volatile outside;
enum { SHARED_BYTES = 5000, OUTSIDE_BYTES = 300 };

int pail_start(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	outside = malloc(OUTSIDE_BYTES);
	memset(outside, 9, OUTSIDE_BYTES);
	return 0;
}

static int answer(struct pail_request *r, const char *format, long value)
{
	char text[64];
	int length = snprintf(text, sizeof(text), format, value);
	pail_write(r, text, (size_t)length);
	return 200;
}

static int whole(const unsigned char *bytes, size_t count, unsigned char mark)
{
	for (size_t i = 0; i < count; i++)
		if (bytes[i] != mark)
			return 0;
	return 1;
}

/* -- what is open ------------------------------------------------------------------- */

/* How many of all kinds could not be opened. */
static int open_all(void)
{
	char name[] = "/tmp/pail-leave-XXXXXX", *bytes;
	size_t size;
	int ends[2], pair[2], fd, failed = 0;
	timer_t timer;
	sigset_t none;
	cookie_io_functions_t nothing = {0};

	sigemptyset(&none);
	failed += !fopen("/dev/null", "w");
	failed += !fdopen(open("/dev/null", O_RDONLY), "r");
	failed += !tmpfile();
	failed += !fmemopen(name, sizeof(name), "r");
	failed += !open_memstream(&bytes, &size);
	failed += !fopencookie(NULL, "r", nothing);
	failed += !opendir("/");
	failed += !fdopendir(open("/", O_RDONLY | O_DIRECTORY));
	failed += open("/dev/null", O_RDONLY) < 0;
	failed += openat(AT_FDCWD, "/dev/null", O_RDONLY) < 0;
	failed += creat("/dev/null", 0600) < 0;
	failed += dup(2) < 0;
	failed += fcntl(2, F_DUPFD_CLOEXEC, 0) < 0;
	failed += pipe(ends) < 0;
	failed += pipe2(ends, O_CLOEXEC) < 0;
	failed += socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0;
	failed += socket(AF_INET, SOCK_STREAM, 0) < 0;
	failed += eventfd(0, 0) < 0;
	failed += epoll_create1(0) < 0;
	failed += timerfd_create(CLOCK_MONOTONIC, 0) < 0;
	failed += signalfd(-1, &none, 0) < 0;
	failed += inotify_init1(0) < 0;
	failed += memfd_create("leave", 0) < 0;
	fd = mkstemp(name);
	failed += fd < 0 || unlink(name) < 0;
	failed += timer_create(CLOCK_MONOTONIC, &(struct sigevent){.sigev_notify = SIGEV_NONE},
			       &timer) < 0;
	return failed;
}

static int die(struct pail_request *r, const char *how)
{
	int failed = open_all();

	if (failed)
		return answer(r, "%ld could not be opened\n", failed);
	if (strcmp(how, "segv") == 0)
		*(volatile int *)8 = 1;
	if (strcmp(how, "eat") == 0)
		for (;;)
			*(volatile char *)malloc(1000) = 1;
	if (strcmp(how, "abort") == 0)
		abort();
	for (;;) /* until the deadline */
		__asm__ volatile("");
}

/* Opens until no more is had. */
static int open_many(struct pail_request *r)
{
	long count = 0;

	while (count < 1000 && open("/dev/null", O_RDONLY) >= 0)
		count++;
	if (errno != EMFILE)
		return answer(r, "errno %ld\n", errno);
	answer(r, "%ld\n", count);
	pail_write(r, "x", 1);
	*(volatile int *)8 = 1;
	return 200;
}

/* -- blocks of others ------------------------------------------------------------------ */

static int hold(struct pail_request *r)
{
	unsigned char *mine = malloc(SHARED_BYTES);
	const void *body;

	memset(mine, 7, SHARED_BYTES);
	shared = mine;
	pail_body(r, &body); /* waits for the client */
	return answer(r, whole(mine, SHARED_BYTES, 7) ? "whole\n" : "broken\n", 0);
}

static int with_blocks(struct pail_request *r, const char *what)
{
	if (strcmp(what, "keep") == 0) {
		dead = malloc(100);
		return 200;
	}
	if (strcmp(what, "free-shared") == 0) {
		free(shared);
		return 200;
	}
	if (strcmp(what, "realloc-shared") == 0)
		return answer(r, "%ld\n", realloc(shared, 2 * SHARED_BYTES) != NULL);
	if (strcmp(what, "free-dead") == 0) {
		free(dead);
		return 200;
	}
	if (strcmp(what, "realloc-dead") == 0)
		return answer(r, "%ld\n", realloc(dead, 1000) != NULL);
	if (strcmp(what, "grow-outside") == 0) { /* stays what it is: of no request */
		outside = realloc(outside, 20 * OUTSIDE_BYTES);
		return answer(r, "%ld\n", outside && whole(outside, OUTSIDE_BYTES, 9));
	}
	if (strcmp(what, "look-outside") == 0)
		return answer(r, "%ld\n", whole(outside, OUTSIDE_BYTES, 9));
	if (strcmp(what, "free-outside") == 0) {
		free(outside);
		outside = NULL;
		return 200;
	}
	return 404;
}

/* -- what libc and the loader keep ------------------------------------------------------- */

static void nothing_at_exit(void)
{
}

static int keys(void)
{
	pthread_key_t key[40]; /* beyond 32 libc allocates, for the thread */
	int failed = 0;

	for (int i = 0; i < 40; i++)
		failed += pthread_key_create(&key[i], NULL) != 0 ||
			  pthread_setspecific(key[i], &failed) != 0;
	for (int i = 0; i < 40; i++)
		pthread_key_delete(key[i]);
	return failed;
}

static int converted(void)
{
	iconv_t how = iconv_open("UTF-16LE", "UTF-8");
	char in[] = "text", out[32], *from = in, *to = out;
	size_t left = 4, room = sizeof(out);

	if (how == (iconv_t)-1)
		return 1;
	return (iconv(how, &from, &left, &to, &room) != 0) + iconv_close(how);
}

static int kept(const char *what)
{
	static int count;
	char name[32];
	void *frames[16];
	regex_t pattern;
	struct addrinfo *found, hints = {.ai_flags = AI_NUMERICHOST};

	if (strcmp(what, "setenv") == 0) {
		snprintf(name, sizeof(name), "PAIL_LEAVE_%d", count++);
		return setenv(name, "some value", 1) != 0 || !getenv(name);
	}
	if (strcmp(what, "setlocale") == 0)
		return !setlocale(LC_ALL, "C.UTF-8") || !setlocale(LC_ALL, "C");
	if (strcmp(what, "iconv") == 0)
		return converted();
	if (strcmp(what, "dlopen") == 0) {
		void *library = dlopen("libz.so.1", RTLD_NOW);
		library = library ? library : dlopen("libm.so.6", RTLD_NOW);
		return !library || (dlsym(library, "no such thing") || !dlerror());
	}
	if (strcmp(what, "keys") == 0)
		return keys();
	if (strcmp(what, "atexit") == 0) {
		for (int i = 0; i < 40; i++)
			if (atexit(nothing_at_exit))
				return 1;
		return 0;
	}
	if (strcmp(what, "zone") == 0) {
		time_t now = time(NULL);
		setenv("TZ", count++ % 2 ? "EST5EDT" : ":UTC", 1);
		tzset();
		return !localtime(&now);
	}
	if (strcmp(what, "syslog") == 0) {
		openlog("leave", LOG_PID, LOG_USER);
		syslog(LOG_DEBUG, "a line of %s", "a test");
		closelog();
		return 0;
	}
	if (strcmp(what, "passwd") == 0)
		return !getpwuid(0);
	if (strcmp(what, "backtrace") == 0)
		return backtrace(frames, 16) <= 0;
	if (strcmp(what, "regex") == 0) {
		int failed = regcomp(&pattern, "a(b|c)*d", REG_EXTENDED) ||
			     regexec(&pattern, "abcd", 0, NULL, 0);
		regfree(&pattern);
		return failed;
	}
	if (strcmp(what, "regex-kept") == 0) /* without regfree() */
		return regcomp(&pattern, "a(b|c)*d", REG_EXTENDED);
	if (strcmp(what, "address") == 0) {
		if (getaddrinfo("127.0.0.1", "80", &hints, &found) != 0)
			return 1;
		freeaddrinfo(found);
		return 0;
	}
	if (strcmp(what, "stdio") == 0) {
		printf("%s", "");
		return fflush(NULL);
	}
	return 2;
}

int pail_handle(struct pail_request *r)
{
	const char *path = pail_path(r);

	if (strncmp(path, "/die-", 5) == 0)
		return die(r, path + 5);
	if (strcmp(path, "/many") == 0)
		return open_many(r);
	if (strcmp(path, "/thread-timer") == 0) {
		timer_t timer;
		struct sigevent event = {.sigev_notify = SIGEV_THREAD};
		return answer(r, "%ld\n",
			      timer_create(CLOCK_MONOTONIC, &event, &timer) ? errno : 0);
	}
	if (strcmp(path, "/hold") == 0)
		return hold(r);
	if (strncmp(path, "/kept-", 6) == 0)
		return kept(path + 6) ? 555 : 200;
	return strcmp(path, "/ok") == 0 ? answer(r, "ok\n", 0) : with_blocks(r, path + 1);
}
