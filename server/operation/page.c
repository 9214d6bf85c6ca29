/* SPDX-License-Identifier: MIT */
#include "server/operation/page.h"

/* Found on the assembler's include path, which is the compiler's. */
__asm__(".section .rodata.page,\"a\",%progbits\n"
	".globl page_begin, page_end\n"
	".hidden page_begin, page_end\n"
	"page_begin:\n"
	".incbin \"server/operation/page.html\"\n"
	"page_end:\n"
	".byte 0\n"
	".previous\n");
extern const char page_begin[] __attribute__((visibility("hidden")));
extern const char page_end[] __attribute__((visibility("hidden")));

struct str page_html(void)
{
	return (struct str){page_begin, (size_t)(page_end - page_begin)};
}
