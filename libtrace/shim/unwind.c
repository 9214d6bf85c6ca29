/* SPDX-License-Identifier: MIT */
#include "libtrace/shim/unwind.h"

#include <string.h>

/* The tables are as in the System V ABI's DWARF chapter and the Linux Standard
 * Base's "Exception Frames"; only the encodings that linkers write are read. */

/* -- a reader that never leaves the module --------------------------------- */

struct reader {
	const unsigned char *at, *end;
	bool failed;
};

static uint64_t take(struct reader *r, size_t bytes)
{
	uint64_t value = 0;

	if ((size_t)(r->end - r->at) < bytes) {
		r->failed = true;
		r->at = r->end;
		return 0;
	}
	memcpy(&value, r->at, bytes);
	r->at += bytes;
	return value;
}

static uint64_t take_uleb(struct reader *r)
{
	uint64_t value = 0;

	for (unsigned shift = 0;; shift += 7) {
		uint64_t byte = take(r, 1);
		if (shift < 64)
			value |= (byte & 0x7f) << shift;
		if (byte < 0x80 || r->failed)
			return value;
	}
}

static int64_t take_sleb(struct reader *r)
{
	uint64_t value = 0, byte;
	unsigned shift = 0;

	do {
		byte = take(r, 1);
		if (shift < 64)
			value |= (byte & 0x7f) << shift;
		shift += 7;
	} while (byte >= 0x80 && !r->failed);
	if (shift < 64 && byte & 0x40)
		value |= ~UINT64_C(0) << shift;
	return (int64_t)value;
}

static void skip(struct reader *r, uint64_t bytes)
{
	if ((uint64_t)(r->end - r->at) < bytes) {
		r->failed = true;
		r->at = r->end;
	} else {
		r->at += bytes;
	}
}

enum {
	FORM_ABSOLUTE = 0x00,
	FORM_U4 = 0x03,
	FORM_S4 = 0x0b,
	FORM_S8 = 0x0c,
	FORM_OMIT = 0xff,
	BASE_PC = 0x10,
	BASE_DATA = 0x30,
};

/* A pointer in one of the encodings that occur; `base` of BASE_DATA. */
static uint64_t take_pointer(struct reader *r, unsigned form, uintptr_t base)
{
	uintptr_t here = (uintptr_t)r->at;
	uint64_t value;

	switch (form & 0x0f) {
	case 0x00:
	case 0x04:
	case FORM_S8: value = take(r, 8); break;
	case FORM_U4: value = take(r, 4); break;
	case FORM_S4: value = (uint64_t)(int64_t)(int32_t)take(r, 4); break;
	default: r->failed = true; return 0;
	}
	switch (form & 0x70) {
	case 0: return value;
	case BASE_PC: return value + here;
	case BASE_DATA: return value + base;
	default: r->failed = true; return 0;
	}
}

/* -- finding the entry ------------------------------------------------------- */

struct cie {
	struct reader program;
	uint64_t code_align;
	int64_t data_align;
	uint64_t return_register;
	unsigned form;
	bool signal, augmented;
};

/* Reads a length; the entry's bytes are then [at, at + length). */
static struct reader entry(const unsigned char *at, const unsigned char *end)
{
	struct reader r = {at, end, false};
	uint64_t length = take(&r, 4);

	if (length == 0xffffffff || length == 0 || (uint64_t)(end - r.at) < length)
		r.failed = true;
	else
		r.end = r.at + length;
	return r;
}

static bool read_cie(const unsigned char *at, const unsigned char *end, struct cie *cie)
{
	struct reader r = entry(at, end);
	const unsigned char *name;

	if (r.failed || take(&r, 4) != 0)
		return false;
	uint64_t version = take(&r, 1);
	name = r.at;
	while (!r.failed && take(&r, 1))
		;
	*cie = (struct cie){.code_align = take_uleb(&r)};
	cie->data_align = take_sleb(&r);
	cie->return_register = version == 1 ? take(&r, 1) : take_uleb(&r);
	if (r.failed || (version != 1 && version != 3))
		return false;
	if (*name == 'z') {
		cie->augmented = true;
		uint64_t length = take_uleb(&r);
		struct reader rest = r;
		skip(&r, length);
		for (name++; *name; name++) {
			switch (*name) {
			case 'R': cie->form = (unsigned)take(&rest, 1); break;
			case 'L': take(&rest, 1); break;
			case 'P':
				take_pointer(&rest, (unsigned)take(&rest, 1) & 0x7f, 0);
				break;
			case 'S': cie->signal = true; break;
			case 'B': break;
			default: return false;
			}
		}
		if (rest.failed)
			return false;
	} else if (*name) {
		return false;
	}
	cie->program = r;
	return !r.failed;
}

/* The entry of the sorted table that begins at or before pc. */
static const unsigned char *search(const unsigned char *header, const unsigned char *end,
				   uintptr_t pc)
{
	struct reader r = {header, end, false};
	struct {
		int32_t code, entry;
	} row;

	if (take(&r, 1) != 1)
		return NULL;
	unsigned pointer_form = (unsigned)take(&r, 1), count_form = (unsigned)take(&r, 1),
		 table_form = (unsigned)take(&r, 1);
	if (r.failed || table_form != (BASE_DATA | FORM_S4) || count_form == FORM_OMIT)
		return NULL;
	take_pointer(&r, pointer_form, (uintptr_t)header);
	uint64_t count = take_pointer(&r, count_form, (uintptr_t)header);
	if (r.failed || count == 0 || count > (uint64_t)(end - r.at) / sizeof(row))
		return NULL;
	size_t low = 0, high = (size_t)count;
	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;
		memcpy(&row, r.at + middle * sizeof(row), sizeof(row));
		if ((uintptr_t)header + (uintptr_t)(intptr_t)row.code <= pc)
			low = middle;
		else
			high = middle;
	}
	memcpy(&row, r.at + low * sizeof(row), sizeof(row));
	if ((uintptr_t)header + (uintptr_t)(intptr_t)row.code > pc)
		return NULL;
	return header + row.entry;
}

/* -- running its program ------------------------------------------------------ */

enum { REGISTER_BP = 6, REGISTER_SP = 7, REGISTER_PC = 16, STATES_MAX = 8 };

enum where { SAME, AT_CFA, AT_BP, LOST };

struct row {
	enum unwind_kind kind;
	int64_t offset;
	enum where bp, pc;
	int64_t bp_offset, pc_offset;
};

static void define_cfa(struct row *row, uint64_t reg, int64_t offset)
{
	row->kind = reg == REGISTER_SP   ? UNWIND_SP
		    : reg == REGISTER_BP ? UNWIND_BP
					 : UNWIND_UNKNOWN;
	row->offset = offset;
}

static void set_register(struct row *row, uint64_t reg, enum where where, int64_t offset)
{
	if (reg == REGISTER_BP) {
		row->bp = where;
		row->bp_offset = offset;
	} else if (reg == REGISTER_PC) {
		row->pc = where;
		row->pc_offset = offset;
	}
}

/* DW_OP_breg6 offset [DW_OP_deref], the only expressions that compilers put
 * into frames of functions. */
static bool expression(struct reader *r, bool *deref, int64_t *offset)
{
	enum { OP_BREG_BP = 0x76, OP_DEREF = 0x06 };
	uint64_t length = take_uleb(r);
	struct reader block = *r;

	skip(r, length);
	if (r->failed || length == 0)
		return false;
	block.end = r->at;
	if (take(&block, 1) != OP_BREG_BP)
		return false;
	*offset = take_sleb(&block);
	*deref = block.at < block.end;
	return !block.failed &&
	       (!*deref || (take(&block, 1) == OP_DEREF && block.at == block.end));
}

/* Runs one program until the row for `pc` is complete. False: not understood. */
static bool run(struct reader r, const struct cie *cie, uint64_t at, uint64_t pc,
		const struct row *initial, struct row *row)
{
	struct row saved[STATES_MAX];
	size_t depth = 0;
	bool deref;
	int64_t offset;
	uint64_t reg;

	while (r.at < r.end && !r.failed) {
		unsigned op = (unsigned)take(&r, 1);
		uint64_t advance = 0;
		switch (op & 0xc0) {
		case 0x40: advance = (op & 0x3f) * cie->code_align; break;
		case 0x80:
			set_register(row, op & 0x3f, AT_CFA,
				     (int64_t)take_uleb(&r) * cie->data_align);
			continue;
		case 0xc0:
			if ((op & 0x3f) == REGISTER_BP) {
				row->bp = initial->bp;
				row->bp_offset = initial->bp_offset;
			} else if ((op & 0x3f) == REGISTER_PC) {
				row->pc = initial->pc;
				row->pc_offset = initial->pc_offset;
			}
			continue;
		default: break;
		}
		if (!advance) {
			switch (op) {
			case 0x40: /* an advance of nothing */
			case 0x00: break;
			case 0x01: advance = take_pointer(&r, cie->form, 0) - at; break;
			case 0x02: advance = take(&r, 1) * cie->code_align; break;
			case 0x03: advance = take(&r, 2) * cie->code_align; break;
			case 0x04: advance = take(&r, 4) * cie->code_align; break;
			case 0x05:
				reg = take_uleb(&r);
				set_register(row, reg, AT_CFA,
					     (int64_t)take_uleb(&r) * cie->data_align);
				break;
			case 0x06:
				reg = take_uleb(&r);
				if (reg == REGISTER_BP)
					row->bp = initial->bp,
					row->bp_offset = initial->bp_offset;
				break;
			case 0x07: set_register(row, take_uleb(&r), LOST, 0); break;
			case 0x08: set_register(row, take_uleb(&r), SAME, 0); break;
			case 0x09:
				set_register(row, take_uleb(&r), LOST, 0);
				take_uleb(&r);
				break;
			case 0x0a:
				if (depth == STATES_MAX)
					return false;
				saved[depth++] = *row;
				break;
			case 0x0b:
				if (depth == 0)
					return false;
				*row = saved[--depth];
				break;
			case 0x0c:
				reg = take_uleb(&r);
				define_cfa(row, reg, (int64_t)take_uleb(&r));
				break;
			case 0x0d: define_cfa(row, take_uleb(&r), row->offset); break;
			case 0x0e: row->offset = (int64_t)take_uleb(&r); break;
			case 0x0f:
				row->kind = UNWIND_UNKNOWN;
				if (expression(&r, &deref, &offset) && deref) {
					row->kind = UNWIND_BP_DEREF;
					row->offset = offset;
				}
				break;
			case 0x10:
			case 0x16:
				reg = take_uleb(&r);
				if (!expression(&r, &deref, &offset) || deref || op == 0x16)
					set_register(row, reg, LOST, 0);
				else
					set_register(row, reg, AT_BP, offset);
				break;
			case 0x11:
				reg = take_uleb(&r);
				set_register(row, reg, AT_CFA, take_sleb(&r) * cie->data_align);
				break;
			case 0x12:
				reg = take_uleb(&r);
				define_cfa(row, reg, take_sleb(&r) * cie->data_align);
				break;
			case 0x13: row->offset = take_sleb(&r) * cie->data_align; break;
			case 0x14:
				set_register(row, take_uleb(&r), LOST, 0);
				take_uleb(&r);
				break;
			case 0x15:
				set_register(row, take_uleb(&r), LOST, 0);
				take_sleb(&r);
				break;
			case 0x2e: take_uleb(&r); break;
			default: return false;
			}
		}
		at += advance;
		if (at > pc)
			break;
	}
	return !r.failed;
}

static uint64_t pack(const struct row *row)
{
	if (row->pc == LOST)
		return unwind_rule(UNWIND_END, 0, UNWIND_BP_SAME, 0);
	if (row->kind == UNWIND_UNKNOWN || row->pc != AT_CFA || row->pc_offset != -8 ||
	    row->offset != (int32_t)row->offset || row->bp_offset < -0x7fffff ||
	    row->bp_offset > 0x7fffff)
		return unwind_rule(UNWIND_STOP, 0, UNWIND_BP_SAME, 0);
	/* A lost rbp is of no use to its callers, but a wrong one is caught by
	 * the checks of whoever reads the stack. */
	return unwind_rule(row->kind, (int32_t)row->offset,
			   row->bp == AT_CFA  ? UNWIND_BP_CFA
			   : row->bp == AT_BP ? UNWIND_BP_SELF
					      : UNWIND_BP_SAME,
			   (int32_t)row->bp_offset);
}

uint64_t unwind_find(const void *eh_frame_hdr, uintptr_t start, uintptr_t end, uintptr_t pc)
{
	const unsigned char *limit = (const unsigned char *)end;
	const unsigned char *at;
	struct cie cie;
	struct row row = {.kind = UNWIND_UNKNOWN, .pc = LOST}, initial;

	if ((uintptr_t)eh_frame_hdr < start || (uintptr_t)eh_frame_hdr >= end)
		return 0;
	at = search(eh_frame_hdr, limit, pc);
	if (!at || (uintptr_t)at < start || (uintptr_t)at >= end)
		return 0;
	struct reader r = entry(at, limit);
	const unsigned char *back = r.at;
	uint64_t distance = take(&r, 4);
	if (r.failed || distance == 0 || distance > (uint64_t)back - start ||
	    !read_cie(back - distance, limit, &cie))
		return 0;
	uint64_t begin = take_pointer(&r, cie.form, 0);
	uint64_t length = take_pointer(&r, cie.form & 0x0f, 0);
	if (r.failed || pc < begin || pc - begin >= length)
		return 0;
	if (cie.augmented)
		skip(&r, take_uleb(&r));
	if (cie.signal)
		return unwind_rule(UNWIND_SIGNAL, 0, UNWIND_BP_SAME, 0);
	const uint64_t stop = unwind_rule(UNWIND_STOP, 0, UNWIND_BP_SAME, 0);
	if (cie.return_register != REGISTER_PC)
		return stop;
	row.pc = SAME;
	if (!run(cie.program, &cie, 0, 0, &row, &row))
		return stop;
	initial = row;
	if (!run(r, &cie, begin, pc, &initial, &row))
		return stop;
	return pack(&row);
}
