/* SPDX-License-Identifier: MIT */
/* Loads pools_apr.c's plug-in, for itself alone, and has it work. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	char path[4096];
	void (*use)(void);
	const char *slash = strrchr(argv[0], '/');

	(void)argc;
	snprintf(path, sizeof(path), "%.*s/victim_pools_apr.so",
		 slash ? (int)(slash - argv[0]) : 1, slash ? argv[0] : ".");
	void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	void *found = plugin ? dlsym(plugin, "use_pools") : NULL;
	if (!found) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	memcpy(&use, &found, sizeof(use));
	use();
	return 0;
}
