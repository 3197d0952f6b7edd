// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* What the core asks of Linux. A process is a struct pid: it is never given to another one. */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>

#include "module.h"

void *szd_os_alloc(size_t bytes)
{
	return kzalloc(bytes, GFP_KERNEL_ACCOUNT);
}

void szd_os_free(void *memory)
{
	kfree(memory);
}

u64 szd_os_now(void)
{
	return ktime_get_boottime_ns();
}

void *szd_os_process_find(u32 number)
{
	struct pid *pid;

	if (!number)
		return get_pid(task_tgid(current));
	if (number > INT_MAX)
		return NULL;
	pid = find_get_pid(number);
	if (pid && !szd_os_process_alive(pid)) { /* of a thread, or of one that ended */
		put_pid(pid);
		return NULL;
	}
	return pid;
}

void szd_os_process_drop(void *pid)
{
	put_pid(pid);
}

int szd_os_process_alive(void *pid)
{
	return pid_has_task(pid, PIDTYPE_TGID);
}

u32 szd_os_process_pid(void *pid)
{
	return pid_vnr(pid);
}

void szd_os_process_name(void *pid, u8 *name)
{
	struct task_struct *task = get_pid_task(pid, PIDTYPE_TGID);
	char comm[TASK_COMM_LEN];

	if (!task)
		return;
	get_task_comm(comm, task);
	memcpy(name, comm, strnlen(comm, sizeof(comm)));
	put_task_struct(task);
}

/* What setpriority(2) asks for, but for the security module's say, which no module can ask. */
static int szd_may_renice(struct task_struct *task, int nice)
{
	const struct cred *cred;
	int mine;

	if (capable(CAP_SYS_NICE))
		return SASHIZU_E_OK;
	rcu_read_lock();
	cred = __task_cred(task);
	mine = uid_eq(cred->uid, current_euid()) || uid_eq(cred->euid, current_euid());
	rcu_read_unlock();
	if (!mine)
		return SASHIZU_E_DENIED;
	if (nice < task_nice(task) && MAX_NICE - nice + 1 > task_rlimit(task, RLIMIT_NICE))
		return SASHIZU_E_DENIED;
	return SASHIZU_E_OK;
}

/* Threads that someone set apart keep what they have. */
static void szd_renice(struct task_struct *process, int before, int after)
{
	struct task_struct *thread;

	rcu_read_lock();
	for_each_thread(process, thread)
		if (task_nice(thread) == before)
			set_user_nice(thread, after);
	rcu_read_unlock();
}

int szd_os_hint(void *pid, s32 nice, s32 *before, s32 *after)
{
	struct task_struct *task = get_pid_task(pid, PIDTYPE_TGID);
	int status;

	if (!task)
		return SASHIZU_E_MISSING;
	status = szd_may_renice(task, nice);
	if (status == SASHIZU_E_OK) {
		*before = task_nice(task);
		*after = nice;
		szd_renice(task, *before, *after);
	}
	put_task_struct(task);
	return status;
}

void szd_os_unhint(void *pid, s32 before, s32 after)
{
	struct task_struct *task = get_pid_task(pid, PIDTYPE_TGID);

	if (!task)
		return;
	szd_renice(task, after, before);
	put_task_struct(task);
}
