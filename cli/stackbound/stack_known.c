/* SPDX-License-Identifier: MIT */
#include "cli/stackbound/stack_known.h"

const char stack_known_source[] = "measured: glibc 2.36, x86-64, bound at load";

/* snprintf: "%.65536f" and the like; without floating point 2216 were seen. */
const struct stack_known stack_known[] = {
	{"memcpy", 16},
	{"memmove", 16},
	{"memset", 16},
	{"memcmp", 16},
	{"memchr", 16},
	{"strlen", 16},
	{"strnlen", 16},
	{"strcmp", 16},
	{"strncmp", 16},
	{"strcasecmp", 16},
	{"strncasecmp", 16},
	{"strchr", 16},
	{"strrchr", 16},
	{"strstr", 40},
	{"strspn", 16},
	{"strcspn", 16},
	{"strtol", 96},
	{"strtoul", 88},
	{"strtoll", 96},
	{"strtoull", 88},
	{"atoi", 96},
	{"strtod", 1328},
	{"snprintf", 54528},
	{"vsnprintf", 54528},
	{"sprintf", 54528},
	{"clock_gettime", 72},
	{"time", 16},
	{"getpid", 16},
	{"gmtime_r", 1040},
	{"strerror_r", 400},
	{"__snprintf_chk", 54528},
	{"__sprintf_chk", 54528},
	{"__memcpy_chk", 16},
	{"__memset_chk", 16},
	{"__memmove_chk", 16},
};
const size_t stack_known_count = sizeof(stack_known) / sizeof(stack_known[0]);
