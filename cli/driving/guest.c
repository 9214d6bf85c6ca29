/* SPDX-License-Identifier: MIT */
#include "cli/driving/guest.h"
#include "base/buf.h"
#include "base/conf.h"
#include "base/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ARGUMENTS_MAX = 32, START_MS = 20000, END_MS = 10000, STEP_MS = 5, TEXT_MAX = 65536 };

int guest_prepare(struct guest *guest, struct err *err)
{
	const char *parent = getenv("TMPDIR");
	*guest = (struct guest){0};
	if (parent == NULL || *parent == '\0')
		parent = "/tmp";
	int n = snprintf(guest->folder, sizeof guest->folder, "%s/pail-XXXXXX", parent);
	if (n < 0 || (size_t)n >= sizeof guest->folder) {
		guest->folder[0] = '\0';
		return err_set(err, "TMPDIR is too long");
	}
	if (mkdtemp(guest->folder) == NULL) {
		guest->folder[0] = '\0';
		return err_errno(err, "cannot make a temporary folder in '%s'", parent);
	}
	return 0;
}

void guest_path(const struct guest *guest, const char *name, char *path, size_t path_size)
{
	int n = snprintf(path, path_size, "%s/%s", guest->folder, name);
	assert(n > 0 && (size_t)n < path_size);
}

static int conf_put(const struct guest *guest, const struct plan *plan, struct err *err)
{
	char path[512];
	struct plan *own = malloc(sizeof *own);
	struct buf text;
	if (own == NULL)
		return err_set(err, "out of memory");
	*own = *plan;
	snprintf(own->listen, sizeof own->listen, "127.0.0.1:0");
	own->admin[0] = '\0';
	buf_init(&text);
	conf_write(&text, own, "for the length of one command", NULL, 0);
	guest_path(guest, "pail.conf", path, sizeof path);
	int result = text.failed ? err_set(err, "out of memory")
				 : file_write_atomic(path, text.bytes, text.length, 0600, err);
	buf_release(&text);
	free(own);
	return result;
}

/* The child: its messages into a file, no terminal's ^C, and no life without us. */
static _Noreturn void become(char *const *argv, const char *stderr_path, pid_t parent)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int null = open("/dev/null", O_RDWR);
	int messages = open(stderr_path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
	if (null == -1 || messages == -1 || dup2(null, 0) == -1 || dup2(messages, 1) == -1 ||
	    dup2(messages, 2) == -1 || getppid() != parent)
		_exit(126);
	execv(argv[0], argv);
	dprintf(2, "cannot run '%s': %s\n", argv[0], strerror(errno));
	_exit(127);
}

static void pause_step(void)
{
	struct timespec step = {0, STEP_MS * 1000000};
	nanosleep(&step, NULL);
}

/* What the server said last, for our own message. */
static int not_started(struct guest *guest, const char *why, struct err *err)
{
	char path[512], *text = NULL;
	size_t length;
	struct err ignored;
	guest_path(guest, "stderr", path, sizeof path);
	if (file_read_all(path, TEXT_MAX, &text, &length, &ignored) == 0 && length > 0) {
		text[strcspn(text, "\n")] = '\0';
		err_set(err, "the server %s: %s", why, text);
	} else {
		err_set(err, "the server %s without a word", why);
	}
	free(text);
	return -1;
}

static int port_wait(struct guest *guest, struct err *err)
{
	char path[512], *text;
	size_t length;
	struct err ignored;
	guest_path(guest, "port", path, sizeof path);
	for (int ms = 0; ms < START_MS; ms += STEP_MS) {
		if (waitpid(guest->pid, &guest->exit_status, WNOHANG) == guest->pid) {
			guest->pid = 0;
			return not_started(guest, "did not start", err);
		}
		if (access(path, R_OK) == 0 &&
		    file_read_all(path, 64, &text, &length, &ignored) == 0) {
			unsigned long port = strtoul(text, NULL, 10);
			free(text);
			if (port > 0 && port < 65536) {
				guest->port = (uint16_t)port;
				return 0;
			}
		}
		pause_step();
	}
	return not_started(guest, "was not ready in time", err);
}

int guest_start(struct guest *guest, const char *program, const struct plan *plan,
		const char *app, const char *const *arguments, struct err *err)
{
	char conf[512], port[512], messages[512], log[512];
	const char *argv[ARGUMENTS_MAX];
	int argc = 0;
	assert(program && guest->folder[0] != '\0' && guest->pid == 0);
	if (conf_put(guest, plan, err) == -1)
		return -1;
	guest_path(guest, "pail.conf", conf, sizeof conf);
	guest_path(guest, "port", port, sizeof port);
	guest_path(guest, "stderr", messages, sizeof messages);
	guest_path(guest, "log", log, sizeof log);
	/* One process, whose memory is looked at by its id. */
	const char *const fixed[] = {program, "-c", conf,          "--app", app,
				     "--log", log,  "--port-file", port,    "--no-supervisor",
				     "--",    NULL};
	for (size_t i = 0; fixed[i] != NULL; i++)
		argv[argc++] = fixed[i];
	for (size_t i = 0; arguments[i] != NULL; i++) {
		assert(argc < ARGUMENTS_MAX - 1);
		argv[argc++] = arguments[i];
	}
	argv[argc] = NULL;

	pid_t parent = getpid();
	guest->pid = fork();
	if (guest->pid == -1) {
		guest->pid = 0;
		return err_errno(err, "cannot start a process");
	}
	if (guest->pid == 0)
		become((char *const *)(uintptr_t)argv, messages, parent);
	return port_wait(guest, err);
}

uint64_t guest_peak_bytes(const struct guest *guest)
{
	char path[64], line[256];
	unsigned long long kib = 0;
	snprintf(path, sizeof path, "/proc/%ld/status", (long)guest->pid);
	FILE *file = guest->pid > 0 ? fopen(path, "re") : NULL;
	if (file == NULL)
		return 0;
	while (fgets(line, sizeof line, file) != NULL)
		if (sscanf(line, "VmHWM: %llu kB", &kib) == 1)
			break;
	fclose(file);
	return kib * 1024;
}

static void folder_remove(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	while (dir != NULL && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir != NULL)
		closedir(dir);
	rmdir(folder);
}

void guest_stop(struct guest *guest)
{
	if (guest->pid > 0) {
		bool ended = false;
		kill(guest->pid, SIGTERM);
		for (int ms = 0; ms < END_MS && !ended; ms += STEP_MS) {
			ended = waitpid(guest->pid, &guest->exit_status, WNOHANG) == guest->pid;
			if (!ended)
				pause_step();
		}
		if (!ended) {
			kill(guest->pid, SIGKILL);
			waitpid(guest->pid, &guest->exit_status, 0);
		}
		guest->pid = 0;
	}
}

void guest_close(struct guest *guest)
{
	guest_stop(guest);
	if (guest->folder[0] != '\0')
		folder_remove(guest->folder);
	guest->folder[0] = '\0';
}
