/* SPDX-License-Identifier: MIT */
#include "libtrace/doctor/doctor_checks.h"

#include "base/units.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/*
 * Whether a handler's code probes its stack. A coroutine's stack ends at a
 * guard zone, which only helps if no frame steps over it, so handlers are to be
 * compiled with -fstack-clash-protection: it touches every page of a large
 * frame in order. Three witnesses, the best that there is:
 *
 *   the compiler's command line, where it was recorded (DWARF's producer, which
 *   gcc fills by default under -g; clang with -grecord-command-line)
 *
 *   the code (x86-64): `sub $N,%rsp` with N > 4096 that no compiler emits under
 *   the option; with it, gcc and clang emit `sub $4096,%rsp` and a touch,
 *   `orq $0,(%rsp)` or `movq $0,(%rsp)`, in a row or in a loop
 *
 *   neither large frame nor probe: there was nothing to protect
 */
enum { PAGE = 4096, TLS_SURPLUS = 1664 /* glibc's default for late static TLS */ };

struct handler {
	bool exports_handle, calls_malloc, is_cpp, exports_malloc;
	/* of the code */
	size_t probes, large;
	uint64_t largest_bytes, largest_at;
	char largest_in[128];
	/* of the command lines */
	size_t units, protected_units;
};

static bool note_symbol(const struct elf_symbol *s, void *arg)
{
	static const char *const taking[] = {"malloc", "calloc", "realloc", "_Znwm", "strdup"};
	struct handler *h = arg;
	if (s->dynamic && s->defined && strcmp(s->name, "pail_handle") == 0)
		h->exports_handle = true;
	if (s->dynamic && s->defined && strcmp(s->name, "malloc") == 0)
		h->exports_malloc = true;
	for (size_t i = 0; !s->defined && i < sizeof(taking) / sizeof(*taking); i++)
		h->calls_malloc |= strcmp(s->name, taking[i]) == 0;
	if (s->defined && s->function && h->largest_at - s->address < s->size)
		snprintf(h->largest_in, sizeof(h->largest_in), "%s", s->name);
	return true;
}

static void note_producer(struct str text, void *arg)
{
	static const char option[] = "-fstack-clash-protection";
	struct handler *h = arg;
	/* Assembler has no frames of a compiler. */
	if (memmem(text.bytes, text.length, "GNU AS", 6))
		return;
	h->units++;
	h->protected_units += memmem(text.bytes, text.length, option, sizeof(option) - 1) != 0;
}

#if defined(__x86_64__)
static bool touches(const unsigned char *at, const unsigned char *end)
{
	static const unsigned char or_zero[] = {0x48, 0x83, 0x0c, 0x24, 0x00};
	static const unsigned char store_zero[] = {0x48, 0xc7, 0x04, 0x24, 0, 0, 0, 0};
	size_t left = (size_t)(end - at);
	return (left >= sizeof(or_zero) && memcmp(at, or_zero, sizeof(or_zero)) == 0) ||
	       (left >= sizeof(store_zero) && memcmp(at, store_zero, sizeof(store_zero)) == 0);
}

static void note_code(const unsigned char *bytes, size_t length, uint64_t address, void *arg)
{
	struct handler *h = arg;
	for (size_t i = 0; i + 7 <= length; i++) {
		/* sub $imm32,%rsp */
		if (bytes[i] != 0x48 || bytes[i + 1] != 0x81 || bytes[i + 2] != 0xec)
			continue;
		uint32_t size;
		memcpy(&size, bytes + i + 3, sizeof(size));
		if (touches(bytes + i + 7, bytes + length)) {
			h->probes++;
		} else if (size > PAGE && size < UINT32_C(1) << 30) {
			h->large++;
			if (size > h->largest_bytes) {
				h->largest_bytes = size;
				h->largest_at = address + i;
			}
		}
		i += 6;
	}
}
#else
static void note_code(const unsigned char *bytes, size_t length, uint64_t address, void *arg)
{
	(void)bytes, (void)length, (void)address, (void)arg;
}
#endif

static void check_stack(struct patient *p, const struct handler *h)
{
	char cause[384], size[UNITS_TEXT_MAX];
	static const char cure[] = "compile all of it with -fstack-clash-protection"
				   " (pkg-config --cflags pail)";
	if (h->large > 0) {
		snprintf(cause, sizeof(cause),
			 "%zu of its functions %s more than a page of stack at once without"
			 " touching it, at most %s%s%s: such a frame can step over the guard"
			 " zone below a request's stack",
			 h->large, h->large == 1 ? "takes" : "take",
			 units_format_size(h->largest_bytes, size),
			 *h->largest_in ? ", in " : "", h->largest_in);
		doctor_add(p, DOCTOR_CURE, "stack-clash", NULL, cause, "%s", cure);
	} else if (h->units > 0 && h->protected_units < h->units) {
		snprintf(cause, sizeof(cause),
			 "%zu of its %zu compilation units say that they were compiled without"
			 " -fstack-clash-protection; none has a frame yet that would need it",
			 h->units - h->protected_units, h->units);
		doctor_add(p, DOCTOR_NOTE, "stack-clash", NULL, cause, "%s", cure);
	} else if (h->units > 0 || h->probes > 0) {
		doctor_add(p, DOCTOR_NOTE, "stack-clash-protected", NULL,
			   "it was compiled with -fstack-clash-protection",
			   "nothing needs to be done");
	} else {
		doctor_add(p, DOCTOR_NOTE, "stack-clash", NULL,
			   "whether it was compiled with -fstack-clash-protection cannot be"
			   " told; no frame of it would need it",
			   "%s", cure);
	}
}

static void check_start(struct patient *p, const struct elf_file *f, const struct handler *h)
{
	char cause[384], size[UNITS_TEXT_MAX];
	uint64_t tls = elf_file_tls_bytes(f);
	/* One is the compiler's own, frame_dummy. */
	size_t constructors = elf_file_constructors(f);
	if (constructors > 1 && h->calls_malloc) {
		snprintf(cause, sizeof(cause),
			 "it has %zu constructors and calls malloc: what they allocate comes"
			 " from the system region, once",
			 constructors - 1);
		doctor_add(p, DOCTOR_NOTE, "constructors", NULL, cause,
			   "see [server] system in pail.conf if it is much");
	}
	if (tls > 0 && elf_file_static_tls(f)) {
		snprintf(cause, sizeof(cause),
			 "it wants %s of static thread-local storage, of which about %d bytes"
			 " are left for libraries that are loaded late",
			 units_format_size(tls, size), TLS_SURPLUS);
		doctor_add(p, tls > TLS_SURPLUS ? DOCTOR_NO : DOCTOR_NOTE, "static-tls", NULL,
			   cause, "compile it without -ftls-model=initial-exec");
	} else if (tls > PAGE) {
		snprintf(cause, sizeof(cause),
			 "it has %s of thread-local storage, for every worker thread",
			 units_format_size(tls, size));
		doctor_add(p, DOCTOR_NOTE, "tls", NULL, cause,
			   "keep per-request data in the bucket");
	}
	if (h->exports_malloc)
		doctor_add(p, DOCTOR_CURE, "own-malloc", NULL,
			   "it defines malloc, which in itself goes before the bucket's",
			   "leave the allocator out of it");
}

/* -- binding it to the server --------------------------------------------- */

struct binding {
	struct patient *patient;
	size_t undefined;
	bool refused;
};

static void note_line(struct str line, void *arg)
{
	static const char undefined[] = "undefined symbol: ";
	struct binding *b = arg;
	char text[1024];
	snprintf(text, sizeof(text), "%.*s", STR_ARG(line));
	char *at = strstr(text, undefined);
	char *missing = strstr(text, " => not found");
	char *refused = strstr(text, "cannot be preloaded");
	if (at && strstr(text, b->patient->path)) {
		char cause[512];
		at += sizeof(undefined) - 1;
		at[strcspn(at, "\t (,")] = '\0';
		snprintf(cause, sizeof(cause),
			 "it needs %s, which neither the server nor a library of its own"
			 " defines",
			 at);
		doctor_add(b->patient, DOCTOR_NO, "undefined-symbol", NULL, cause,
			   "link it with the library that does");
		b->undefined++;
	} else if (missing) {
		*missing = '\0';
		doctor_add(b->patient, DOCTOR_NO, "missing-library", text + strspn(text, " \t"),
			   "it needs this library and the loader does not find it",
			   "install it, or set LD_LIBRARY_PATH");
	} else if (refused && strstr(text, b->patient->path)) {
		b->refused = true;
	}
}

static void check_binding(struct patient *p, const char *server_path)
{
	struct binding binding = {.patient = p};
	struct err err = {0};
	if (loader_bind(server_path, p->path, note_line, &binding, &err) != 0)
		doctor_add(p, DOCTOR_NOTE, "loader", NULL, err.text,
			   "whether it can be loaded was not tried");
	if (binding.refused)
		doctor_add(p, DOCTOR_NO, "not-loadable", NULL, "the loader does not take it",
			   "see what it says: ldd -r %s", p->path);
}

static bool check_kind(struct patient *p, const struct elf_file *f)
{
	if (elf_file_bits(f) != 64 || elf_file_type(f) != ET_DYN) {
		doctor_add(p, DOCTOR_NO, "no-library", NULL, "it is not a 64-bit shared object",
			   "link it with -shared -fPIC, for 64 bits");
		return false;
	}
	if (elf_file_interpreter(f).length > 0)
		doctor_add(p, DOCTOR_NO, "no-library", NULL, "it is a program, not a library",
			   "link it with -shared");
	return true;
}

int doctor_plugin(struct doctor *d, const char *path, const char *server_path, struct err *err)
{
	struct patient p = {.doctor = d};
	struct handler h = {0};
	struct elf_file *file;
	*d = (struct doctor){0};
	if (!realpath(path, p.path))
		return err_errno(err, "cannot read \"%s\"", path);
	snprintf(p.real, sizeof(p.real), "%s", p.path);
	snprintf(d->path, sizeof(d->path), "%s", path);
	snprintf(d->examined, sizeof(d->examined), "%s", p.path);
	int is_elf = elf_file_open(p.path, &file, err);
	if (is_elf < 0)
		return -1;
	if (is_elf == 0)
		return err_set(err, "\"%s\" is no shared object", path);
	if (check_kind(&p, file)) {
		elf_file_code(file, note_code, &h);
		elf_file_symbols(file, note_symbol, &h);
		elf_file_producers(file, note_producer, &h);
		if (!h.exports_handle)
			doctor_add(&p, DOCTOR_NO, "no-handler", NULL,
				   "it does not export pail_handle",
				   "define it as pail/handler.h says, without static or"
				   " -fvisibility=hidden");
		check_stack(&p, &h);
		check_start(&p, file, &h);
		if (server_path)
			check_binding(&p, server_path);
	}
	elf_file_close(file);
	doctor_sort(d);
	return 0;
}
