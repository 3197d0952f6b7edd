/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the driver does, without a system: both drivers and the tests compile the same files.
 *
 * Nothing here locks. The layer around it holds one lock during every szd_ call, may sleep in it,
 * and copies frames from and to user memory outside of it.
 */
#ifndef SASHIZU_CORE_H
#define SASHIZU_CORE_H

#include "../include/sashizu_driver.h"

#if defined(__KERNEL__)
#include <linux/string.h>
#else
#include <string.h>
#endif

#define SZD_PENDING (-1) /* the ticket waits; the layer is told by szd_os_granted */
#define SZD_NO_INDEX 0xFFFFFFFFU

struct szd_process { /* one that a client or the collector named; exists while refs > 0 */
	struct szd_process *next;
	void *system; /* the system's own reference: outlives the process, is never reused */
	uint64_t serial;
	uint64_t gpu_bytes;
	uint64_t pool_bytes;
	uint32_t refs;
	uint16_t held[SASHIZU_MAX_GPUS]; /* how often it was submitted for each device */
	uint32_t runtimes;
};

struct szd_gpu {
	struct sashizu_gpu sample;
	uint64_t received_ns;
	uint64_t processes_ns;
	uint32_t processes;
	uint32_t earlier_count;
	struct {
		struct szd_process *process;
		uint64_t bytes;
	} holders[SASHIZU_MAX_GPU_PROCESSES];
	/* of the submission before: one that is in both keeps its entry, and so its serial */
	struct szd_process *earlier[SASHIZU_MAX_GPU_PROCESSES];
};

struct szd_client;

struct szd_buffer {
	struct szd_buffer *next;
	struct szd_client *client;
	struct szd_process *process; /* charged */
	void *memory; /* the layer's; NULL until it is ready */
	uint64_t bytes;
	uint32_t handle;
	uint32_t refs; /* the handle, and each mapping */
};

struct szd_hint {
	struct szd_hint *next;
	struct szd_process *process;
	int32_t before;
	int32_t after;
};

enum szd_ticket_state { SZD_WAITING, SZD_RUNNING };

struct szd_ticket {
	struct szd_ticket *next;
	struct szd_client *client;
	void *waiter;
	uint64_t number;
	uint64_t since_ns;
	uint64_t waited_ns;
	uint32_t priority;
	enum szd_ticket_state state;
};

struct szd_client { /* one open handle */
	struct szd_client *next;
	struct szd_process *process; /* that opened it */
	struct szd_process *runtime; /* that registered, or NULL */
	struct szd_buffer *buffers;
	struct szd_hint *hints;
	uint64_t pool_bytes;
	uint32_t paths;
	uint32_t buffer_count;
	uint32_t hint_count;
	uint32_t ticket_count;
	uint32_t last_handle;
	uint8_t name[SASHIZU_NAME_BYTES];
};

struct szd_driver {
	/* set before the first call, then constant */
	uint64_t features;
	uint64_t pool_bytes;
	uint64_t client_bytes;
	uint32_t granule;
	uint32_t slots;
	uint32_t system;

	struct szd_client *clients;
	struct szd_client *collector;
	struct szd_process *processes; /* in the order of their serials */
	struct szd_ticket *tickets; /* in the order of their numbers */
	uint64_t last_serial;
	uint64_t last_ticket;
	uint64_t pool_used;
	uint64_t granted;
	uint64_t cancelled;
	uint64_t waited_ns;
	uint64_t longest_ns;
	uint32_t client_count;
	uint32_t buffer_count;
	uint32_t hint_count;
	uint32_t running;
	uint32_t waiting;
	uint32_t gpu_count;
	struct szd_gpu gpus[SASHIZU_MAX_GPUS];
};

/* what the core asks of the system; none of these takes the lock */
void *szd_os_alloc(size_t bytes); /* zeroed, or NULL */
void szd_os_free(void *memory);
uint64_t szd_os_now(void); /* ns, also while the machine sleeps */
void *szd_os_process_find(uint32_t pid); /* as the caller sees it, 0: the caller; NULL: none */
void szd_os_process_drop(void *system);
int szd_os_process_alive(void *system);
uint32_t szd_os_process_pid(void *system); /* as the caller sees it, 0: not at all */
void szd_os_process_name(void *system, uint8_t *name); /* SASHIZU_NAME_BYTES, zeroed before */
int szd_os_hint(void *system, int32_t nice, int32_t *before, int32_t *after); /* a status */
void szd_os_unhint(void *system, int32_t before, int32_t after);
int szd_os_granted(void *waiter); /* 0: it has gone, give the slot to the next */
void szd_os_memory_place(struct szd_buffer *buffer, struct sashizu_pool_map *map);
void szd_os_memory_free(void *memory);

/* clients; open answers NULL without memory, close undoes all that the client did */
struct szd_client *szd_open(struct szd_driver *driver);
void szd_close(struct szd_driver *driver, struct szd_client *client);

/* A status. `bytes` is how many the caller brought and has room for; must be called first. */
int szd_check(uint32_t function, const void *frame, size_t bytes);
size_t szd_frame_bytes(uint32_t function); /* 0: no such function */
uint32_t szd_frame_access(uint32_t function);

/* A status, for every function but POOL_ALLOC and SLOT_WAIT. */
int szd_call(struct szd_driver *driver, struct szd_client *client, uint32_t function, void *frame);

/* POOL_ALLOC: charge, then get the memory (without the lock if need be), then ready or drop */
int szd_pool_charge(struct szd_driver *driver, struct szd_client *client,
		    struct sashizu_pool_alloc *frame, struct szd_buffer **buffer);
void szd_pool_ready(struct szd_buffer *buffer, void *memory);
void szd_pool_drop(struct szd_driver *driver, struct szd_buffer *buffer);
/* a mapping: of a ready buffer of exactly these bytes, or NULL */
struct szd_buffer *szd_pool_hold(struct szd_client *client, uint32_t handle, uint64_t bytes);
void szd_pool_hold_again(struct szd_buffer *buffer);
void szd_pool_let_go(struct szd_driver *driver, struct szd_buffer *buffer);

/* SLOT_WAIT: OK, BUSY (no time to wait), another status, or SZD_PENDING */
int szd_slot_enter(struct szd_driver *driver, struct szd_client *client, struct sashizu_slot *frame,
		   void *waiter, struct szd_ticket **ticket);
/* 1: it was waiting and is gone; 0: it has been granted meanwhile */
int szd_slot_cancel(struct szd_driver *driver, struct szd_ticket *ticket);
void szd_slot_answer(const struct szd_ticket *ticket, struct sashizu_slot *frame);

/* between the files of the core */
struct szd_process *szd_process_hold(struct szd_driver *driver, uint32_t pid, int *status);
void szd_process_drop(struct szd_driver *driver, struct szd_process *process);
int szd_process_submit(struct szd_driver *driver, struct sashizu_process_submit *frame);
void szd_process_list(struct szd_driver *driver, struct sashizu_process_list *frame);
int szd_gpu_submit(struct szd_driver *driver, struct szd_client *client, struct sashizu_gpu *frame);
int szd_gpu_read(struct szd_driver *driver, struct sashizu_gpu *frame);
void szd_gpu_next_processes(struct szd_driver *driver, struct szd_gpu *gpu);
void szd_gpu_forget(struct szd_driver *driver);
int szd_gpu_path(struct szd_driver *driver, struct szd_client *client,
		 struct sashizu_gpu_path *frame);
int szd_pool_free(struct szd_driver *driver, struct szd_client *client,
		  struct sashizu_pool_free *frame);
int szd_pool_map(struct szd_client *client, struct sashizu_pool_map *frame);
void szd_pool_close(struct szd_driver *driver, struct szd_client *client);
int szd_slot_done(struct szd_driver *driver, struct szd_client *client, struct sashizu_slot *frame);
void szd_slot_close(struct szd_driver *driver, struct szd_client *client);
int szd_hint_set(struct szd_driver *driver, struct szd_client *client, struct sashizu_hint *frame);
int szd_hint_undo(struct szd_driver *driver, struct szd_client *client, struct sashizu_hint *frame);
void szd_hint_close(struct szd_driver *driver, struct szd_client *client);
int szd_text_is_clean(const uint8_t *text, size_t bytes); /* not empty, ended, no control bytes */
int szd_is_zero(const void *bytes, size_t count);

#endif
