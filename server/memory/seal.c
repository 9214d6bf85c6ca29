/* SPDX-License-Identifier: MIT */
#include "server/memory/seal.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#	define SEAL_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#	define SEAL_ARCH AUDIT_ARCH_AARCH64
#endif

#define LOAD(field) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offsetof(struct seccomp_data, field))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, (what))
/* Skips the next instruction unless the loaded word is `value`. */
#define WHEN(value) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), 0, 1)
#define REFUSE      (SECCOMP_RET_ERRNO | ENOMEM)

int seal_close(struct err *err)
{
	struct sock_filter filter[] = {
		/* Calls of another ABI (32 bits) are other calls: none of them. */
		LOAD(arch),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SEAL_ARCH, 1, 0),
		RETURN(SECCOMP_RET_ERRNO | ENOSYS),
		LOAD(nr),
#if defined(__x86_64__)
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1), /* x32 */
		RETURN(SECCOMP_RET_ERRNO | ENOSYS),
#endif
		WHEN(SYS_mmap),
		RETURN(REFUSE),
		WHEN(SYS_mremap),
		RETURN(REFUSE),
		WHEN(SYS_munmap),
		RETURN(REFUSE),
		WHEN(SYS_brk),
		RETURN(REFUSE),
		WHEN(SYS_madvise),
		RETURN(REFUSE),
		WHEN(SYS_shmat),
		RETURN(REFUSE),
		WHEN(SYS_memfd_create),
		RETURN(REFUSE),
		RETURN(SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
		    &program) != 0)
		return err_errno(err, "can't seal the server (this kernel has no seccomp "
				      "filters; leave --seal out)");
	return 0;
}
