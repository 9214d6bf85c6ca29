/* SPDX-License-Identifier: MIT */
#include "libtrace/shim/modules.h"

#include "libtrace/shim/real.h"
#include "libtrace/shim/unwind.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MODULES_MAX = 2048, PATH_BYTES = 768, CLOSE_SPINS = 10000 };

struct module {
	uintptr_t start, end;
	const struct link_map *link;
	bool gone;
};

static struct module module[MODULES_MAX]; /* only grows, under modules_busy */
static _Atomic uint32_t module_count;
static _Atomic uint32_t map, map_process;

struct rule_place rules[RULES];

uint32_t modules_map(void)
{
	return atomic_load_explicit(&map, memory_order_relaxed);
}

/* -- saying it ------------------------------------------------------------------- */

static size_t find_build_id(const struct dl_find_object *o, unsigned char *id)
{
	const unsigned char *start = o->dlfo_map_start;
	size_t bytes = (size_t)((const unsigned char *)o->dlfo_map_end - start);
	const ElfW(Ehdr) *head = (const void *)start;

	if (bytes < sizeof(*head) || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
	    head->e_phoff > 4096 - sizeof(ElfW(Phdr)) ||
	    head->e_phentsize != sizeof(ElfW(Phdr)))
		return 0;
	const ElfW(Phdr) *segment = (const void *)(start + head->e_phoff);
	for (unsigned i = 0;
	     i < head->e_phnum && head->e_phoff + (i + 1) * sizeof(*segment) < 4096; i++) {
		/* Notes lie in the first pages, which are mapped with the head. */
		if (segment[i].p_type != PT_NOTE || segment[i].p_offset > 4096 ||
		    segment[i].p_memsz > 4096 - segment[i].p_offset)
			continue;
		const unsigned char *at = start + segment[i].p_offset;
		const unsigned char *end = at + segment[i].p_memsz;
		while ((size_t)(end - at) > sizeof(ElfW(Nhdr))) {
			const ElfW(Nhdr) *note = (const void *)at;
			const unsigned char *name = at + sizeof(*note);
			const unsigned char *value = name + ((note->n_namesz + 3) & ~3u);
			if (value > end || note->n_descsz > (size_t)(end - value))
				break;
			if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 &&
			    memcmp(name, "GNU", 4) == 0 &&
			    note->n_descsz <= EVENT_BUILD_ID_BYTES) {
				memcpy(id, value, note->n_descsz);
				return note->n_descsz;
			}
			at = value + ((note->n_descsz + 3) & ~3u);
		}
	}
	return 0;
}

/* The path of a module, from the root if it can be; gives its length. */
static size_t find_path(const struct link_map *link, char *path)
{
	const char *name = link->l_name;
	size_t used = 0;

	if (!name || !*name) {
		long got =
			syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, PATH_BYTES);
		if (got > 0)
			return (size_t)got;
		name = program_invocation_name;
	}
	if (*name != '/' && strchr(name, '/')) {
		long got = syscall(SYS_getcwd, path, PATH_BYTES / 2);
		if (got > 1) {
			used = (size_t)got - 1;
			path[used++] = '/';
		}
	}
	size_t length = strnlen(name, PATH_BYTES - used);
	memcpy(path + used, name, length);
	return used + length;
}

static void tell(const struct dl_find_object *o)
{
	struct {
		uint64_t bias;
		unsigned char id[EVENT_BUILD_ID_BYTES];
		char path[PATH_BYTES];
	} said;
	int saved = errno;

	memset(said.id, 0, sizeof(said.id));
	said.bias = o->dlfo_link_map->l_addr;
	size_t id_bytes = find_build_id(o, said.id);
	size_t path_bytes = find_path(o->dlfo_link_map, said.path);
	write_long(EVENT_MODULE, 0, (uintptr_t)o->dlfo_map_start,
		   (int64_t)(uintptr_t)o->dlfo_map_end,
		   (uint64_t)atomic_load(&map) << 32 | id_bytes, &said,
		   sizeof(said) - sizeof(said.path) + path_bytes);
	errno = saved;
}

/* -- the map ------------------------------------------------------------------------ */

/* Under modules_busy: all that is still there, under a new number. */
static void begin_map(void)
{
	struct dl_find_object o;

	atomic_store(&map, atomic_fetch_add(&region->next_map, 1) + 1);
	atomic_store(&map_process, this_process.serial);
	for (uint32_t i = 0; i < atomic_load(&module_count); i++)
		if (!module[i].gone && real__dl_find_object((void *)module[i].start, &o) == 0)
			tell(&o);
}

static bool begin_change(void)
{
	uint32_t free = 0;

	return atomic_compare_exchange_strong(&this_process.modules_busy, &free, 1);
}

static void end_change(void)
{
	atomic_store(&this_process.modules_busy, 0);
}

/* Whether the module is in the map, or could be put there. */
static bool note(const struct dl_find_object *o)
{
	uint32_t count = atomic_load_explicit(&module_count, memory_order_acquire);

	for (uint32_t i = 0; i < count; i++)
		if (module[i].start == (uintptr_t)o->dlfo_map_start && !module[i].gone)
			return true;
	if (!begin_change())
		return false;
	bool done = false;
	count = atomic_load(&module_count);
	for (uint32_t i = 0; i < count && !done; i++)
		done = module[i].start == (uintptr_t)o->dlfo_map_start && !module[i].gone;
	if (!done && count < MODULES_MAX) {
		if (!atomic_load(&map) || atomic_load(&map_process) != this_process.serial)
			begin_map();
		module[count] =
			(struct module){(uintptr_t)o->dlfo_map_start,
					(uintptr_t)o->dlfo_map_end, o->dlfo_link_map, false};
		atomic_store_explicit(&module_count, count + 1, memory_order_release);
		tell(o);
		done = true;
	}
	end_change();
	return done;
}

/* -- rules ----------------------------------------------------------------------------- */

static void keep_rule(uint64_t key, uint64_t rule)
{
	struct rule_place *place = rule_place(key);

	atomic_store_explicit(&place->mixed, 0, memory_order_relaxed);
	atomic_store_explicit(&place->rule, rule, memory_order_release);
	atomic_store_explicit(&place->mixed, key ^ rule, memory_order_release);
}

uint64_t modules_find_rule(uintptr_t pc, bool exact, uint64_t key)
{
	struct dl_find_object o;
	uint64_t rule = UNWIND_RULE_FRAME_POINTER;
	bool keep = false;

	if (!real__dl_find_object)
		return rule;
	/* Tables of a module that is just being unloaded must not be read: who
	 * unloads says so first, and waits for who reads. */
	atomic_fetch_add(&this_process.modules_readers, 1);
	if (atomic_load(&this_process.modules_closing)) {
		rule = unwind_rule(UNWIND_STOP, 0, UNWIND_BP_SAME, 0);
	} else if (real__dl_find_object((void *)(exact ? pc : pc - 1), &o) == 0) {
		if (!(region_mode & REGION_POINTERS) && o.dlfo_eh_frame) {
			uint64_t found =
				unwind_find(o.dlfo_eh_frame, (uintptr_t)o.dlfo_map_start,
					    (uintptr_t)o.dlfo_map_end, exact ? pc : pc - 1);
			if (found)
				rule = found;
		}
		keep = note(&o);
	}
	atomic_fetch_sub(&this_process.modules_readers, 1);
	if (keep)
		keep_rule(key, rule);
	return rule;
}

/* -- unloading ------------------------------------------------------------------------- */

/* Forgets the modules that are gone. */
static void recheck(void)
{
	struct dl_find_object o;
	bool any = false;

	for (uint32_t i = 0; i < atomic_load(&module_count); i++) {
		if (module[i].gone || (real__dl_find_object((void *)module[i].start, &o) == 0 &&
				       o.dlfo_link_map == module[i].link))
			continue;
		module[i].gone = any = true;
	}
	if (!any)
		return;
	for (size_t i = 0; i < RULES; i++)
		atomic_store_explicit(&rules[i].mixed, 0, memory_order_relaxed);
	begin_map();
}

EXPORT int dlclose(void *handle)
{
	if (!(region_mode & REGION_STACKS) || !real__dl_find_object || !writer_on())
		return REAL(dlclose)(handle);
	atomic_fetch_add(&this_process.modules_closing, 1);
	for (int i = 0; i < CLOSE_SPINS && atomic_load(&this_process.modules_readers); i++)
		sched_yield();
	int result = REAL(dlclose)(handle);
	int saved = errno;
	for (int i = 0; i < CLOSE_SPINS; i++, sched_yield()) {
		if (!begin_change())
			continue;
		recheck();
		end_change();
		break;
	}
	atomic_fetch_sub(&this_process.modules_closing, 1);
	errno = saved;
	return result;
}
