/* SPDX-License-Identifier: MIT */
#include "server/memory/modules.h"

#include <link.h>
#include <stdio.h>
#include <string.h>

enum { MODULES_MAX = 256, NAME_MAX_BYTES = 40 };

struct module {
	char name[NAME_MAX_BYTES];
	uintptr_t base, low, high; /* all of it */
};

static struct {
	struct module module[MODULES_MAX];
	uint32_t count;
} modules;

static int module_add(struct dl_phdr_info *info, size_t size, void *context)
{
	(void)size;
	(void)context;
	if (modules.count == MODULES_MAX)
		return 1;
	struct module *module = &modules.module[modules.count++];
	const char *path = info->dlpi_name[0] ? info->dlpi_name : "pail-server";
	const char *slash = strrchr(path, '/');
	snprintf(module->name, sizeof(module->name), "%s", slash ? slash + 1 : path);
	module->base = info->dlpi_addr;
	module->low = UINTPTR_MAX;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t low = info->dlpi_addr + ph->p_vaddr;
		if (ph->p_type != PT_LOAD)
			continue;
		module->low = low < module->low ? low : module->low;
		module->high =
			low + ph->p_memsz > module->high ? low + ph->p_memsz : module->high;
	}
	return 0;
}

void modules_find(void)
{
	modules.count = 0;
	dl_iterate_phdr(module_add, NULL);
}

void modules_place(uintptr_t p, char *text, size_t size)
{
	for (uint32_t i = 0; i < modules.count; i++) {
		const struct module *module = &modules.module[i];
		if (p < module->low || p >= module->high)
			continue;
		snprintf(text, size, "%s+0x%lx", module->name,
			 (unsigned long)(p - module->base));
		return;
	}
	snprintf(text, size, "0x%lx", (unsigned long)p);
}
