/* SPDX-License-Identifier: MIT */
/* zlib: deflated, inflated, compared. */
#include "library.h"

#include <zlib.h>

static int library_work(struct pail_request *r)
{
	enum { BYTES = 20000 };
	unsigned char *in = malloc(BYTES), *out = malloc(BYTES + 1000), *back = malloc(BYTES);
	z_stream pack = {0}, unpack = {0};
	int fine = in && out && back;

	for (int i = 0; fine && i < BYTES; i++)
		in[i] = (unsigned char)(i * i >> 5 & 15);
	fine = fine && deflateInit(&pack, 6) == Z_OK;
	if (fine) {
		pack.next_in = in, pack.avail_in = BYTES;
		pack.next_out = out, pack.avail_out = BYTES + 1000;
		fine = deflate(&pack, Z_FINISH) == Z_STREAM_END;
		deflateEnd(&pack);
	}
	fine = fine && inflateInit(&unpack) == Z_OK;
	if (fine) {
		unpack.next_in = out, unpack.avail_in = (unsigned)pack.total_out;
		unpack.next_out = back, unpack.avail_out = BYTES;
		fine = inflate(&unpack, Z_FINISH) == Z_STREAM_END &&
		       memcmp(in, back, BYTES) == 0;
		inflateEnd(&unpack);
	}
	char text[64];
	snprintf(text, sizeof(text), "%lu", fine ? pack.total_out : 0UL);
	library_say(r, text);
	free(back);
	free(out);
	free(in);
	return fine ? 200 : 500;
}
