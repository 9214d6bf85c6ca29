/* SPDX-License-Identifier: MIT */
/* No pail_handle(). */
int something(void);
int something(void)
{
	return 1;
}
