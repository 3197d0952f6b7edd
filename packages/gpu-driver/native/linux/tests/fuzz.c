// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Calls with anything in them, from four threads at once, while others map, close and die. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../include/sashizu_driver.h"

#define THREADS 4
#define FILES 4

static int files[FILES];
static time_t until;
static unsigned long done[THREADS], good[THREADS];

static unsigned int roll(unsigned int *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static unsigned long edge(unsigned int *state)
{
	static const unsigned long edges[] = { 0, 1, 2, 3, 15, 16, 17, 64, 255, 65535, 65536, 131072,
		1UL << 20, 1UL << 27, 0x7FFFFFFFUL, 0x80000000UL, 0xFFFFFFFFUL, 1UL << 32, ~0UL, ~0UL << 16 };

	return roll(state) % 4 ? edges[roll(state) % (sizeof(edges) / sizeof(edges[0]))] : roll(state);
}

static const struct { unsigned int code, bytes; } functions[] = {
#define ROW(name, number, access, layout) \
	{ SASHIZU_LINUX_CODE(number, layout), sizeof(struct sashizu_##layout) },
	SASHIZU_FUNCTIONS(ROW)
};

static void fill(unsigned char *frame, unsigned int bytes, unsigned int *state)
{
	unsigned int head[2] = { bytes, SASHIZU_ABI }, at;

	memset(frame, 0, bytes);
	for (at = 8; at + 4 <= bytes && at < 200; at += 4)
		if (roll(state) % 3 == 0) {
			unsigned long value = edge(state);

			memcpy(frame + at, &value, at % 8 || at + 8 > bytes ? 4 : 8);
		}
	if (roll(state) % 4 == 0 && bytes > 100) /* some text, so that submissions pass */
		memcpy(frame + 64, "GPU-0\0\0\0", 8);
	if (bytes == sizeof(struct sashizu_gpu) && roll(state) % 2) {
		struct sashizu_gpu *gpu = (struct sashizu_gpu *)frame;

		memset(gpu->id, 0, bytes - offsetof(struct sashizu_gpu, id));
		gpu->known = roll(state) % 2 ? 0 : SASHIZU_KNOWN_MEMORY_TOTAL;
		gpu->memory_used = gpu->utilization = gpu->power = 0;
		gpu->temperature = 0;
		gpu->memory_total = gpu->known ? gpu->memory_total : 0;
		gpu->paths &= SASHIZU_PATH_ALL;
		gpu->index %= 3;
		gpu->age_ns &= 0xFFFFFFFF;
		gpu->id[0] = gpu->name[0] = 'A' + (unsigned char)gpu->index;
		gpu->kind = SASHIZU_KIND_GPU;
	}
	if (roll(state) % 50 == 0)
		head[roll(state) % 2] ^= 1U << roll(state) % 32;
	memcpy(frame, head, sizeof(head));
	if (bytes == sizeof(struct sashizu_slot)) /* no long waits */
		((struct sashizu_slot *)frame)->timeout_ms = roll(state) % 3;
}

static void one(unsigned int *state, int fd, unsigned long *passed)
{
	unsigned char frame[4096] __attribute__((aligned(8)));
	unsigned int which = roll(state) % SASHIZU_FN_COUNT, code = functions[which].code;
	void *at = frame;

	fill(frame, functions[which].bytes, state);
	if (roll(state) % 40 == 0)
		code ^= 1U << roll(state) % 32;
	if (roll(state) % 60 == 0)
		at = (void *)edge(state);
	if (ioctl(fd, code, at) == 0)
		++*passed;
	if (which == SASHIZU_FN_POOL_ALLOC && at == frame && roll(state) % 2) {
		struct sashizu_pool_alloc *taken = at;
		unsigned char *memory = mmap(NULL, taken->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
					     (off_t)taken->handle << 32);

		if (memory != MAP_FAILED) {
			memory[0] = 1;
			memory[taken->bytes - 1] = 1;
			if (roll(state) % 4)
				munmap(memory, taken->bytes);
		}
	}
}

static void *work(void *argument)
{
	long me = (long)argument;
	unsigned int state = 0x9E3779B9U * (unsigned int)(me + 1);

	while (time(NULL) < until) {
		int which = (int)(roll(&state) % FILES);

		if (roll(&state) % 200 == 0) {
			int fresh = open(SASHIZU_LINUX_DEVICE, O_RDWR);
			int old = __atomic_exchange_n(&files[which], fresh, __ATOMIC_SEQ_CST);

			close(old);
		}
		one(&state, files[which], &good[me]);
		done[me]++;
	}
	return NULL;
}

static void killed(void) /* a client that dies in the middle of it */
{
	pid_t child = fork();

	if (!child) {
		unsigned int state = (unsigned int)getpid() * 2654435761U | 1;
		int fd = open(SASHIZU_LINUX_DEVICE, O_RDWR);
		unsigned long passed = 0;

		for (;;)
			one(&state, fd, &passed);
	}
	usleep(100000);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

int main(int count, char **words)
{
	unsigned long all = 0, passed = 0;
	pthread_t threads[THREADS];
	long at;

	until = time(NULL) + (count > 1 ? atoi(words[1]) : 5);
	for (at = 0; at < FILES; at++)
		files[at] = open(SASHIZU_LINUX_DEVICE, O_RDWR);
	for (at = 0; at < THREADS; at++)
		pthread_create(&threads[at], NULL, work, (void *)at);
	while (time(NULL) < until)
		killed();
	for (at = 0; at < THREADS; at++) {
		pthread_join(threads[at], NULL);
		all += done[at];
		passed += good[at];
	}
	printf("fuzzed: %lu calls, %lu of them answered\n", all, passed);
	return all < 1000 || passed < 100;
}
