/* SPDX-License-Identifier: MIT */
#include "server/memory/pkeys.h"

#include "server/core.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

struct pkeys pkeys;

#if defined(__x86_64__)
/* Two bits for each key: no access, no writing. */
static uint32_t pkeys_bits(int key)
{
	return UINT32_C(3) << (2 * key);
}

static int bucket_protect(uint32_t index, int key)
{
	const struct region *region = &core.region;
	uint32_t class_index = region_class_of(region, index);

	if (pkey_mprotect(region_arena(region, index), core.plan.class[class_index].size_bytes,
			  PROT_READ | PROT_WRITE, key) < 0)
		return -1;
	return pkey_mprotect(region_stack(region, index), region->stack_bytes[class_index],
			     PROT_READ | PROT_WRITE, key);
}
#endif

int pkeys_open(struct err *err)
{
#if defined(__x86_64__)
	int key[PKEYS_MAX] = {0};
	uint32_t none = 0;

	/* This thread has the rights to what it takes, and workers inherit them. */
	while (pkeys.count < PKEYS_MAX && (key[pkeys.count] = pkey_alloc(0, 0)) > 0)
		none |= pkeys_bits(key[pkeys.count++]);
	if (pkeys.count < 2)
		return err_errno(
			err, "[server] isolation: this CPU or kernel has no "
			     "memory-protection keys (\"ospke\" in /proc/cpuinfo); leave it "
			     "out");
	for (uint32_t i = 0; i < pkeys.count; i++)
		pkeys.rights[i] = none & ~pkeys_bits(key[i]);
	for (uint32_t i = 0; i < core.region.bucket_count; i++)
		if (bucket_protect(i, key[i % pkeys.count]) < 0)
			return err_errno(err,
					 "[server] isolation: can't give a bucket its key");
	pkeys.on = true;
	return 0;
#else
	return err_set(err, "[server] isolation: only x86-64 has memory-protection keys; "
			    "leave it out");
#endif
}
