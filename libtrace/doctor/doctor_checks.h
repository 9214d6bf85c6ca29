/* SPDX-License-Identifier: MIT */
/*
 * What the files of the doctor share. A patient is one program as it would be
 * started; each check adds its findings. The checks only read.
 */
#ifndef PAIL_LIBTRACE_DOCTOR_CHECKS_H
#define PAIL_LIBTRACE_DOCTOR_CHECKS_H

#include "libtrace/doctor/doctor.h"
#include "libtrace/symbols/elf_file.h"

#include <stdbool.h>

struct patient {
	struct doctor *doctor;
	const struct doctor_options *options;
	char path[PATH_MAX];      /* of the file that is looked at now */
	char real[PATH_MAX];      /* the same without symbolic links */
	char *const *command;     /* its words */
	char *const *environment; /* what it would be started with */
	char *const *assignment;  /* further NAME=VALUE of env(1), up to the first other word */
	pid_t pid;                /* 0, or the running process */
};

/* Adds a finding; subject NULL is the patient's path. The cause is a clause
 * about the subject ("it is linked statically"), the cure an imperative. */
struct finding *doctor_add(struct patient *patient, enum doctor_level level, const char *id,
			   const char *subject, const char *cause, const char *cure, ...)
	__attribute__((format(printf, 6, 7)));
/* Its environment variable, or NULL. */
const char *patient_variable(const struct patient *patient, const char *name);
bool patient_has_word(const struct patient *patient, const char *beginning);
/* The last component of where the program really is: "python3.11". */
const char *patient_name(const struct patient *patient);

/* Everything about the file at p->path and, for a script, its interpreter. */
int patient_examine(struct patient *patient, struct err *err);
/* The worst first. */
void doctor_sort(struct doctor *doctor);

/* What rights its file gives. */
int check_rights(struct patient *patient, struct err *err);
/* Whether the loader would load anything into it. False: no more can be asked. */
bool check_loadable(struct patient *patient, const struct elf_file *file);
/* Which malloc it would use. */
void check_allocator(struct patient *patient, const struct elf_file *file);
/* Allocators above malloc. */
void check_pools(struct patient *patient, const struct elf_file *file);
/* I/O that is not seen, and stacks that would have no names. */
void check_calls(struct patient *patient, const struct elf_file *file);
void check_symbols(struct patient *patient, const struct elf_file *file);
/* Limits of the machine and the environment. */
void check_machine(struct patient *patient);
/* Asks the loader which libraries it would load. */
void check_loader(struct patient *patient);

/*
 * The dynamic loader's own view: `program` with `preload` (or NULL) in front,
 * nothing of it executed. Calls for each line of what it prints.
 */
typedef void loader_line(struct str line, void *arg);
int loader_list(const char *program, const char *preload, loader_line *visit, void *arg,
		struct err *err);
/* The same, with every symbol bound: "undefined symbol: NAME\t(FILE)". */
int loader_bind(const char *program, const char *preload, loader_line *visit, void *arg,
		struct err *err);

#endif
