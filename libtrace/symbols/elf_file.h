/* SPDX-License-Identifier: MIT */
/*
 * An ELF file, read only: what the questions before a recording need to know
 * of it. The only file that knows libelf and libdw.
 *
 * The file is mapped while it is open; strings handed out live as long. What
 * is asked of a file that is damaged is answered as if it were not there.
 * One thread at a time.
 */
#ifndef PAIL_LIBTRACE_ELF_FILE_H
#define PAIL_LIBTRACE_ELF_FILE_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf_file;

/* 1: it is ELF and open; 0: another file (*file is NULL); -1: it cannot be
 * read, errno in err->errnum. */
int elf_file_open(const char *path, struct elf_file **file, struct err *err);
void elf_file_close(struct elf_file *file);

int elf_file_bits(const struct elf_file *file);    /* 32 or 64 */
int elf_file_machine(const struct elf_file *file); /* EM_* */
int elf_file_type(const struct elf_file *file);    /* ET_* */
/* PT_INTERP, or an empty string. */
struct str elf_file_interpreter(const struct elf_file *file);
bool elf_file_has_section(const struct elf_file *file, const char *name);
/* The i-th DT_NEEDED, or NULL. */
const char *elf_file_needed(const struct elf_file *file, size_t i);
/* Whether any DT_NEEDED begins so. */
bool elf_file_needs(const struct elf_file *file, const char *beginning);
uint64_t elf_file_tls_bytes(const struct elf_file *file);
/* DF_STATIC_TLS: it wants its thread-local storage in the block that every
 * thread has from the start. */
bool elf_file_static_tls(const struct elf_file *file);
/* Functions in DT_INIT_ARRAY, the compiler's own one included. */
size_t elf_file_constructors(const struct elf_file *file);
/* Whether the bytes of `text` are anywhere in the file. */
bool elf_file_contains(const struct elf_file *file, struct str text);

struct elf_symbol {
	const char *name;
	bool defined, weak, function;
	bool dynamic; /* of .dynsym: others can see it */
	uint64_t address, size;
};
/* All symbols, .dynsym before .symtab, until `visit` gives false. */
typedef bool elf_visit(const struct elf_symbol *symbol, void *arg);
void elf_file_symbols(const struct elf_file *file, elf_visit *visit, void *arg);
/* Where in the file lies what is loaded at the address; false: nowhere. */
bool elf_file_offset(const struct elf_file *file, uint64_t address, uint64_t *offset);
/* Whether there is a .symtab, or DWARF, in the file itself. */
bool elf_file_has_symbols(const struct elf_file *file);
bool elf_file_has_dwarf(const struct elf_file *file);
/* The build id in hexadecimal, or an empty string. */
void elf_file_build_id(const struct elf_file *file, char *text, size_t text_size);

/* The compilers' command lines as far as they were recorded (DW_AT_producer,
 * .GCC.command.line), one call each. */
typedef void elf_producer(struct str text, void *arg);
void elf_file_producers(const struct elf_file *file, elf_producer *visit, void *arg);
/* Code: each executable section with its address. */
typedef void elf_code(const unsigned char *bytes, size_t length, uint64_t address, void *arg);
void elf_file_code(const struct elf_file *file, elf_code *visit, void *arg);

#endif
