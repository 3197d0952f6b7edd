// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Any sequence of calls on the core: nothing may be counted wrong, and nothing be left at the end.
 * Built with -fsanitize=fuzzer,address,undefined.
 */
#include "bench_os.h"

#include <stdlib.h>

#define CLIENTS 4
#define WAITS 64
#define POOL (1U << 20)

struct input {
	const uint8_t *at;
	size_t left;
};

static uint8_t next(struct input *input)
{
	if (!input->left)
		return 0;
	input->left--;
	return *input->at++;
}

static void expect(int good)
{
	if (!good)
		abort();
}

static void fill_gpu(struct input *input, struct sashizu_gpu *gpu)
{
	gpu->index = next(input) % 3;
	gpu->id[0] = (uint8_t)('a' + next(input) % 3);
	gpu->name[0] = 'n';
	gpu->kind = SASHIZU_KIND_GPU;
	gpu->known = next(input) & 3;
	gpu->memory_total = gpu->known & 1 ? 200 : 0;
	gpu->memory_used = gpu->known & 2 ? next(input) % 200 : 0;
	gpu->paths = next(input) & SASHIZU_PATH_ALL;
}

static void fill_processes(struct input *input, struct sashizu_process_submit *frame)
{
	uint32_t at;

	frame->index = next(input) % 3;
	frame->flags = next(input) & SASHIZU_SUBMIT_BEGIN;
	frame->count = next(input) % 4;
	for (at = 0; at < frame->count; at++)
		frame->entries[at].pid = 200 + next(input) % 50;
}

static void fill_hint(struct input *input, uint32_t function, struct sashizu_hint *frame)
{
	uint8_t pid = next(input) % 64;

	frame->pid = pid ? 200U + pid : 0;
	if (function == SASHIZU_FN_HINT_SET)
		frame->nice = next(input) % SASHIZU_MAX_LOWER;
}

/* Small numbers everywhere, the head mostly right, so that calls get past the first checks. */
static void fill(struct input *input, uint32_t function, uint8_t *frame, size_t bytes)
{
	uint32_t head[2] = { (uint32_t)bytes, SASHIZU_ABI };
	uint8_t wild = next(input), at;

	memset(frame, 0, bytes);
	if (function == SASHIZU_FN_GPU_SUBMIT)
		fill_gpu(input, (struct sashizu_gpu *)frame);
	if (function == SASHIZU_FN_PROCESS_SUBMIT)
		fill_processes(input, (struct sashizu_process_submit *)frame);
	if (function == SASHIZU_FN_HINT_SET || function == SASHIZU_FN_HINT_UNDO)
		fill_hint(input, function, (struct sashizu_hint *)frame);
	if (function == SASHIZU_FN_POOL_ALLOC)
		((struct sashizu_pool_alloc *)frame)->bytes = (uint64_t)(next(input) % 20) << 16;
	if (function == SASHIZU_FN_POOL_FREE || function == SASHIZU_FN_POOL_MAP)
		((struct sashizu_pool_free *)frame)->handle = next(input) % 8;
	if (function == SASHIZU_FN_RUNTIME_REGISTER)
		((struct sashizu_runtime *)frame)->name[0] = 'r';
	if (function == SASHIZU_FN_SLOT_WAIT) {
		((struct sashizu_slot *)frame)->priority = next(input) % 10;
		((struct sashizu_slot *)frame)->timeout_ms = next(input);
	}
	if (function == SASHIZU_FN_SLOT_DONE)
		((struct sashizu_slot *)frame)->ticket = next(input) % 16;
	for (at = 0; wild % 4 == 0 && at < wild >> 4; at++) {
		size_t place = 8 + (((size_t)next(input) | (size_t)next(input) << 8) % (bytes - 8));

		frame[place] = next(input);
	}
	if (next(input) % 32 == 0)
		head[next(input) % 2] ^= next(input);
	memcpy(frame, head, sizeof(head));
}

/* A wait that is over in time, or that its program gives up. */
static void cancel(struct input *input, struct szd_driver *driver)
{
	struct szd_ticket *ticket;
	uint8_t skip = next(input) % 4;

	for (ticket = driver->tickets; ticket; ticket = ticket->next)
		if (ticket->state == SZD_WAITING && !skip--)
			break;
	if (ticket)
		expect(szd_slot_cancel(driver, ticket));
}

/* A mapping that is made where there is none, or ends. */
static void map(struct input *input, struct szd_driver *driver, struct szd_client *client,
		struct szd_buffer **mapped)
{
	struct szd_buffer *buffer = *mapped;

	*mapped = NULL;
	if (buffer)
		szd_pool_let_go(driver, buffer);
	else
		*mapped = szd_pool_hold(client, next(input) % 8, (uint64_t)(next(input) % 20) << 16);
}

/* As the layers do: a handle is closed after its mappings. */
static void leave(struct szd_driver *driver, struct szd_client **client, struct szd_buffer **mapped)
{
	if (*mapped)
		szd_pool_let_go(driver, *mapped);
	szd_close(driver, *client);
	*mapped = NULL;
	*client = NULL;
}

static void check(const struct szd_driver *driver)
{
	expect(driver->pool_used <= driver->pool_bytes);
	expect(driver->running <= driver->slots);
	expect(driver->running == driver->slots || !driver->waiting);
	expect(driver->gpu_count <= SASHIZU_MAX_GPUS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, size };
	struct szd_client *clients[CLIENTS] = { 0 };
	struct szd_buffer *mapped[CLIENTS] = { 0 };
	static int32_t waiters[WAITS];
	uint8_t frame[2048] __attribute__((aligned(8)));
	struct szd_driver *driver;
	size_t waits = 0, at;

	bench_reset();
	memset(waiters, 0, sizeof(waiters));
	driver = bench_driver(POOL, POOL / 2, 1 + next(&input) % 2);
	while (input.left) {
		uint8_t what = next(&input);
		struct szd_client **client = &clients[what % CLIENTS];
		uint32_t function = next(&input) % (SASHIZU_FN_COUNT + 2);
		size_t bytes = szd_frame_bytes(function) ? szd_frame_bytes(function) : 64;

		bench_os.now += (uint64_t)next(&input) << 24;
		bench_os.caller = 100 + what % 7;
		bench_os.alive[200 + what % 50] ^= what > 240;
		if (what > 250)
			bench_os.allocations_left = next(&input) % 4;
		else if (what > 245)
			bench_os.allocations_left = -1;
		if (!*client) {
			*client = szd_open(driver);
		} else if (what / CLIENTS % 16 == 0) {
			leave(driver, client, &mapped[what % CLIENTS]);
		} else if (what / CLIENTS % 16 == 1) {
			cancel(&input, driver);
		} else if (what / CLIENTS % 16 == 2) {
			map(&input, driver, *client, &mapped[what % CLIENTS]);
		} else {
			fill(&input, function, frame, bytes);
			waiters[waits % WAITS] = next(&input) % 8 == 0; /* some leave at once */
			bench_call(driver, *client, function, frame, bytes, &waiters[waits % WAITS]);
			waits += function == SASHIZU_FN_SLOT_WAIT;
		}
		check(driver);
	}
	for (at = 0; at < CLIENTS; at++)
		if (clients[at])
			leave(driver, &clients[at], &mapped[at]);
	expect(!bench_os.allocated && !driver->processes && !driver->tickets && !driver->pool_used);
	expect(!driver->running && !driver->waiting && !driver->hint_count && !driver->buffer_count);
	for (at = 0; at < BENCH_PROCESSES; at++)
		expect(!bench_os.references[at]);
	free(driver);
	return 0;
}
