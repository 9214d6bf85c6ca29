/* SPDX-License-Identifier: MIT */
/*
 * The admin address's page: server/operation/page.html as it stands, in the program's
 * read-only data. It asks for /stats once a second and nothing else, and its
 * policy lets it do no more: the one script and the one style that it has, by
 * their hashes. tests/server/ops/test_page.py says what they are when it finds others.
 */
#ifndef PAIL_SERVER_PAGE_H
#define PAIL_SERVER_PAGE_H

#include "base/str.h"

#define PAGE_SCRIPT_HASH "sha256-HfXxnrn8PSDSqxiKoNKybAgR/hPV06nucJctXHy2D6U="
#define PAGE_STYLE_HASH  "sha256-VLF/OaVsHbcqaFLhQe4OEGVvs6NPAjOKL09J31DybeY="
#define PAGE_POLICY                                                                        \
	"Content-Security-Policy: default-src 'none'; connect-src 'self'; img-src data:; " \
	"script-src '" PAGE_SCRIPT_HASH "'; style-src '" PAGE_STYLE_HASH                   \
	"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"               \
	"Referrer-Policy: no-referrer\r\n"

struct str page_html(void);

#endif
