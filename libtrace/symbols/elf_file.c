/* SPDX-License-Identifier: MIT */
#include "libtrace/symbols/elf_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>
#include <gelf.h>

struct elf_file {
	int fd;
	Elf *elf;
	GElf_Ehdr head;
};

int elf_file_open(const char *path, struct elf_file **file, struct err *err)
{
	*file = NULL;
	struct elf_file *f = calloc(1, sizeof(*f));
	if (!f)
		return err_errno(err, "cannot read \"%s\"", path);
	elf_version(EV_CURRENT);
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (f->fd < 0) {
		free(f);
		return err_errno(err, "cannot read \"%s\"", path);
	}
	f->elf = elf_begin(f->fd, ELF_C_READ_MMAP, NULL);
	if (f->elf && elf_kind(f->elf) == ELF_K_ELF && gelf_getehdr(f->elf, &f->head)) {
		*file = f;
		return 1;
	}
	elf_file_close(f);
	return 0;
}

void elf_file_close(struct elf_file *f)
{
	if (!f)
		return;
	elf_end(f->elf);
	close(f->fd);
	free(f);
}

int elf_file_bits(const struct elf_file *f)
{
	return gelf_getclass(f->elf) == ELFCLASS64 ? 64 : 32;
}

int elf_file_machine(const struct elf_file *f)
{
	return f->head.e_machine;
}

int elf_file_type(const struct elf_file *f)
{
	return f->head.e_type;
}

/* -- segments and sections ------------------------------------------------ */

static bool segment(const struct elf_file *f, uint32_t type, GElf_Phdr *found)
{
	size_t count = 0;
	if (elf_getphdrnum(f->elf, &count) != 0)
		return false;
	for (size_t i = 0; i < count && i <= INT32_MAX; i++)
		if (gelf_getphdr(f->elf, (int)i, found) && found->p_type == type)
			return true;
	return false;
}

bool elf_file_offset(const struct elf_file *f, uint64_t address, uint64_t *offset)
{
	GElf_Phdr found;
	size_t count = 0;
	if (elf_getphdrnum(f->elf, &count) != 0)
		return false;
	for (size_t i = 0; i < count && i <= INT32_MAX; i++) {
		if (!gelf_getphdr(f->elf, (int)i, &found) || found.p_type != PT_LOAD ||
		    address < found.p_vaddr || address - found.p_vaddr >= found.p_filesz)
			continue;
		*offset = address - found.p_vaddr + found.p_offset;
		return true;
	}
	return false;
}

struct str elf_file_interpreter(const struct elf_file *f)
{
	GElf_Phdr interp;
	size_t length = 0;
	const char *bytes = elf_rawfile(f->elf, &length);
	if (!bytes || !segment(f, PT_INTERP, &interp) || interp.p_offset > length ||
	    interp.p_filesz > length - interp.p_offset)
		return STR("");
	bytes += interp.p_offset;
	return (struct str){bytes, strnlen(bytes, interp.p_filesz)};
}

static Elf_Scn *section_by(const struct elf_file *f, const char *name, uint32_t type,
			   GElf_Shdr *head)
{
	size_t names;
	if (elf_getshdrstrndx(f->elf, &names) != 0)
		return NULL;
	for (Elf_Scn *s = NULL; (s = elf_nextscn(f->elf, s));) {
		if (!gelf_getshdr(s, head))
			continue;
		const char *its = name ? elf_strptr(f->elf, names, head->sh_name) : NULL;
		if (name ? its && strcmp(its, name) == 0 : head->sh_type == type)
			return s;
	}
	return NULL;
}

bool elf_file_has_section(const struct elf_file *f, const char *name)
{
	GElf_Shdr head;
	return section_by(f, name, 0, &head) != NULL;
}

bool elf_file_contains(const struct elf_file *f, struct str text)
{
	size_t length = 0;
	const char *bytes = elf_rawfile(f->elf, &length);
	return bytes && memmem(bytes, length, text.bytes, text.length);
}

/* -- the dynamic section -------------------------------------------------- */

/* Calls for each entry until the visitor has had enough. */
typedef bool dynamic_visit(const struct elf_file *f, const GElf_Dyn *entry, size_t strings,
			   void *arg);

static void dynamic(const struct elf_file *f, dynamic_visit *visit, void *arg)
{
	GElf_Shdr head;
	Elf_Scn *s = section_by(f, NULL, SHT_DYNAMIC, &head);
	Elf_Data *data = s ? elf_getdata(s, NULL) : NULL;
	if (!data || head.sh_entsize == 0)
		return;
	GElf_Dyn entry;
	for (int i = 0; gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++)
		if (!visit(f, &entry, head.sh_link, arg))
			return;
}

struct needed {
	size_t left;
	const char *beginning, *found;
};

static bool visit_needed(const struct elf_file *f, const GElf_Dyn *entry, size_t strings,
			 void *arg)
{
	struct needed *n = arg;
	if (entry->d_tag != DT_NEEDED)
		return true;
	const char *name = elf_strptr(f->elf, strings, entry->d_un.d_val);
	if (!name)
		return true;
	bool it = n->beginning ? strncmp(name, n->beginning, strlen(n->beginning)) == 0
			       : n->left-- == 0;
	if (it)
		n->found = name;
	return !it;
}

const char *elf_file_needed(const struct elf_file *f, size_t i)
{
	struct needed n = {.left = i};
	dynamic(f, visit_needed, &n);
	return n.found;
}

bool elf_file_needs(const struct elf_file *f, const char *beginning)
{
	struct needed n = {.beginning = beginning};
	dynamic(f, visit_needed, &n);
	return n.found != NULL;
}

struct tag {
	int64_t tag;
	uint64_t value;
};

static bool visit_tag(const struct elf_file *f, const GElf_Dyn *entry, size_t strings,
		      void *arg)
{
	(void)f, (void)strings;
	struct tag *t = arg;
	if (entry->d_tag != t->tag)
		return true;
	t->value = entry->d_un.d_val;
	return false;
}

static uint64_t dynamic_value(const struct elf_file *f, int64_t tag)
{
	struct tag t = {.tag = tag};
	dynamic(f, visit_tag, &t);
	return t.value;
}

bool elf_file_static_tls(const struct elf_file *f)
{
	return dynamic_value(f, DT_FLAGS) & DF_STATIC_TLS;
}

size_t elf_file_constructors(const struct elf_file *f)
{
	return dynamic_value(f, DT_INIT_ARRAYSZ) / (elf_file_bits(f) == 64 ? 8 : 4);
}

uint64_t elf_file_tls_bytes(const struct elf_file *f)
{
	GElf_Phdr tls;
	return segment(f, PT_TLS, &tls) ? tls.p_memsz : 0;
}

/* -- symbols -------------------------------------------------------------- */

/* False when the visitor has had enough. */
static bool visit_table(const struct elf_file *f, uint32_t type, elf_visit *visit, void *arg)
{
	GElf_Shdr head;
	Elf_Scn *s = section_by(f, NULL, type, &head);
	Elf_Data *data = s ? elf_getdata(s, NULL) : NULL;
	GElf_Sym symbol;
	if (!data || head.sh_entsize == 0)
		return true;
	for (int i = 1; gelf_getsym(data, i, &symbol); i++) {
		const char *name = elf_strptr(f->elf, head.sh_link, symbol.st_name);
		if (!name || !*name)
			continue;
		int kind = GELF_ST_TYPE(symbol.st_info);
		struct elf_symbol found = {
			.name = name,
			.defined = symbol.st_shndx != SHN_UNDEF,
			.weak = GELF_ST_BIND(symbol.st_info) == STB_WEAK,
			.function = kind == STT_FUNC || kind == STT_GNU_IFUNC,
			.dynamic = type == SHT_DYNSYM,
			.address = symbol.st_value,
			.size = symbol.st_size,
		};
		if (!visit(&found, arg))
			return false;
	}
	return true;
}

void elf_file_symbols(const struct elf_file *f, elf_visit *visit, void *arg)
{
	if (visit_table(f, SHT_DYNSYM, visit, arg))
		visit_table(f, SHT_SYMTAB, visit, arg);
}

bool elf_file_has_symbols(const struct elf_file *f)
{
	GElf_Shdr head;
	return section_by(f, NULL, SHT_SYMTAB, &head) != NULL;
}

bool elf_file_has_dwarf(const struct elf_file *f)
{
	return elf_file_has_section(f, ".debug_info");
}

void elf_file_build_id(const struct elf_file *f, char *text, size_t text_size)
{
	const void *id = NULL;
	ssize_t length = dwelf_elf_gnu_build_id(f->elf, &id);
	assert(text_size > 0);
	*text = '\0';
	for (ssize_t i = 0; i < length && (size_t)i * 2 + 3 <= text_size; i++)
		snprintf(text + 2 * i, 3, "%02x", ((const unsigned char *)id)[i]);
}

/* -- how it was compiled -------------------------------------------------- */

static void dwarf_producers(const struct elf_file *f, elf_producer *visit, void *arg)
{
	Dwarf *dwarf = dwarf_begin_elf(f->elf, DWARF_C_READ, NULL);
	Dwarf_CU *unit = NULL;
	Dwarf_Die die;
	while (dwarf && dwarf_get_units(dwarf, unit, &unit, NULL, NULL, &die, NULL) == 0) {
		Dwarf_Attribute attribute;
		const char *text =
			dwarf_formstring(dwarf_attr(&die, DW_AT_producer, &attribute));
		if (text)
			visit(str_of(text), arg);
	}
	dwarf_end(dwarf);
}

void elf_file_producers(const struct elf_file *f, elf_producer *visit, void *arg)
{
	GElf_Shdr head;
	if (elf_file_has_dwarf(f))
		dwarf_producers(f, visit, arg);
	Elf_Scn *s = section_by(f, ".GCC.command.line", 0, &head);
	Elf_Data *data = s ? elf_getdata(s, NULL) : NULL;
	const char *at = data ? data->d_buf : NULL, *end = at ? at + data->d_size : NULL;
	while (at && at < end) {
		size_t length = strnlen(at, (size_t)(end - at));
		if (length > 0)
			visit((struct str){at, length}, arg);
		at += length + 1;
	}
}

void elf_file_code(const struct elf_file *f, elf_code *visit, void *arg)
{
	GElf_Shdr head;
	for (Elf_Scn *s = NULL; (s = elf_nextscn(f->elf, s));) {
		if (!gelf_getshdr(s, &head) || head.sh_type != SHT_PROGBITS ||
		    !(head.sh_flags & SHF_EXECINSTR))
			continue;
		Elf_Data *data = elf_rawdata(s, NULL);
		if (data && data->d_buf)
			visit(data->d_buf, data->d_size, head.sh_addr, arg);
	}
}
