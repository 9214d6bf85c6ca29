/* SPDX-License-Identifier: MIT */
#include "cli/inspect.h"

#include "base/str.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { SCRIPTS_DEEP = 4 };

/* A whole file, mapped to be read. */
struct image {
	const unsigned char *bytes;
	size_t length;
};

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

/* -- ELF ----------------------------------------------------------------- */

static bool within(const struct image *image, uint64_t offset, uint64_t size)
{
	return offset <= image->length && size <= image->length - offset;
}

static const Elf64_Phdr *program_header(const struct image *image, uint32_t type)
{
	const Elf64_Ehdr *head = (const Elf64_Ehdr *)image->bytes;
	for (unsigned i = 0; i < head->e_phnum; i++) {
		uint64_t offset = head->e_phoff + (uint64_t)i * sizeof(Elf64_Phdr);
		if (offset % 8 != 0 || !within(image, offset, sizeof(Elf64_Phdr)))
			return NULL;
		const Elf64_Phdr *at = (const Elf64_Phdr *)(image->bytes + offset);
		if (at->p_type == type)
			return at;
	}
	return NULL;
}

static bool has_section(const struct image *image, const char *name)
{
	const Elf64_Ehdr *head = (const Elf64_Ehdr *)image->bytes;
	uint64_t table = head->e_shoff, size = sizeof(Elf64_Shdr);
	if (table == 0 || table % 8 != 0 || head->e_shstrndx >= head->e_shnum ||
	    !within(image, table, head->e_shnum * size))
		return false;
	const Elf64_Shdr *section = (const Elf64_Shdr *)(image->bytes + table);
	const Elf64_Shdr *names = &section[head->e_shstrndx];
	size_t length = strlen(name) + 1;
	for (unsigned i = 0; i < head->e_shnum; i++) {
		uint64_t at = names->sh_offset + section[i].sh_name;
		if (at >= names->sh_offset && within(image, at, length) &&
		    memcmp(image->bytes + at, name, length) == 0)
			return true;
	}
	return false;
}

static int check_elf(const char *path, const struct image *image, struct err *err)
{
	const Elf64_Ehdr *head = (const Elf64_Ehdr *)image->bytes;
	if (image->length < sizeof(*head) || head->e_ident[EI_CLASS] != ELFCLASS64)
		return err_set(
			err,
			"cannot record \"%s\": it is not a 64-bit program, and the recording"
			" library is; record a 64-bit build",
			path);
#if defined(__x86_64__)
	const unsigned machine = EM_X86_64;
#elif defined(__aarch64__)
	const unsigned machine = EM_AARCH64;
#else
	const unsigned machine = head->e_machine;
#endif
	if (head->e_machine != machine)
		return err_set(err,
			       "cannot record \"%s\": it is a program for another processor",
			       path);
	if (has_section(image, ".gopclntab") || has_section(image, ".go.buildinfo"))
		return err_set(
			err,
			"cannot record \"%s\": it is a Go program, whose memory does not come"
			" from malloc; use Go's own pprof",
			path);
	const Elf64_Phdr *interp = program_header(image, PT_INTERP);
	if (!interp)
		return err_set(
			err,
			"cannot record \"%s\": it is linked statically, so no library can be"
			" loaded into it; build it with dynamic linking",
			path);
	if (within(image, interp->p_offset, interp->p_filesz) &&
	    memmem(image->bytes + interp->p_offset, interp->p_filesz, "ld-musl", 7))
		return err_set(
			err,
			"cannot record \"%s\": it is built for musl and the recording library"
			" for glibc; record a glibc build",
			path);
	return 0;
}

/* The dynamic loader drops LD_PRELOAD for a program that gains rights. */
static int check_rights(const char *path, struct err *err)
{
	struct stat st;
	if (stat(path, &st) != 0)
		return err_errno(err, "cannot record \"%s\"", path);
	bool gains =
		((st.st_mode & S_ISUID) && st.st_uid != geteuid()) ||
		((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getegid()) ||
		(geteuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0);
	if (gains)
		return err_set(
			err,
			"cannot record \"%s\": it is setuid, setgid or has capabilities, so the"
			" loader ignores LD_PRELOAD; run pail as its owner or record a copy"
			" without those bits",
			path);
	return 0;
}

/* -- scripts ------------------------------------------------------------- */

static int check_file(const char *path, int depth, struct err *err);

/* "#!/usr/bin/env python3 -u": checks /usr/bin/env, then python3. */
static int check_script(const char *path, struct str line, int depth, struct err *err)
{
	struct str interpreter, words, word;
	char name[PATH_MAX], found[PATH_MAX];
	str_cut(str_trim(line), ' ', &interpreter, &words);
	snprintf(name, sizeof(name), "%.*s", STR_ARG(interpreter));
	if (find(name, found, sizeof(found), err) != 0 ||
	    check_file(found, depth + 1, err) != 0)
		return err_prefix(err, "script \"%s\"", path);
	const char *base = strrchr(name, '/');
	if (strcmp(base ? base + 1 : name, "env") != 0)
		return 0;
	while (words.length > 0) {
		str_cut(str_trim(words), ' ', &word, &words);
		if (word.length == 0 || word.bytes[0] == '-' ||
		    memchr(word.bytes, '=', word.length))
			continue;
		snprintf(name, sizeof(name), "%.*s", STR_ARG(word));
		if (find(name, found, sizeof(found), err) != 0 ||
		    check_file(found, depth + 1, err) != 0)
			return err_prefix(err, "script \"%s\"", path);
		return 0;
	}
	return 0;
}

static int check_image(const char *path, const struct image *image, int depth, struct err *err)
{
	if (image->length >= 4 && memcmp(image->bytes, ELFMAG, SELFMAG) == 0)
		return check_elf(path, image, err);
	if (image->length < 3 || memcmp(image->bytes, "#!", 2) != 0)
		return err_set(
			err,
			"cannot record \"%s\": it is neither a program nor a script that names"
			" its interpreter (#!)",
			path);
	if (depth == SCRIPTS_DEEP)
		return err_set(err,
			       "cannot record \"%s\": its interpreter is a script, and so on",
			       path);
	struct str line, rest;
	size_t length = image->length < 256 ? image->length : 256;
	str_cut((struct str){(const char *)image->bytes + 2, length - 2}, '\n', &line, &rest);
	return check_script(path, line, depth, err);
}

static int check_file(const char *path, int depth, struct err *err)
{
	if (check_rights(path, err) != 0)
		return -1;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) /* executable but not readable: it may well work */
		return errno == EACCES ? 0 : err_errno(err, "cannot record \"%s\"", path);
	struct stat st;
	struct image image = {0};
	void *bytes = MAP_FAILED;
	if (fstat(fd, &st) == 0 && st.st_size > 0)
		bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		return err_set(err, "cannot record \"%s\": it is empty or cannot be read",
			       path);
	image = (struct image){bytes, (size_t)st.st_size};
	int rc = check_image(path, &image, depth, err);
	munmap(bytes, image.length);
	return rc;
}

int inspect_program(const char *name, char *path, size_t path_size, struct err *err)
{
	if (find(name, path, path_size, err) != 0)
		return -1;
	return check_file(path, 0, err);
}
