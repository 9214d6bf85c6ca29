/* SPDX-License-Identifier: MIT */
#include "libtrace/doctor/doctor_checks.h"

#include "base/buf.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

enum { PROC_FILE_MAX = 16 << 20 };

/* A file of /proc/PID, NUL-terminated; NULL with errno. */
static char *slurp(pid_t pid, const char *name, size_t *length)
{
	char path[64], piece[4096];
	struct buf text;
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	buf_init(&text);
	ssize_t got;
	while ((got = read(fd, piece, sizeof(piece))) > 0 && text.length < PROC_FILE_MAX)
		buf_append(&text, piece, (size_t)got);
	int failed = got < 0 ? errno : text.failed ? ENOMEM : 0;
	close(fd);
	buf_append(&text, "", 1);
	char *result = failed || text.failed ? NULL : text.bytes;
	*length = text.length - 1;
	if (!result)
		buf_release(&text);
	errno = failed;
	return result;
}

/* The words of a file whose words each end with NUL. */
static char **split(char *text, size_t length)
{
	size_t count = 0;
	for (size_t i = 0; i < length; i++)
		count += text[i] == '\0';
	char **words = calloc(count + 2, sizeof(*words));
	size_t at = 0;
	for (size_t i = 0; words && i < length; i += strlen(text + i) + 1)
		words[at++] = text + i;
	return words;
}

/* The number behind "Name:" in /proc/PID/status; -1 if there is none. */
static long field(const char *status, const char *name)
{
	const char *at = strstr(status, name);
	return at ? strtol(at + strlen(name), NULL, 10) : -1;
}

static void check_status(struct patient *p)
{
	size_t length;
	char *status = slurp(p->pid, "status", &length);
	if (!status)
		return;
	if (field(status, "\nTracerPid:") > 0)
		doctor_add(p, DOCTOR_NOTE, "traced", NULL,
			   "a debugger or strace is attached to it",
			   "detach it first: it slows every system call");
	if (field(status, "\nSeccomp:") > 0)
		doctor_add(p, DOCTOR_NOTE, "seccomp", NULL,
			   "it runs under a seccomp filter; the library needs nothing that is"
			   " not open by then, but gettid, futex, madvise, fstat,"
			   " rt_sigprocmask and clock_gettime",
			   "if it dies under the recorder only, turn its sandbox off for the"
			   " recording");
	free(status);
}

/* AT_SECURE: the loader of the running process dropped LD_PRELOAD. */
static void check_secure(struct patient *p)
{
	size_t length;
	char *bytes = slurp(p->pid, "auxv", &length);
	for (size_t i = 0; bytes && i + sizeof(Elf64_auxv_t) <= length;
	     i += sizeof(Elf64_auxv_t)) {
		Elf64_auxv_t entry;
		memcpy(&entry, bytes + i, sizeof(entry));
		if (entry.a_type == AT_SECURE && entry.a_un.a_val != 0)
			doctor_add(p, DOCTOR_NO, "secure-execution", NULL,
				   "it was started in secure mode (AT_SECURE), in which the"
				   " loader ignores LD_PRELOAD",
				   "start it as the user it runs as, without setuid or file"
				   " capabilities");
	}
	free(bytes);
}

static void check_descriptors(struct patient *p)
{
	char path[64], link[PATH_MAX];
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)p->pid);
	DIR *list = opendir(path);
	for (struct dirent *entry; list && (entry = readdir(list));) {
		ssize_t length = readlinkat(dirfd(list), entry->d_name, link, sizeof(link) - 1);
		if (length < 0)
			continue;
		link[length] = '\0';
		if (!strstr(link, "[io_uring]"))
			continue;
		doctor_add(p, DOCTOR_CURE, "io_uring", NULL,
			   "it has an io_uring open: what goes through that is not seen",
			   "turn io_uring off in its configuration, or mark requests"
			   " (pail/mark.h)");
		break;
	}
	if (list)
		closedir(list);
}

static void check_maps(struct patient *p)
{
	size_t length;
	char *maps = slurp(p->pid, "maps", &length);
	if (!maps)
		return;
	if (strstr(maps, "libpailtrace.so"))
		doctor_add(p, DOCTOR_NOTE, "recorded", NULL, "it is under a recorder now",
			   "nothing needs to be done");
	static const char *const libraries[] = {"/libjemalloc.", "/libtcmalloc",
						"/libmimalloc"};
	for (size_t i = 0; i < sizeof(libraries) / sizeof(*libraries); i++)
		if (strstr(maps, libraries[i]))
			doctor_add(p, DOCTOR_NOTE, "dynamic-allocator", libraries[i] + 1,
				   "this allocator is loaded as a library: its calls are seen,"
				   " and it stays in use",
				   "nothing needs to be done");
	free(maps);
}

static void check_limits(struct patient *p)
{
	size_t length;
	char *limits = slurp(p->pid, "limits", &length);
	char *line = limits ? strstr(limits, "Max address space") : NULL;
	if (line) {
		line += strlen("Max address space");
		line += strspn(line, " ");
		if (strncmp(line, "unlimited", 9) != 0 &&
		    strtoull(line, NULL, 10) < UINT64_C(1) << 30)
			doctor_add(p, DOCTOR_NOTE, "address-space", "RLIMIT_AS",
				   "its address space is limited to less than 1 GiB, of which"
				   " the library takes a sixteenth at most",
				   "raise the limit for the recording");
	}
	free(limits);
}

/* Whether it sees the same files as we do. */
static bool same_files(pid_t pid)
{
	char path[64], theirs[64] = "", ours[64] = "";
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	if (readlink(path, theirs, sizeof(theirs) - 1) < 0 ||
	    readlink("/proc/self/ns/mnt", ours, sizeof(ours) - 1) < 0)
		return true;
	char root[PATH_MAX] = "";
	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	return strcmp(theirs, ours) == 0 &&
	       (readlink(path, root, sizeof(root) - 1) < 0 || strcmp(root, "/") == 0);
}

/* The file by way of /proc is the one that runs, whatever lies at its path;
 * findings name the path. */
static int examine_file(struct patient *p, struct err *err)
{
	struct doctor *d = p->doctor;
	char link[64];
	snprintf(link, sizeof(link), "/proc/%d/exe", (int)p->pid);
	memcpy(p->path, link, sizeof(link));
	int rc = patient_examine(p, err);
	snprintf(p->path, sizeof(p->path), "%s", d->path);
	for (size_t i = 0; i < d->count; i++) {
		struct finding *f = &d->finding[i];
		if (f->subject && strcmp(f->subject, link) == 0) {
			free(f->subject);
			f->subject = strdup(d->path);
		}
	}
	return rc;
}

static int examine(struct patient *p, struct err *err)
{
	struct doctor_options options = p->options ? *p->options : (struct doctor_options){0};
	p->options = &options;
	if (!same_files(p->pid)) {
		doctor_add(p, DOCTOR_CURE, "container", NULL,
			   "it runs in a container or under chroot, with other files than ours",
			   "run pail record inside, as the container's command, or outside with"
			   " --attach-dir");
		options.library_path = NULL;
	}
	if (strstr(p->path, " (deleted)"))
		doctor_add(p, DOCTOR_NOTE, "deleted", NULL,
			   "its file was replaced since it was started: a restart runs another",
			   "look at that one too: pail doctor -- CMD");
	if (examine_file(p, err) != 0)
		return -1;
	check_status(p);
	check_secure(p);
	check_descriptors(p);
	check_maps(p);
	check_limits(p);
	check_machine(p);
	doctor_sort(p->doctor);
	return 0;
}

int doctor_process(struct doctor *d, pid_t pid, const struct doctor_options *options,
		   struct err *err)
{
	char link[64];
	struct patient p = {.doctor = d, .options = options, .pid = pid};
	*d = (struct doctor){0};
	snprintf(link, sizeof(link), "/proc/%d/exe", (int)pid);
	ssize_t length = readlink(link, p.path, sizeof(p.path) - 1);
	if (length < 0 && errno == ENOENT)
		return err_errno(err, "there is no process %d, or it is one of the kernel",
				 (int)pid);
	if (length < 0)
		return err_errno(err, "cannot look at process %d", (int)pid);
	p.path[length] = '\0';
	snprintf(p.real, sizeof(p.real), "%s", p.path);
	snprintf(d->path, sizeof(d->path), "%s", p.path);
	snprintf(d->examined, sizeof(d->examined), "%s", p.path);
	size_t words_length = 0, variables_length = 0;
	char *words = slurp(pid, "cmdline", &words_length);
	char *variables = words ? slurp(pid, "environ", &variables_length) : NULL;
	char **command = words ? split(words, words_length) : NULL;
	char **environment = variables ? split(variables, variables_length) : NULL;
	p.command = command;
	p.environment = environment;
	int rc = command && environment ? examine(&p, err)
					: err_errno(err, "cannot look at process %d", (int)pid);
	free(command);
	free(environment);
	free(words);
	free(variables);
	return rc;
}
