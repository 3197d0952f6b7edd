// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The core on a system that tests make up: processes are numbers that live or not, time is set by
 * hand, memory can run out. Built as a shared library for Python and together with the fuzzer.
 */
#include "bench_os.h"

#include <stdlib.h>

struct bench_os bench_os;

void bench_reset(void)
{
	memset(&bench_os, 0, sizeof(bench_os));
	bench_os.now = 1000000000U;
	bench_os.caller = 100;
	bench_os.allocations_left = -1;
	memset(bench_os.alive, 1, sizeof(bench_os.alive));
}

void *szd_os_alloc(size_t bytes)
{
	void *memory;

	if (bench_os.allocations_left == 0)
		return NULL;
	if (bench_os.allocations_left > 0)
		bench_os.allocations_left--;
	memory = calloc(1, bytes);
	if (memory)
		bench_os.allocated++;
	return memory;
}

void szd_os_free(void *memory)
{
	bench_os.allocated--;
	free(memory);
}

uint64_t szd_os_now(void)
{
	return bench_os.now;
}

void *szd_os_process_find(uint32_t pid)
{
	if (!pid)
		pid = bench_os.caller;
	if (pid >= BENCH_PROCESSES || !bench_os.alive[pid])
		return NULL;
	bench_os.references[pid]++;
	return &bench_os.references[pid];
}

static uint32_t bench_pid(const void *system)
{
	return (uint32_t)((const int32_t *)system - bench_os.references);
}

void szd_os_process_drop(void *system)
{
	bench_os.references[bench_pid(system)]--;
}

int szd_os_process_alive(void *system)
{
	return bench_os.alive[bench_pid(system)];
}

uint32_t szd_os_process_pid(void *system)
{
	return bench_pid(system) == bench_os.hidden ? 0 : bench_pid(system);
}

void szd_os_process_name(void *system, uint8_t *name)
{
	(void)system;
	memcpy(name, "bench", 5);
}

int szd_os_hint(void *system, int32_t nice, int32_t *before, int32_t *after)
{
	if (bench_pid(system) == bench_os.foreign)
		return SASHIZU_E_DENIED;
	*before = bench_os.nice[bench_pid(system)];
	*after = bench_os.nice[bench_pid(system)] = nice;
	return SASHIZU_E_OK;
}

void szd_os_unhint(void *system, int32_t before, int32_t after)
{
	if (bench_os.nice[bench_pid(system)] == after)
		bench_os.nice[bench_pid(system)] = before;
}

int szd_os_granted(void *waiter)
{
	*(int32_t *)waiter += 1;
	return *(int32_t *)waiter == 1; /* a waiter that was left is 1 already */
}

void szd_os_memory_place(struct szd_buffer *buffer, struct sashizu_pool_map *map)
{
	map->offset = (uint64_t)buffer->handle << 32;
	map->pinned = 0;
}

void szd_os_memory_free(void *memory)
{
	bench_os.allocated--;
	free(memory);
}

struct szd_driver *bench_driver(uint64_t pool, uint64_t client, uint32_t slots)
{
	struct szd_driver *driver = calloc(1, sizeof(*driver));

	if (!driver)
		abort();
	driver->pool_bytes = pool;
	driver->client_bytes = client;
	driver->granule = 65536;
	driver->slots = slots;
	driver->system = SASHIZU_SYSTEM_TEST;
	driver->features = 0x77;
	return driver;
}

/* What a layer does with a frame. SZD_PENDING leaves the ticket in `bench_os.ticket`. */
int bench_call(struct szd_driver *driver, struct szd_client *client, uint32_t function, void *frame,
	       size_t bytes, int32_t *waiter)
{
	struct szd_buffer *buffer;
	void *memory;
	int status = szd_check(function, frame, bytes);

	if (status != SASHIZU_E_OK)
		return status;
	if (function == SASHIZU_FN_POOL_ALLOC) {
		status = szd_pool_charge(driver, client, frame, &buffer);
		if (status != SASHIZU_E_OK)
			return status;
		memory = szd_os_alloc(1);
		if (memory)
			szd_pool_ready(buffer, memory);
		else
			szd_pool_drop(driver, buffer);
		return memory ? SASHIZU_E_OK : SASHIZU_E_MEMORY;
	}
	if (function == SASHIZU_FN_SLOT_WAIT) {
		status = szd_slot_enter(driver, client, frame, waiter, &bench_os.ticket);
		if (status == SASHIZU_E_OK)
			szd_slot_answer(bench_os.ticket, frame);
		return status;
	}
	return szd_call(driver, client, function, frame);
}
