// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* What the collector said of the devices, and what follows from it. */
#include "core.h"

#define SZD_OLDEST_NS 3600000000000U /* a sample older than an hour is a mistake of the collector */
#define SZD_COLDEST (-100000)
#define SZD_HOTTEST 300000

static int szd_gpu_is_valid(const struct sashizu_gpu *frame)
{
	uint32_t known = frame->known;

	if (known & ~SASHIZU_KNOWN_ALL || frame->paths & ~SASHIZU_PATH_ALL ||
	    frame->age_ns > SZD_OLDEST_NS || frame->utilization > 1000 ||
	    frame->temperature < SZD_COLDEST || frame->temperature > SZD_HOTTEST)
		return 0;
	if ((!(known & SASHIZU_KNOWN_MEMORY_TOTAL) && frame->memory_total) ||
	    (!(known & SASHIZU_KNOWN_MEMORY_USED) && frame->memory_used) ||
	    (!(known & SASHIZU_KNOWN_UTILIZATION) && frame->utilization) ||
	    (!(known & SASHIZU_KNOWN_TEMPERATURE) && frame->temperature) ||
	    (!(known & SASHIZU_KNOWN_POWER) && frame->power))
		return 0;
	if (known & SASHIZU_KNOWN_MEMORY_TOTAL && frame->memory_used > frame->memory_total)
		return 0;
	if (frame->kind < SASHIZU_KIND_GPU || frame->kind > SASHIZU_KIND_NPU ||
	    frame->memory > SASHIZU_MEMORY_SHARED)
		return 0;
	return szd_text_is_clean(frame->id, sizeof(frame->id)) &&
	       szd_text_is_clean(frame->name, sizeof(frame->name)) &&
	       (szd_is_zero(frame->vendor, sizeof(frame->vendor)) ||
		szd_text_is_clean(frame->vendor, sizeof(frame->vendor))) &&
	       szd_is_zero(frame->reserved, sizeof(frame->reserved));
}

void szd_gpu_next_processes(struct szd_driver *driver, struct szd_gpu *gpu)
{
	while (gpu->earlier_count)
		szd_process_drop(driver, gpu->earlier[--gpu->earlier_count]);
	while (gpu->processes) {
		struct szd_process *process = gpu->holders[--gpu->processes].process;

		process->held[gpu - driver->gpus]--;
		process->gpu_bytes -= gpu->holders[gpu->processes].bytes;
		gpu->earlier[gpu->earlier_count++] = process;
	}
}

static void szd_gpu_forget_processes(struct szd_driver *driver, struct szd_gpu *gpu)
{
	szd_gpu_next_processes(driver, gpu);
	szd_gpu_next_processes(driver, gpu);
}

int szd_gpu_submit(struct szd_driver *driver, struct szd_client *client, struct sashizu_gpu *frame)
{
	struct szd_gpu *gpu;

	if (frame->index >= SASHIZU_MAX_GPUS || frame->index > driver->gpu_count ||
	    !szd_gpu_is_valid(frame))
		return SASHIZU_E_INVALID;
	if (driver->collector && driver->collector != client)
		return SASHIZU_E_BUSY;
	driver->collector = client;
	gpu = &driver->gpus[frame->index];
	if (frame->index == driver->gpu_count)
		driver->gpu_count++;
	else if (memcmp(gpu->sample.id, frame->id, sizeof(frame->id)))
		szd_gpu_forget_processes(driver, gpu); /* another device took its place */
	gpu->sample = *frame;
	gpu->received_ns = szd_os_now();
	frame->count = driver->gpu_count;
	frame->collector = szd_os_process_pid(client->process->system);
	return SASHIZU_E_OK;
}

static uint64_t szd_gpu_age(const struct szd_gpu *gpu)
{
	return szd_os_now() - gpu->received_ns + gpu->sample.age_ns;
}

int szd_gpu_read(struct szd_driver *driver, struct sashizu_gpu *frame)
{
	uint32_t abi = frame->abi;
	struct szd_gpu *gpu;

	if (!szd_is_zero(frame->reserved, sizeof(frame->reserved)))
		return SASHIZU_E_INVALID;
	if (!driver->collector)
		return SASHIZU_E_NOT_READY;
	if (frame->index >= driver->gpu_count)
		return SASHIZU_E_MISSING;
	gpu = &driver->gpus[frame->index];
	*frame = gpu->sample;
	frame->abi = abi;
	frame->count = driver->gpu_count;
	frame->collector = szd_os_process_pid(driver->collector->process->system);
	frame->age_ns = szd_gpu_age(gpu);
	return SASHIZU_E_OK;
}

void szd_gpu_forget(struct szd_driver *driver)
{
	while (driver->gpu_count)
		szd_gpu_forget_processes(driver, &driver->gpus[--driver->gpu_count]);
}

/* Better answers have higher numbers; devices compete by free memory within the best answer. */
static uint32_t szd_gpu_judge(const struct szd_client *client, const struct szd_gpu *gpu,
			      uint64_t bytes)
{
	const uint32_t memory = SASHIZU_KNOWN_MEMORY_TOTAL | SASHIZU_KNOWN_MEMORY_USED;

	if (szd_gpu_age(gpu) > SASHIZU_STALE_NS)
		return SASHIZU_REASON_STALE;
	if (!(gpu->sample.paths & client->paths & ~SASHIZU_PATH_CPU))
		return SASHIZU_REASON_NO_COMMON_PATH;
	if ((gpu->sample.known & memory) != memory)
		return SASHIZU_REASON_MEMORY_UNKNOWN;
	if (gpu->sample.memory_total - gpu->sample.memory_used < bytes)
		return SASHIZU_REASON_NO_ROOM;
	return SASHIZU_REASON_MOST_FREE;
}

static uint32_t szd_highest_bit(uint32_t bits)
{
	while (bits & (bits - 1))
		bits &= bits - 1;
	return bits;
}

/* Of several refusals the last one in the order of the checks is told: it came closest. */
int szd_gpu_path(struct szd_driver *driver, struct szd_client *client,
		 struct sashizu_gpu_path *frame)
{
	uint32_t index, reason, refusal = SASHIZU_REASON_NO_DEVICE;

	if (frame->reserved)
		return SASHIZU_E_INVALID;
	if (!client->runtime)
		return SASHIZU_E_NOT_READY;
	frame->path = SASHIZU_PATH_CPU;
	frame->index = SZD_NO_INDEX;
	frame->free_bytes = 0;
	frame->age_ns = 0;
	for (index = 0; index < driver->gpu_count; index++) {
		const struct szd_gpu *gpu = &driver->gpus[index];
		uint64_t room = gpu->sample.memory_total - gpu->sample.memory_used;

		reason = szd_gpu_judge(client, gpu, frame->bytes);
		if (reason != SASHIZU_REASON_MOST_FREE) {
			if (reason > refusal)
				refusal = reason;
			continue;
		}
		if (frame->index != SZD_NO_INDEX && room <= frame->free_bytes)
			continue;
		frame->path = szd_highest_bit(gpu->sample.paths & client->paths);
		frame->index = index;
		frame->free_bytes = room;
		frame->age_ns = szd_gpu_age(gpu);
	}
	frame->reason = frame->index == SZD_NO_INDEX ? refusal : SASHIZU_REASON_MOST_FREE;
	return SASHIZU_E_OK;
}
