/* SPDX-License-Identifier: MIT */
#include "server/operation/privileges.h"

#include "base/str.h"
#include "base/units.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

struct identity {
	uid_t uid;
	gid_t gid;
	const char *name; /* of the user, for its supplementary groups; NULL: none known */
};

static bool number_of(const char *text, uint32_t *number)
{
	struct err ignored;
	uint64_t value;

	if (units_parse_count(str_of(text), &value, &ignored) < 0 || value >= UINT32_MAX)
		return false;
	*number = (uint32_t)value;
	return true;
}

static int user_find(const char *text, struct identity *identity, struct err *err)
{
	struct passwd *entry = getpwnam(text);

	if (!entry && number_of(text, &identity->uid))
		entry = getpwuid(identity->uid);
	else if (!entry)
		return err_set(err, "there is no user '%s'", text);
	if (!entry) {
		identity->gid = (gid_t)identity->uid;
		return 0;
	}
	identity->uid = entry->pw_uid;
	identity->gid = entry->pw_gid;
	identity->name = entry->pw_name;
	return 0;
}

static int group_find(const char *text, gid_t *gid, struct err *err)
{
	const struct group *entry = getgrnam(text);

	if (entry)
		*gid = entry->gr_gid;
	else if (!number_of(text, gid))
		return err_set(err, "there is no group '%s'", text);
	return 0;
}

/* What the server wants later and only root may allow itself. */
static void limits_raise(const struct plan *plan)
{
	struct rlimit descriptors;
	const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	rlim_t need = 2 * (rlim_t)plan->connections + 64;

	if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_max < need) {
		descriptors = (struct rlimit){need, need};
		setrlimit(RLIMIT_NOFILE, &descriptors);
	}
	if (plan->mlock)
		setrlimit(RLIMIT_MEMLOCK, &all);
}

int privileges_drop(const struct plan *plan, const char **key, struct err *err)
{
	struct identity identity = {getuid(), getgid(), NULL};

	*key = "user";
	if (!plan->user[0] && !plan->group[0])
		return 0;
	if (plan->user[0] && user_find(plan->user, &identity, err) < 0)
		return -1;
	if (plan->group[0]) {
		*key = "group";
		if (group_find(plan->group, &identity.gid, err) < 0)
			return -1;
		*key = plan->user[0] ? "user" : "group";
	}
	if (identity.uid == geteuid() && identity.gid == getegid() && geteuid() != 0)
		return 0; /* it is that already */
	limits_raise(plan);
	int failed = identity.name ? initgroups(identity.name, identity.gid)
				   : setgroups(1, &identity.gid);
	if (failed < 0 || setresgid(identity.gid, identity.gid, identity.gid) < 0 ||
	    setresuid(identity.uid, identity.uid, identity.uid) < 0)
		return err_errno(err,
				 "can't become user %u, group %u (start it as root, or "
				 "leave user and group out)",
				 (unsigned)identity.uid, (unsigned)identity.gid);
	if (identity.uid != 0 && setuid(0) == 0)
		return err_set(err, "user 0 could be had back");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(err, "can't give up new privileges");
	return 0;
}
