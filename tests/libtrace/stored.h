/* SPDX-License-Identifier: MIT */
/*
 * A trace in a folder of its own, for tests of the store: stored_path is the
 * trace's file, and stored_folder holds nothing else, so that what is left behind
 * can be counted. A test of STORED_TEST starts with the folder empty; the group
 * runs between stored_begin and stored_end. Whatever goes wrong in here fails the
 * test that called.
 */
#ifndef PAIL_TESTS_STORED_H
#define PAIL_TESTS_STORED_H

#include "libtrace/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define STORED_TEST(name) cmocka_unit_test_setup(name, stored_setup)

extern char stored_folder[];
extern char stored_path[64];

int stored_begin(void **state);
int stored_end(void **state);
int stored_setup(void **state);

void stored_clean(void);
/* How many files are in the folder, those whose names start with a dot too. */
int stored_files(void);

/* xorshift64; the same from the same stored_seed (not 0). */
extern uint64_t stored_seed;
uint64_t stored_random(void);

/* The request of number i (from 0): its own in every field that differs between
   requests. The text stays until the next call. */
struct trace_request stored_sample(int64_t i);

/* A new trace of that many samples, not yet committed. */
struct trace *stored_create(int64_t requests);
void stored_commit(struct trace *t);
struct trace *stored_reopen(void);

/* Runs a statement on the file with the sqlite3 program. */
void stored_sql(const char *statement);
/* The digest and the number of the file's requests, as the simulator has them. */
void stored_digest(char digest[65], size_t *count);

#endif
