/* SPDX-License-Identifier: MIT */
#include "libtrace/symbols/symbols.h"

#include "base/buf.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <libiberty/demangle.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct symbols {
	Dwfl *dwfl;
	Dwfl_Module *module;
	char **kept; /* demangled names */
	size_t count, room;
	int calls;     /* told of the address that is looked up */
	bool has_left; /* libdw was left in the middle of something: never again */
	jmp_buf leave;
};

/* Where libdw goes when it finds no memory; by itself it would end the program,
 * whose recording is complete but for names. */
static _Thread_local struct symbols *inside;

static _Noreturn void no_memory(void)
{
	longjmp(inside->leave, 1);
}

/* -- names ------------------------------------------------------------------ */

char *symbols_demangle(const char *name)
{
	if (strncmp(name, "_Z", 2) != 0 && strncmp(name, "_R", 2) != 0)
		return NULL;
	return cplus_demangle(name, DMGL_AUTO | DMGL_ANSI);
}

/* The demangled name, kept until the end; or the name itself. */
static const char *readable(struct symbols *s, const char *name)
{
	char *text = name ? symbols_demangle(name) : NULL;
	if (!text)
		return name ? name : "";
	if (s->count == s->room) {
		size_t room = s->room > 0 ? s->room * 2 : 64;
		char **grown = reallocarray(s->kept, room, sizeof(*grown));
		if (!grown) {
			free(text);
			return name;
		}
		s->kept = grown;
		s->room = room;
	}
	s->kept[s->count++] = text;
	return text;
}

/* -- opening ------------------------------------------------------------------ */

static bool same_build_id(Dwfl_Module *module, struct str build_id)
{
	const unsigned char *bits;
	GElf_Addr at;
	int length = dwfl_module_build_id(module, &bits, &at);
	return build_id.length == 0 || (length == (int)build_id.length &&
					memcmp(bits, build_id.bytes, build_id.length) == 0);
}

static bool report(struct symbols *s, const char *path, struct str build_id)
{
	GElf_Addr bias;
	dwfl_report_begin(s->dwfl);
	s->module = dwfl_report_elf(s->dwfl, path, path, -1, 0, false);
	dwfl_report_end(s->dwfl, NULL, NULL);
	if (s->module && dwfl_module_getelf(s->module, &bias) &&
	    same_build_id(s->module, build_id))
		return true;
	s->module = NULL;
	return false;
}

static bool report_debug_file(struct symbols *s, struct str build_id)
{
	struct buf path;
	if (build_id.length < 2)
		return false;
	buf_init(&path);
	buf_append_str(&path, "/usr/lib/debug/.build-id/");
	for (size_t i = 0; i < build_id.length; i++)
		buf_printf(&path, i == 0 ? "%02x/" : "%02x", (unsigned char)build_id.bytes[i]);
	buf_append_str(&path, ".debug");
	bool found = !path.failed && access(buf_text(&path), R_OK) == 0 &&
		     report(s, buf_text(&path), build_id);
	buf_release(&path);
	return found;
}

struct symbols *symbols_open(const char *path, struct str build_id)
{
	static const Dwfl_Callbacks callbacks = {
		.find_elf = dwfl_build_id_find_elf,
		.find_debuginfo = dwfl_standard_find_debuginfo,
		.section_address = dwfl_offline_section_address,
	};
	struct symbols *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->dwfl = dwfl_begin(&callbacks);
	if (s->dwfl &&
	    ((path[0] == '/' && report(s, path, build_id)) || report_debug_file(s, build_id)))
		return s;
	symbols_close(s);
	return NULL;
}

void symbols_close(struct symbols *s)
{
	if (!s)
		return;
	if (s->dwfl && !s->has_left)
		dwfl_end(s->dwfl);
	for (size_t i = 0; i < s->count; i++)
		free(s->kept[i]);
	free(s->kept);
	free(s);
}

/* -- finding ------------------------------------------------------------------- */

/* A name that an abstract or declared origin may hold. */
static const char *die_name(Dwarf_Die *die)
{
	static const unsigned wanted[] = {DW_AT_linkage_name, DW_AT_MIPS_linkage_name,
					  DW_AT_name};
	for (size_t i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		Dwarf_Attribute memory;
		const char *name =
			dwarf_formstring(dwarf_attr_integrate(die, wanted[i], &memory));
		if (name)
			return name;
	}
	return NULL;
}

static const char *call_file(Dwarf_Die *unit, Dwarf_Die *die)
{
	Dwarf_Attribute memory;
	Dwarf_Word number;
	Dwarf_Files *files;
	size_t count;
	if (dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &memory), &number) != 0 ||
	    dwarf_getsrcfiles(unit, &files, &count) != 0 || number >= count)
		return "";
	const char *name = dwarf_filesrc(files, number, NULL, NULL);
	return name ? name : "";
}

static int call_line(Dwarf_Die *die)
{
	Dwarf_Attribute memory;
	Dwarf_Word number;
	return dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &memory), &number) == 0
		       ? (int)number
		       : 0;
}

/* The entries that the address lies in, innermost first: each inlined call in
 * what it was inlined into, and not in where it was written. */
static int find_scopes(Dwarf_Die *unit, Dwarf_Addr address, Dwarf_Die **scopes)
{
	Dwarf_Die *written = NULL;
	int count = dwarf_getscopes(unit, address, &written);
	if (count > 0)
		count = dwarf_getscopes_die(&written[0], scopes);
	free(written);
	return count;
}

static void find(struct symbols *s, uint64_t address, symbols_found *found, void *context)
{
	const char *file = "";
	int line = 0;
	Dwfl_Line *source = dwfl_module_getsrc(s->module, address);
	if (source) {
		const char *name = dwfl_lineinfo(source, NULL, &line, NULL, NULL, NULL);
		file = name ? name : "";
	}
	GElf_Off offset;
	GElf_Sym symbol;
	const char *table_name =
		dwfl_module_addrinfo(s->module, address, &offset, &symbol, NULL, NULL, NULL);
	Dwarf_Addr bias;
	Dwarf_Die *unit = dwfl_module_addrdie(s->module, address, &bias), *scopes = NULL;
	int count = unit ? find_scopes(unit, address - bias, &scopes) : 0;
	for (int i = 0; i < count; i++) {
		int tag = dwarf_tag(&scopes[i]);
		if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram)
			continue;
		const char *name = die_name(&scopes[i]);
		bool inlined = tag == DW_TAG_inlined_subroutine;
		if (!inlined && !name)
			name = table_name;
		found(context, readable(s, name), file, line);
		s->calls++;
		if (!inlined)
			break;
		file = call_file(unit, &scopes[i]);
		line = call_line(&scopes[i]);
	}
	free(scopes);
	if (s->calls == 0 && (table_name || *file)) {
		found(context, readable(s, table_name), file, line);
		s->calls = 1;
	}
}

int symbols_find(struct symbols *s, uint64_t address, symbols_found *found, void *context)
{
	Dwarf_Addr bias;
	s->calls = 0;
	if (s->has_left)
		return 0;
	Dwarf *dwarf = dwfl_module_getdwarf(s->module, &bias);
	if (dwarf)
		dwarf_new_oom_handler(dwarf, no_memory);
	inside = s;
	if (setjmp(s->leave) == 0)
		find(s, address, found, context);
	else
		s->has_left = true;
	inside = NULL;
	return s->calls;
}
