/* SPDX-License-Identifier: MIT */
/* A library for victim_stacks to load: calls back from a frame of its own. */
void plugin_call(void (*back)(void));
static void plugin_inner(void (*back)(void));

__attribute__((noinline)) static void plugin_inner(void (*back)(void))
{
	back();
	__asm__ volatile("" ::: "memory");
}

void plugin_call(void (*back)(void))
{
	plugin_inner(back);
	__asm__ volatile("" ::: "memory");
}
