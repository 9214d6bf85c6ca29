/* SPDX-License-Identifier: MIT */
#include "libtrace/doctor/doctor_checks.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* -- whether anything can be loaded into it ------------------------------- */

#if defined(__x86_64__)
enum { OUR_MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { OUR_MACHINE = EM_AARCH64 };
#endif

static bool no(struct patient *p, const char *id, const char *cause, const char *cure)
{
	doctor_add(p, DOCTOR_NO, id, NULL, cause, "%s", cure);
	return false;
}

bool check_loadable(struct patient *p, const struct elf_file *f)
{
	struct str interpreter = elf_file_interpreter(f);
	if (elf_file_bits(f) != 64)
		return no(p, "32-bit",
			  "it is not a 64-bit program, and the recording library is",
			  "record a 64-bit build");
	if (elf_file_machine(f) != OUR_MACHINE)
		return no(p, "machine", "it is a program for another processor",
			  "record a build for this one");
	if (elf_file_type(f) != ET_EXEC && elf_file_type(f) != ET_DYN)
		return no(p, "no-program", "it is an object file or a core, not a program",
			  "link it");
	if (elf_file_has_section(f, ".gopclntab") || elf_file_has_section(f, ".go.buildinfo"))
		return no(p, "go", "it is a Go program, whose memory does not come from malloc",
			  "use Go's own pprof");
	if (interpreter.length == 0)
		return no(p, "static-program",
			  "it is linked statically, so no library can be loaded into it",
			  "build it with dynamic linking");
	if (memmem(interpreter.bytes, interpreter.length, "ld-musl", 7))
		return no(p, "musl", "it is built for musl and the recording library for glibc",
			  "record a glibc build");
	return true;
}

/* -- malloc --------------------------------------------------------------- */

/* The texts are put together when they are looked for, or this program would
 * be found to hold every one of them. */
static const struct allocator {
	const char *name;
	char first;
	const char *text;             /* the rest of one that every build of it holds */
	const char *prefix, *library; /* of its own names; of its shared object */
} allocators[] = {
	{"jemalloc", '<', "jemalloc>", "je_", "libjemalloc."},
	{"jemalloc (of a Rust crate)", '<', "jemalloc>", "_rjem_", "libjemalloc."},
	{"tcmalloc", 'T', "CMALLOC_LARGE_ALLOC_REPORT_THRESHOLD", "tc_", "libtcmalloc"},
	{"mimalloc", 'm', "imalloc: %s", "mi_", "libmimalloc"},
	{"rpmalloc", 'r', "pmalloc: ", "rpmalloc", "librpmalloc"},
};
enum { ALLOCATORS = sizeof(allocators) / sizeof(*allocators) };

struct names {
	bool exports_malloc, defines_malloc, imports_malloc, imports_any;
	bool own[ALLOCATORS];
	bool sanitizer;
};

static bool is_malloc_of(const char *name, const char *prefix)
{
	size_t length = strlen(prefix);
	return strncmp(name, prefix, length) == 0 &&
	       (strcmp(name + length, "malloc") == 0 || strcmp(prefix, "rpmalloc") == 0);
}

static bool note_name(const struct elf_symbol *s, void *arg)
{
	static const char *const any[] = {"malloc",        "calloc",   "realloc",
					  "aligned_alloc", "memalign", "posix_memalign",
					  "_Znwm",         "strdup"};
	struct names *n = arg;
	if (strcmp(s->name, "malloc") == 0) {
		n->exports_malloc |= s->defined && s->dynamic;
		n->defines_malloc |= s->defined && s->function;
		n->imports_malloc |= !s->defined && s->dynamic;
	}
	for (size_t i = 0; !s->defined && i < sizeof(any) / sizeof(*any); i++)
		n->imports_any |= strcmp(s->name, any[i]) == 0;
	for (int i = 0; s->defined && i < ALLOCATORS; i++)
		n->own[i] |= is_malloc_of(s->name, allocators[i].prefix);
	n->sanitizer |= s->defined && (strcmp(s->name, "__asan_init") == 0 ||
				       strcmp(s->name, "__tsan_init") == 0 ||
				       strcmp(s->name, "__msan_init") == 0);
	return true;
}

/* The allocator whose code is in the file, or NULL. */
static const struct allocator *linked_in(const struct elf_file *f, const struct names *n)
{
	for (int i = 0; i < ALLOCATORS; i++)
		if (n->own[i])
			return &allocators[i];
	for (int i = 0; i < ALLOCATORS; i++) {
		char text[64];
		int length = snprintf(text, sizeof(text), "%c%s", allocators[i].first,
				      allocators[i].text);
		if (elf_file_contains(f, (struct str){text, (size_t)length}))
			return &allocators[i];
	}
	return NULL;
}

void check_allocator(struct patient *p, const struct elf_file *f)
{
	struct names n = {0};
	char cause[256];
	elf_file_symbols(f, note_name, &n);
	if (n.sanitizer || elf_file_needs(f, "libasan.") || elf_file_needs(f, "libtsan.") ||
	    elf_file_needs(f, "liblsan.")) {
		doctor_add(p, DOCTOR_NO, "sanitizer", NULL,
			   "it is built with a sanitizer, which brings its own malloc and"
			   " refuses to come second",
			   "record a build without -fsanitize");
		return;
	}
	for (int i = 0; i < ALLOCATORS; i++)
		if (i != 1 && elf_file_needs(f, allocators[i].library)) {
			snprintf(cause, sizeof(cause),
				 "%s is linked dynamically: its calls are seen, and it"
				 " stays in use",
				 allocators[i].name);
			doctor_add(p, DOCTOR_NOTE, "dynamic-allocator", NULL, cause,
				   "nothing needs to be done");
			return;
		}
	const struct allocator *own = linked_in(f, &n);
	if (n.exports_malloc || (n.defines_malloc && !n.imports_malloc)) {
		snprintf(cause, sizeof(cause),
			 "%s is linked into it statically, and a program's own malloc goes"
			 " before a preloaded one",
			 own ? own->name : "an allocator of its own");
		doctor_add(p, DOCTOR_NO, "static-allocator", NULL, cause,
			   "build it without, or with the allocator as a shared library");
	} else if (own && n.imports_any) {
		snprintf(cause, sizeof(cause),
			 "%s is linked into it statically: what it allocates there is not seen,"
			 " only what goes through malloc",
			 own->name);
		doctor_add(p, DOCTOR_CURE, "static-allocator", NULL, cause,
			   "build it with the allocator as a shared library, or with malloc");
	} else if (own) {
		snprintf(cause, sizeof(cause),
			 "%s is linked into it statically and it does not call malloc",
			 own->name);
		doctor_add(p, DOCTOR_NO, "static-allocator", NULL, cause,
			   "build it without, or with the allocator as a shared library");
	}
}

/* -- allocators above malloc ---------------------------------------------- */

static const struct pool {
	const char *id, *name, *library; /* beginnings, or NULL */
	const char *symbol;              /* that it defines, or NULL */
	enum doctor_level level;
	const char *variable, *value, *other; /* other: a value that is as good */
	const char *word;                     /* that a cured command line has */
	const char *cause, *cure;
} pools[] = {
	{"python-pool", "python", "libpython", "PyObject_Malloc", DOCTOR_CURE, "PYTHONMALLOC",
	 "malloc", "malloc_debug", NULL,
	 "Python takes objects of up to 512 bytes from a pool of its own, which hides most"
	 " allocations",
	 "set PYTHONMALLOC=malloc"},
	{"php-pool", "php", "libphp", "zend_startup", DOCTOR_CURE, "USE_ZEND_ALLOC", "0", NULL,
	 NULL, "PHP has a heap of its own, which shows nothing once it is warm",
	 "set USE_ZEND_ALLOC=0"},
	{"haproxy-pool", "haproxy", NULL, "pool_alloc_area", DOCTOR_CURE, NULL, NULL, NULL,
	 "-dM", "HAProxy keeps its pools, which show nothing once they are warm",
	 "start it with -dMno-cache,no-global,no-merge"},
	{"v8-heap", "node", "libnode", NULL, DOCTOR_CURE, NULL, NULL, NULL, NULL,
	 "JavaScript objects are in V8's own heap: only what native code allocates is seen",
	 "take these numbers for the native part; node's --heap-prof has the other"},
	{"jvm-heap", "java", "libjli", NULL, DOCTOR_CURE, NULL, NULL, NULL, NULL,
	 "Java objects are in the JVM's own heap: only what native code allocates is seen",
	 "take these numbers for the native part; the JVM's own profiler has the other"},
	{"erlang-pool", "beam.smp", NULL, "erts_alloc_init", DOCTOR_CURE, NULL, NULL, NULL,
	 "+Mea", "Erlang's allocators take carriers of many blocks, by mmap",
	 "start it with +Mea min"},
	{"apr-pool", NULL, "libapr-1.", NULL, DOCTOR_NOTE, NULL, NULL, NULL, NULL,
	 "APR's pools take memory in blocks of 8 KiB and keep them from request to request:"
	 " what apr_palloc hands out of them is recorded in their place",
	 "nothing needs to be done; --pools none records the blocks alone"},
	{"nginx-pool", "nginx", NULL, "ngx_create_pool", DOCTOR_NOTE, NULL, NULL, NULL, NULL,
	 "nginx gives every request a pool of its own, whose blocks come from malloc and go"
	 " back: they are seen whole",
	 "nothing needs to be done"},
	{"palloc", "postgres", NULL, "AllocSetContextCreateInternal", DOCTOR_NOTE, NULL, NULL,
	 NULL, NULL,
	 "PostgreSQL's memory contexts take blocks from malloc and keep some: a need is"
	 " that of blocks",
	 "nothing can be done"},
	{"slabs", "memcached", NULL, "slabs_alloc", DOCTOR_NOTE, NULL, NULL, NULL, NULL,
	 "memcached's items are in slabs that stay: a need is that of the work, without the"
	 " items",
	 "nothing needs to be done"},
};

struct wanted {
	bool defined[sizeof(pools) / sizeof(*pools)];
};

static bool note_pool(const struct elf_symbol *s, void *arg)
{
	struct wanted *w = arg;
	for (size_t i = 0; s->defined && i < sizeof(pools) / sizeof(*pools); i++)
		w->defined[i] |= pools[i].symbol && strcmp(s->name, pools[i].symbol) == 0;
	return true;
}

static bool cured(const struct patient *p, const struct pool *pool)
{
	const char *now = pool->variable ? patient_variable(p, pool->variable) : NULL;
	if (now &&
	    (strcmp(now, pool->value) == 0 || (pool->other && strcmp(now, pool->other) == 0)))
		return true;
	return pool->word && patient_has_word(p, pool->word);
}

void check_pools(struct patient *p, const struct elf_file *f)
{
	struct wanted w = {0};
	elf_file_symbols(f, note_pool, &w);
	for (size_t i = 0; i < sizeof(pools) / sizeof(*pools); i++) {
		const struct pool *pool = &pools[i];
		const char *name = patient_name(p);
		bool named = pool->name && strncmp(name, pool->name, strlen(pool->name)) == 0;
		bool linked = pool->library && elf_file_needs(f, pool->library);
		if ((!named && !linked && !w.defined[i]) || cured(p, pool))
			continue;
		struct finding *found = doctor_add(p, pool->level, pool->id, NULL, pool->cause,
						   "%s", pool->cure);
		found->variable = pool->variable;
		found->value = pool->value;
	}
}

/* -- calls that are not seen ---------------------------------------------- */

struct calls {
	bool uring, fdopen, accept, stdio, clone, seccomp;
};

static bool note_call(const struct elf_symbol *s, void *arg)
{
	static const char *const reads[] = {"fgets", "getline", "fread",
					    "fgetc", "getc",    "__fgets_chk"};
	struct calls *c = arg;
	if (s->defined || !s->dynamic)
		return true;
	c->uring |= strncmp(s->name, "io_uring_", 9) == 0;
	c->fdopen |= strcmp(s->name, "fdopen") == 0;
	c->accept |= strcmp(s->name, "accept") == 0 || strcmp(s->name, "accept4") == 0;
	c->clone |= strcmp(s->name, "clone") == 0;
	c->seccomp |= strcmp(s->name, "seccomp_load") == 0;
	for (size_t i = 0; i < sizeof(reads) / sizeof(*reads); i++)
		c->stdio |= strcmp(s->name, reads[i]) == 0;
	return true;
}

void check_calls(struct patient *p, const struct elf_file *f)
{
	struct calls c = {0};
	elf_file_symbols(f, note_call, &c);
	if (c.uring || elf_file_needs(f, "liburing."))
		doctor_add(p, DOCTOR_CURE, "io_uring", NULL,
			   "it can do its I/O by io_uring, which goes past every function that"
			   " could be watched: requests on it are not seen",
			   "turn io_uring off in its configuration, or mark requests"
			   " (pail/mark.h)");
	if (c.fdopen && c.accept && c.stdio)
		doctor_add(p, DOCTOR_NOTE, "stdio-sockets", NULL,
			   "it may read its connections through stdio, whose own reads are not"
			   " seen",
			   "if the trace has no requests, mark them (pail/mark.h)");
	if (c.seccomp)
		doctor_add(
			p, DOCTOR_NOTE, "seccomp", NULL,
			"it installs a seccomp filter; the library needs nothing that is not"
			" open by then, but gettid, futex, madvise, fstat, rt_sigprocmask and"
			" clock_gettime",
			"if it dies under the recorder only, turn its sandbox off for the"
			" recording");
}

/* -- names for stacks ----------------------------------------------------- */

void check_symbols(struct patient *p, const struct elf_file *f)
{
	char id[64], path[128];
	struct stat st;
	if (elf_file_has_dwarf(f))
		return;
	elf_file_build_id(f, id, sizeof(id));
	snprintf(path, sizeof(path), "/usr/lib/debug/.build-id/%.2s/%s.debug", id,
		 *id ? id + 2 : "");
	if (*id && stat(path, &st) == 0)
		return;
	if (elf_file_has_symbols(f))
		doctor_add(p, DOCTOR_NOTE, "no-lines", NULL,
			   "it has symbols but no line numbers: a stack names functions only",
			   "build it with -g, or install its debug package");
	else
		doctor_add(p, DOCTOR_NOTE, "no-symbols", NULL,
			   "it has no symbols: a stack names what it exports, and else"
			   " addresses",
			   "install its debug package (-dbgsym), or do not strip it");
}
