// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Clients, and the way of a frame to the function it asks for. */
#include "core.h"

static const struct {
	uint32_t bytes;
	uint32_t access;
} szd_functions[] = {
#define SZD_FUNCTION(name, number, access, layout) \
	[number] = { sizeof(struct sashizu_##layout), SASHIZU_##access },
	SASHIZU_FUNCTIONS(SZD_FUNCTION)
#undef SZD_FUNCTION
};

size_t szd_frame_bytes(uint32_t function)
{
	return function < SASHIZU_FN_COUNT ? szd_functions[function].bytes : 0;
}

uint32_t szd_frame_access(uint32_t function)
{
	return function < SASHIZU_FN_COUNT ? szd_functions[function].access : SASHIZU_BOTH;
}

int szd_is_zero(const void *bytes, size_t count)
{
	const uint8_t *at = bytes;

	while (count--)
		if (*at++)
			return 0;
	return 1;
}

int szd_text_is_clean(const uint8_t *text, size_t bytes)
{
	size_t length = 0;

	while (length < bytes && text[length]) {
		if (text[length] < 0x20 || text[length] == 0x7F)
			return 0;
		length++;
	}
	return length && length < bytes && szd_is_zero(text + length, bytes - length);
}

int szd_check(uint32_t function, const void *frame, size_t bytes)
{
	uint32_t head[2];

	if (function >= SASHIZU_FN_COUNT)
		return SASHIZU_E_UNKNOWN;
	if (bytes != szd_functions[function].bytes)
		return SASHIZU_E_SIZE;
	memcpy(head, frame, sizeof(head));
	if (head[0] != bytes)
		return SASHIZU_E_SIZE;
	if (head[1] >> 16 != SASHIZU_ABI >> 16)
		return SASHIZU_E_ABI;
	return SASHIZU_E_OK;
}

struct szd_client *szd_open(struct szd_driver *driver)
{
	struct szd_client *client = szd_os_alloc(sizeof(*client));
	int status;

	if (!client)
		return NULL;
	client->process = szd_process_hold(driver, 0, &status);
	if (!client->process) {
		szd_os_free(client);
		return NULL;
	}
	client->next = driver->clients;
	driver->clients = client;
	driver->client_count++;
	return client;
}

void szd_close(struct szd_driver *driver, struct szd_client *client)
{
	struct szd_client **at = &driver->clients;

	if (driver->collector == client) {
		driver->collector = NULL;
		szd_gpu_forget(driver);
	}
	szd_slot_close(driver, client);
	szd_hint_close(driver, client);
	szd_pool_close(driver, client);
	if (client->runtime) {
		client->runtime->runtimes--;
		szd_process_drop(driver, client->runtime);
	}
	szd_process_drop(driver, client->process);
	while (*at != client)
		at = &(*at)->next;
	*at = client->next;
	driver->client_count--;
	szd_os_free(client);
}

static void szd_version(const struct szd_driver *driver, struct sashizu_version *frame)
{
	frame->driver_abi = SASHIZU_ABI;
	frame->system = driver->system;
	frame->features = driver->features;
	frame->pool_bytes = driver->pool_bytes;
	frame->client_bytes = driver->client_bytes;
	frame->granule = driver->granule;
	frame->slots = driver->slots;
}

static void szd_pool_status(const struct szd_driver *driver, const struct szd_client *client,
			    struct sashizu_pool_status *frame)
{
	frame->total = driver->pool_bytes;
	frame->used = driver->pool_used;
	frame->mine = client->pool_bytes;
	frame->mine_limit = driver->client_bytes;
	frame->buffers = driver->buffer_count;
	frame->clients = driver->client_count;
}

static void szd_sched_status(const struct szd_driver *driver, struct sashizu_sched_status *frame)
{
	frame->slots = driver->slots;
	frame->running = driver->running;
	frame->waiting = driver->waiting;
	frame->hints = driver->hint_count;
	frame->granted = driver->granted;
	frame->cancelled = driver->cancelled;
	frame->waited_ns = driver->waited_ns;
	frame->longest_ns = driver->longest_ns;
}

static int szd_register(struct szd_driver *driver, struct szd_client *client,
			struct sashizu_runtime *frame)
{
	struct szd_process *process;
	int status;

	if (!frame->paths || frame->paths & ~SASHIZU_PATH_ALL ||
	    !szd_is_zero(frame->reserved, sizeof(frame->reserved)) ||
	    !szd_text_is_clean(frame->name, sizeof(frame->name)))
		return SASHIZU_E_INVALID;
	process = szd_process_hold(driver, 0, &status);
	if (!process)
		return status;
	if (client->runtime) {
		client->runtime->runtimes--;
		szd_process_drop(driver, client->runtime);
	}
	process->runtimes++;
	client->runtime = process;
	client->paths = frame->paths;
	memcpy(client->name, frame->name, sizeof(client->name));
	frame->pid = szd_os_process_pid(process->system);
	return SASHIZU_E_OK;
}

int szd_call(struct szd_driver *driver, struct szd_client *client, uint32_t function, void *frame)
{
	switch (function) {
	case SASHIZU_FN_VERSION:
		szd_version(driver, frame);
		return SASHIZU_E_OK;
	case SASHIZU_FN_GPU_SUBMIT:
		return szd_gpu_submit(driver, client, frame);
	case SASHIZU_FN_GPU_READ:
		return szd_gpu_read(driver, frame);
	case SASHIZU_FN_PROCESS_SUBMIT:
		if (driver->collector != client)
			return driver->collector ? SASHIZU_E_BUSY : SASHIZU_E_NOT_READY;
		return szd_process_submit(driver, frame);
	case SASHIZU_FN_PROCESS_LIST:
		szd_process_list(driver, frame);
		return SASHIZU_E_OK;
	case SASHIZU_FN_POOL_FREE:
		return szd_pool_free(driver, client, frame);
	case SASHIZU_FN_POOL_MAP:
		return szd_pool_map(client, frame);
	case SASHIZU_FN_POOL_STATUS:
		szd_pool_status(driver, client, frame);
		return SASHIZU_E_OK;
	case SASHIZU_FN_SCHED_STATUS:
		szd_sched_status(driver, frame);
		return SASHIZU_E_OK;
	case SASHIZU_FN_SLOT_DONE:
		return szd_slot_done(driver, client, frame);
	case SASHIZU_FN_HINT_SET:
		return szd_hint_set(driver, client, frame);
	case SASHIZU_FN_HINT_UNDO:
		return szd_hint_undo(driver, client, frame);
	case SASHIZU_FN_RUNTIME_REGISTER:
		return szd_register(driver, client, frame);
	case SASHIZU_FN_GPU_PATH:
		return szd_gpu_path(driver, client, frame);
	default:
		return SASHIZU_E_UNKNOWN;
	}
}
