// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Processes that are listed by a rule: a runtime registered, memory of a GPU or of the pool held. */
#include "core.h"

/* The entry of a process, with one reference more; NULL with a status. */
struct szd_process *szd_process_hold(struct szd_driver *driver, uint32_t pid, int *status)
{
	struct szd_process **at = &driver->processes;
	void *system = szd_os_process_find(pid);

	*status = SASHIZU_E_MISSING;
	if (!system)
		return NULL;
	for (; *at; at = &(*at)->next) {
		if ((*at)->system == system) {
			szd_os_process_drop(system);
			(*at)->refs++;
			return *at;
		}
	}
	*status = SASHIZU_E_MEMORY;
	*at = szd_os_alloc(sizeof(**at));
	if (!*at) {
		szd_os_process_drop(system);
		return NULL;
	}
	(*at)->system = system;
	(*at)->serial = ++driver->last_serial;
	(*at)->refs = 1;
	return *at;
}

void szd_process_drop(struct szd_driver *driver, struct szd_process *process)
{
	struct szd_process **at = &driver->processes;

	if (--process->refs)
		return;
	while (*at != process)
		at = &(*at)->next;
	*at = process->next;
	szd_os_process_drop(process->system);
	szd_os_free(process);
}

static int szd_submit_one(struct szd_driver *driver, struct szd_gpu *gpu,
			  const struct sashizu_gpu_process *entry)
{
	struct szd_process *process;
	int status;

	process = szd_process_hold(driver, entry->pid, &status);
	if (!process)
		return status;
	if (gpu->processes == SASHIZU_MAX_GPU_PROCESSES ||
	    process->gpu_bytes + entry->bytes < entry->bytes) {
		szd_process_drop(driver, process);
		return SASHIZU_E_FULL;
	}
	gpu->holders[gpu->processes].process = process;
	gpu->holders[gpu->processes++].bytes = entry->bytes;
	process->held[gpu - driver->gpus]++;
	process->gpu_bytes += entry->bytes;
	return SASHIZU_E_OK;
}

int szd_process_submit(struct szd_driver *driver, struct sashizu_process_submit *frame)
{
	struct szd_gpu *gpu;
	uint32_t at;

	if (frame->flags & ~SASHIZU_SUBMIT_BEGIN || frame->count > SASHIZU_BATCH ||
	    frame->reserved)
		return SASHIZU_E_INVALID;
	for (at = 0; at < frame->count; at++)
		if (!frame->entries[at].pid || frame->entries[at].reserved)
			return SASHIZU_E_INVALID;
	if (frame->index >= driver->gpu_count)
		return SASHIZU_E_MISSING;
	gpu = &driver->gpus[frame->index];
	if (frame->flags & SASHIZU_SUBMIT_BEGIN)
		szd_gpu_next_processes(driver, gpu);
	gpu->processes_ns = szd_os_now();
	frame->accepted = 0;
	for (at = 0; at < frame->count; at++) {
		int status = szd_submit_one(driver, gpu, &frame->entries[at]);

		if (status == SASHIZU_E_OK)
			frame->accepted++;
		else if (status != SASHIZU_E_MISSING) /* one that has ended is not an error */
			return status;
	}
	return SASHIZU_E_OK;
}

static uint32_t szd_process_gpus(const struct szd_process *process)
{
	uint32_t index, bits = 0;

	for (index = 0; index < SASHIZU_MAX_GPUS; index++)
		bits |= (process->held[index] ? 1U : 0U) << index;
	return bits;
}

static uint32_t szd_process_rules(const struct szd_process *process)
{
	return (process->runtimes ? SASHIZU_RULE_RUNTIME : 0) |
	       (szd_process_gpus(process) ? SASHIZU_RULE_GPU : 0) |
	       (process->pool_bytes ? SASHIZU_RULE_POOL : 0);
}

static uint64_t szd_processes_age(const struct szd_driver *driver)
{
	uint64_t now = szd_os_now(), age, oldest = 0;
	uint32_t index;

	for (index = 0; index < driver->gpu_count; index++) {
		age = now - driver->gpus[index].processes_ns;
		if (driver->gpus[index].processes && age > oldest)
			oldest = age;
	}
	return oldest;
}

void szd_process_list(struct szd_driver *driver, struct sashizu_process_list *frame)
{
	const struct szd_process *process;
	struct sashizu_process *entry;
	uint64_t cursor = frame->cursor;
	uint32_t pid, rules;

	frame->count = 0;
	frame->more = 0;
	frame->age_ns = szd_processes_age(driver);
	memset(frame->entries, 0, sizeof(frame->entries));
	for (process = driver->processes; process; process = process->next) {
		rules = szd_process_rules(process);
		if (process->serial <= cursor || !rules || !szd_os_process_alive(process->system))
			continue;
		pid = szd_os_process_pid(process->system);
		if (!pid)
			continue;
		if (frame->count == SASHIZU_BATCH) {
			frame->more = 1;
			return;
		}
		entry = &frame->entries[frame->count++];
		entry->serial = frame->cursor = process->serial;
		entry->pid = pid;
		entry->rules = rules;
		entry->gpus = szd_process_gpus(process);
		entry->gpu_bytes = process->gpu_bytes;
		entry->pool_bytes = process->pool_bytes;
		szd_os_process_name(process->system, entry->name);
	}
}
