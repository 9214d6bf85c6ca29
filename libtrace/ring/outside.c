/* SPDX-License-Identifier: MIT */
#include "libtrace/ring/outside.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_NAMESPACE UINT64_C(0xeffffffc) /* PROC_PID_INIT_INO of the kernel */

static bool push(void *array, uint32_t *room, uint32_t count, size_t size)
{
	void *old;
	memcpy(&old, array, sizeof(old));
	if (count < *room)
		return true;
	uint32_t grown = *room > 0 ? *room * 2 : 256;
	void *new = reallocarray(old, grown, size);
	if (!new)
		return false;
	memcpy(array, &new, sizeof(new));
	*room = grown;
	return true;
}

static const char *field(const char *status, const char *name)
{
	const char *at = strstr(status, name);
	return at ? at + strlen(name) : NULL;
}

/* The pid where it lives, if that is in another namespace and it is alive; else 0. A
 * first thread that has ended waits as a zombie for the others. */
static int32_t inner_pid(const char *status)
{
	const char *pids = field(status, "\nNSpid:"), *state = field(status, "\nState:\t"),
		   *threads = field(status, "\nThreads:");
	long pid = 0;
	int numbers = 0;
	if (!pids || (state && (*state == 'Z' || *state == 'X') && threads &&
		      strtol(threads, NULL, 10) <= 1))
		return 0;
	for (char *end; *pids == '\t' || *pids == ' '; pids = end, numbers++)
		if ((pid = strtol(pids, &end, 10)) <= 0 || end == pids)
			return 0;
	return numbers > 1 && pid <= INT32_MAX ? (int32_t)pid : 0;
}

static void see_namespace(struct outside *o, uint32_t namespace)
{
	for (uint32_t i = 0; i < o->namespaces && i < OUTSIDE_NAMESPACES; i++)
		if (o->seen[i] == namespace)
			return;
	o->seen[o->namespaces++ % OUTSIDE_NAMESPACES] = namespace;
}

static bool take_process(struct outside *o, int proc, const char *name)
{
	char path[64], status[4096];
	struct stat st;
	snprintf(path, sizeof(path), "%.20s/status", name);
	int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, status, sizeof(status) - 1) : -1;
	if (fd >= 0)
		close(fd);
	if (got <= 0)
		return true; /* it has ended in between */
	status[got] = '\0';
	int32_t pid = inner_pid(status);
	if (pid == 0)
		return true;
	snprintf(path, sizeof(path), "%.20s/ns/pid", name);
	if (fstatat(proc, path, &st, 0) != 0) {
		if (!push(&o->hidden, &o->hidden_room, o->hidden_count, sizeof(*o->hidden)))
			return false;
		o->hidden[o->hidden_count++] = pid;
		return true;
	}
	see_namespace(o, (uint32_t)st.st_ino);
	if (!push(&o->key, &o->room, o->count, sizeof(*o->key)))
		return false;
	o->key[o->count++] = outside_key((uint32_t)st.st_ino, pid);
	return true;
}

static int by_key(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;
	return *left < *right ? -1 : *left > *right;
}

void outside_look(struct outside *o, const char *proc)
{
	struct stat st;
	DIR *list = opendir(proc);
	o->count = o->hidden_count = 0;
	o->looks++;
	o->good = list != NULL;
	if (!list)
		return;
	o->root = geteuid() == 0;
	o->own = fstatat(dirfd(list), "self/ns/pid", &st, 0) == 0 ? (uint64_t)st.st_ino : 0;
	for (struct dirent *entry; o->good && (entry = readdir(list));)
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
			o->good = take_process(o, dirfd(list), entry->d_name);
	closedir(list);
	if (o->count > 0)
		qsort(o->key, o->count, sizeof(*o->key), by_key);
}

static bool would_be_seen(const struct outside *o, uint32_t namespace)
{
	if (!o->root)
		return false;
	for (uint32_t i = 0; i < o->namespaces && i < OUTSIDE_NAMESPACES; i++)
		if (o->seen[i] == namespace)
			return true;
	return o->own == FIRST_NAMESPACE;
}

enum outside_life outside_judge(const struct outside *o, uint64_t key, bool there)
{
	uint32_t namespace = (uint32_t)(key >> 32);
	if (namespace == 0 || !o->good)
		return OUTSIDE_UNKNOWN;
	if (o->count > 0 && bsearch(&key, o->key, o->count, sizeof(key), by_key))
		return OUTSIDE_ALIVE;
	for (uint32_t i = 0; i < o->hidden_count; i++)
		if (o->hidden[i] == (int32_t)key)
			return OUTSIDE_UNKNOWN;
	return there || would_be_seen(o, namespace) ? OUTSIDE_DEAD : OUTSIDE_UNKNOWN;
}

void outside_release(struct outside *o)
{
	free(o->key);
	free(o->hidden);
	memset(o, 0, sizeof(*o));
}
