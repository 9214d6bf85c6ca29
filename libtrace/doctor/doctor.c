/* SPDX-License-Identifier: MIT */
#include "libtrace/doctor/doctor_checks.h"

#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { SCRIPTS_DEEP = 4 };

/* -- findings ------------------------------------------------------------- */

struct finding *doctor_add(struct patient *p, enum doctor_level level, const char *id,
			   const char *subject, const char *cause, const char *cure, ...)
{
	static struct finding spare; /* where memory has run out */
	struct doctor *d = p->doctor;
	struct finding *grown = realloc(d->finding, (d->count + 1) * sizeof(*grown));
	if (!grown)
		return &spare;
	d->finding = grown;
	struct buf text;
	va_list args;
	buf_init(&text);
	va_start(args, cure);
	buf_vprintf(&text, cure, args);
	va_end(args);
	struct finding *f = &grown[d->count++];
	*f = (struct finding){.level = level,
			      .id = id,
			      .subject = strdup(subject ? subject : p->path),
			      .cause = strdup(cause),
			      .cure = strdup(buf_text(&text))};
	buf_release(&text);
	return f;
}

static int worse(const void *a, const void *b)
{
	const struct finding *x = a, *y = b;
	return (int)y->level - (int)x->level;
}

/* Stable: within a level in the order in which they were found. */
void doctor_sort(struct doctor *d)
{
	for (size_t i = 1; i < d->count; i++) {
		struct finding item = d->finding[i];
		size_t at = i;
		for (; at > 0 && worse(&d->finding[at - 1], &item) > 0; at--)
			d->finding[at] = d->finding[at - 1];
		d->finding[at] = item;
	}
}

enum doctor_level doctor_verdict(const struct doctor *d)
{
	enum doctor_level worst = DOCTOR_NOTE;
	for (size_t i = 0; i < d->count; i++)
		if (d->finding[i].level > worst)
			worst = d->finding[i].level;
	return worst;
}

const char *doctor_level_name(enum doctor_level level)
{
	static const char *const names[] = {"note", "cure", "no"};
	return names[level];
}

void doctor_release(struct doctor *d)
{
	for (size_t i = 0; i < d->count; i++) {
		free(d->finding[i].subject);
		free(d->finding[i].cause);
		free(d->finding[i].cure);
	}
	free(d->finding);
	*d = (struct doctor){0};
}

/* -- the patient ---------------------------------------------------------- */

static const char *value_of(const char *entry, const char *name)
{
	size_t length = strlen(name);
	return strncmp(entry, name, length) == 0 && entry[length] == '=' ? entry + length + 1
									 : NULL;
}

const char *patient_variable(const struct patient *p, const char *name)
{
	const char *value = NULL;
	for (char *const *at = p->assignment; at && *at && strchr(*at, '='); at++)
		if (value_of(*at, name))
			value = value_of(*at, name);
	for (char *const *at = p->environment; at && *at && !value; at++)
		value = value_of(*at, name);
	return value;
}

bool patient_has_word(const struct patient *p, const char *beginning)
{
	for (char *const *at = p->command; at && *at; at++)
		if (strncmp(*at, beginning, strlen(beginning)) == 0)
			return true;
	return false;
}

const char *patient_name(const struct patient *p)
{
	const char *slash = strrchr(p->real, '/');
	return slash ? slash + 1 : p->real;
}

/* -- finding the program -------------------------------------------------- */

static bool runnable(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/* As execvp does: along PATH, unless the name has a slash. */
static int find(const char *name, char *path, size_t path_size, struct err *err)
{
	if (strchr(name, '/')) {
		if ((size_t)snprintf(path, path_size, "%s", name) >= path_size)
			return err_set(err, "cannot record \"%s\": the path is too long", name);
		if (runnable(path))
			return 0;
		struct stat st;
		if (stat(path, &st) != 0)
			return err_errno(err, "cannot record \"%s\"", name);
		return err_set(err, "cannot record \"%s\": %s", name,
			       S_ISREG(st.st_mode) ? "it is not executable (chmod +x?)"
						   : "it is not a file");
	}
	const char *list = getenv("PATH");
	struct str rest = str_of(list ? list : "/usr/local/bin:/usr/bin:/bin"), folder;
	while (rest.length > 0) {
		str_cut(rest, ':', &folder, &rest);
		if (folder.length == 0)
			folder = STR(".");
		if ((size_t)snprintf(path, path_size, "%.*s/%s", STR_ARG(folder), name) <
			    path_size &&
		    runnable(path))
			return 0;
	}
	return err_set(err, "cannot record \"%s\": there is no such program in PATH", name);
}

int doctor_find(const char *name, char *path, size_t path_size, struct err *err)
{
	char found[PATH_MAX], real[PATH_MAX];
	if (strchr(name, '/'))
		snprintf(found, sizeof(found), "%s", name);
	else if (find(name, found, sizeof(found), err) != 0)
		return -1;
	if (!realpath(found, real))
		return err_errno(err, "cannot read \"%s\"", name);
	if ((size_t)snprintf(path, path_size, "%s", real) >= path_size)
		return err_set(err, "the path of \"%s\" is too long", name);
	return 0;
}

static int become(struct patient *p, const char *name, struct err *err)
{
	if (find(name, p->path, sizeof(p->path), err) != 0)
		return -1;
	if (!realpath(p->path, p->real))
		snprintf(p->real, sizeof(p->real), "%s", p->path);
	return 0;
}

/* The dynamic loader drops LD_PRELOAD for a program that gains rights. */
int check_rights(struct patient *p, struct err *err)
{
	struct stat st;
	if (stat(p->path, &st) != 0)
		return err_errno(err, "cannot record \"%s\"", p->path);
	bool gains =
		((st.st_mode & S_ISUID) && st.st_uid != geteuid()) ||
		((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getegid()) ||
		(geteuid() != 0 && getxattr(p->path, "security.capability", NULL, 0) > 0);
	if (gains)
		doctor_add(p, DOCTOR_NO, "secure-execution", NULL,
			   "it is setuid, setgid or has capabilities, so the loader ignores"
			   " LD_PRELOAD",
			   "run pail as its owner or record a copy without those bits");
	return 0;
}

/* -- who only starts others ----------------------------------------------- */

/* Programs that have the server started elsewhere, or with a clean slate. */
static void check_wrapper(struct patient *p)
{
	static const struct {
		const char *name;
		bool elsewhere;
	} wrappers[] = {{"sudo", false},      {"doas", false},     {"pkexec", false},
			{"docker", true},     {"podman", true},    {"nerdctl", true},
			{"kubectl", true},    {"systemctl", true}, {"systemd-run", true},
			{"machinectl", true}, {"service", true},   {"ssh", true}};
	const char *slash = strrchr(p->path, '/'), *name = slash ? slash + 1 : p->path;
	/* A user's own ./service is none of them: they come with the system. */
	if (slash != NULL && strncmp(p->path, "/usr/", 5) != 0 &&
	    strncmp(p->path, "/bin/", 5) != 0 && strncmp(p->path, "/sbin/", 6) != 0)
		return;
	for (size_t i = 0; i < sizeof(wrappers) / sizeof(*wrappers); i++) {
		if (strcmp(name, wrappers[i].name) != 0)
			continue;
		if (wrappers[i].elsewhere)
			doctor_add(p, DOCTOR_NO, "started-elsewhere", NULL,
				   "it asks another process to start the server, which is then"
				   " no child of the recorder",
				   "run pail record there: as the container's or unit's own"
				   " command");
		else
			doctor_add(p, DOCTOR_NO, "clean-environment", NULL,
				   "it cleans the environment, and LD_PRELOAD with it",
				   "put it in front: %s pail record -- ...", name);
	}
}

/* env(1): the assignments hold, and the patient is the word behind. */
static bool is_env(const char *path)
{
	const char *slash = strrchr(path, '/');
	return strcmp(slash ? slash + 1 : path, "env") == 0;
}

static char *const *behind_env(struct patient *p, char *const *word)
{
	while (*word && (*word)[0] == '-') {
		if (strcmp(*word, "-i") == 0 || strcmp(*word, "-") == 0 ||
		    strcmp(*word, "--ignore-environment") == 0)
			doctor_add(p, DOCTOR_NO, "clean-environment", NULL,
				   "it cleans the environment, and LD_PRELOAD with it",
				   "leave %s away", *word);
		if (strcmp(*word, "-u") == 0 && word[1])
			word++;
		word++;
	}
	p->assignment = word;
	while (*word && strchr(*word, '='))
		word++;
	return *word ? word : NULL;
}

/* -- scripts -------------------------------------------------------------- */

/* The first line of a script behind "#!", or -1 if it is none. */
static int script_line(const struct patient *p, char *line, size_t line_size, struct err *err)
{
	int fd = open(p->path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd >= 0 ? read(fd, line, line_size - 1) : -1;
	if (fd >= 0)
		close(fd);
	if (got == 0)
		return err_set(err, "cannot record \"%s\": it is empty or cannot be read",
			       p->path);
	line[got < 0 ? 0 : got] = '\0';
	if (got < 3 || memcmp(line, "#!", 2) != 0)
		return err_set(
			err,
			"cannot record \"%s\": it is neither a program nor a script that names"
			" its interpreter (#!)",
			p->path);
	memmove(line, line + 2, strlen(line + 2) + 1);
	line[strcspn(line, "\n")] = '\0';
	return 0;
}

/* "/usr/bin/env python3 -u": python3; else the first word. */
static int to_interpreter(struct patient *p, struct err *err)
{
	char line[256], script[PATH_MAX], name[sizeof(line)];
	snprintf(script, sizeof(script), "%s", p->path);
	if (script_line(p, line, sizeof(line), err) != 0)
		return -1;
	struct str word, words;
	str_cut(str_trim(str_of(line)), ' ', &word, &words);
	snprintf(name, sizeof(name), "%.*s", STR_ARG(word));
	bool env = is_env(name);
	while (env && words.length > 0) {
		str_cut(str_trim(words), ' ', &word, &words);
		if (word.length == 0 || word.bytes[0] == '-' ||
		    memchr(word.bytes, '=', word.length))
			continue;
		snprintf(name, sizeof(name), "%.*s", STR_ARG(word));
		break;
	}
	if (become(p, name, err) != 0 || check_rights(p, err) != 0)
		return err_prefix(err, "script \"%s\"", script);
	return 0;
}

/* -- examinations --------------------------------------------------------- */

int patient_examine(struct patient *p, struct err *err)
{
	struct elf_file *file = NULL;
	int is_elf = 0;
	if (check_rights(p, err) != 0)
		return -1;
	for (int depth = 0; is_elf == 0; depth++) {
		is_elf = elf_file_open(p->path, &file, err);
		if (is_elf < 0 && err->errnum == EACCES) {
			doctor_add(p, DOCTOR_NOTE, "unreadable", NULL,
				   "it may be executed but not read",
				   "run pail doctor as someone who may read it");
			return 0;
		}
		if (is_elf < 0)
			return err_prefix(err, "cannot record \"%s\"", p->path);
		if (depth == SCRIPTS_DEEP)
			return err_set(err,
				       "cannot record \"%s\": its interpreter is a script, and"
				       " so on",
				       p->path);
		if (is_elf == 0 && to_interpreter(p, err) != 0)
			return -1;
	}
	if (check_loadable(p, file)) {
		check_allocator(p, file);
		check_pools(p, file);
		check_calls(p, file);
		check_symbols(p, file);
		check_loader(p);
	}
	elf_file_close(file);
	return 0;
}

int doctor_program(struct doctor *d, char *const *command, const struct doctor_options *options,
		   struct err *err)
{
	struct patient p = {
		.doctor = d, .options = options, .command = command, .environment = environ};
	*d = (struct doctor){0};
	if (become(&p, command[0], err) != 0)
		return -1;
	snprintf(d->path, sizeof(d->path), "%s", p.path);
	check_wrapper(&p);
	while (is_env(p.path)) {
		if (check_rights(&p, err) != 0)
			return -1;
		char *const *rest = behind_env(&p, p.command + 1);
		if (!rest)
			break;
		p.command = rest;
		if (become(&p, *rest, err) != 0)
			return -1;
		check_wrapper(&p);
	}
	if (patient_examine(&p, err) != 0)
		return -1;
	check_machine(&p);
	snprintf(d->examined, sizeof(d->examined), "%s", p.path);
	doctor_sort(d);
	return 0;
}
