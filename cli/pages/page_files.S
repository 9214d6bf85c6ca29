/* SPDX-License-Identifier: MIT */
/* The style and the script of the pages, as they are. */
	.section .rodata
	.globl page_css, page_css_end, page_js, page_js_end
page_css:
	.incbin "cli/pages/page.css"
page_css_end:
	.byte 0
page_js:
	.incbin "cli/pages/page.js"
page_js_end:
	.byte 0
	.section .note.GNU-stack, "", %progbits
