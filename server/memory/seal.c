/* SPDX-License-Identifier: MIT */
#include "server/memory/seal.h"

#include <errno.h>
#include <seccomp.h>
#include <stddef.h>

/* 0, or a negative errno. */
static int filter_load(scmp_filter_ctx filter)
{
	static const int refused[] = {
		SCMP_SYS(mmap),    SCMP_SYS(mremap), SCMP_SYS(munmap),       SCMP_SYS(brk),
		SCMP_SYS(madvise), SCMP_SYS(shmat),  SCMP_SYS(memfd_create),
	};
	/* Calls of another ABI (32 bits, x32) are other calls: none of them. */
	int failed = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));

	if (failed == 0)
		failed = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1); /* all threads */
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]) && failed == 0; i++)
		failed = seccomp_rule_add_exact(filter, SCMP_ACT_ERRNO(ENOMEM), refused[i], 0);
	return failed ? failed : seccomp_load(filter);
}

int seal_close(struct err *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int failed = filter ? filter_load(filter) : -ENOMEM;

	seccomp_release(filter);
	if (failed == 0)
		return 0;
	errno = -failed;
	return err_errno(err,
			 "can't seal the server (this kernel has no seccomp filters; leave "
			 "--seal out)");
}
