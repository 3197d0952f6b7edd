/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
#ifndef SASHIZU_BENCH_OS_H
#define SASHIZU_BENCH_OS_H

#include "../core/core.h"

#define BENCH_PROCESSES 1024

struct bench_os {
	uint64_t now;
	struct szd_ticket *ticket; /* the newest */
	int32_t allocated; /* pieces of memory that the core holds */
	int32_t allocations_left; /* then there is no more memory; -1: for ever */
	uint32_t caller;
	uint32_t hidden; /* a process that the caller does not see */
	uint32_t foreign; /* one that the caller may not give hints for */
	int32_t references[BENCH_PROCESSES];
	int32_t nice[BENCH_PROCESSES];
	uint8_t alive[BENCH_PROCESSES];
};

extern struct bench_os bench_os;

void bench_reset(void);
struct szd_driver *bench_driver(uint64_t pool, uint64_t client, uint32_t slots);
int bench_call(struct szd_driver *driver, struct szd_client *client, uint32_t function, void *frame,
	       size_t bytes, int32_t *waiter);

#endif
