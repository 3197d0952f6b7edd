// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Whose memory is whose. The pool is a bound, not a hoard: pages come from the system for each
 * buffer and go back to it, so that one which is still in use elsewhere (a pipe, a transfer of a
 * device) is never handed on to another client.
 */
#include "core.h"

int szd_pool_charge(struct szd_driver *driver, struct szd_client *client,
		    struct sashizu_pool_alloc *frame, struct szd_buffer **made)
{
	struct szd_buffer *buffer;
	uint64_t bytes = frame->bytes;

	if (frame->flags || !bytes || bytes & (driver->granule - 1))
		return SASHIZU_E_INVALID;
	if (bytes > driver->client_bytes - client->pool_bytes ||
	    client->buffer_count == SASHIZU_MAX_BUFFERS)
		return SASHIZU_E_QUOTA;
	if (bytes > driver->pool_bytes - driver->pool_used ||
	    client->last_handle == 0x7FFFFFFFU) /* handles are offsets of mmap, which are signed */
		return SASHIZU_E_FULL;
	buffer = szd_os_alloc(sizeof(*buffer));
	if (!buffer)
		return SASHIZU_E_MEMORY;
	buffer->client = client;
	buffer->process = client->process;
	buffer->process->refs++;
	buffer->process->pool_bytes += bytes;
	buffer->bytes = bytes;
	buffer->handle = ++client->last_handle;
	buffer->refs = 1;
	buffer->next = client->buffers;
	client->buffers = buffer;
	client->pool_bytes += bytes;
	client->buffer_count++;
	driver->pool_used += bytes;
	driver->buffer_count++;
	frame->handle = buffer->handle;
	*made = buffer;
	return SASHIZU_E_OK;
}

void szd_pool_ready(struct szd_buffer *buffer, void *memory)
{
	buffer->memory = memory;
}

void szd_pool_hold_again(struct szd_buffer *buffer)
{
	buffer->refs++;
}

void szd_pool_let_go(struct szd_driver *driver, struct szd_buffer *buffer)
{
	struct szd_client *client = buffer->client;
	struct szd_buffer **at = &client->buffers;

	if (--buffer->refs)
		return;
	while (*at != buffer)
		at = &(*at)->next;
	*at = buffer->next;
	client->pool_bytes -= buffer->bytes;
	client->buffer_count--;
	driver->pool_used -= buffer->bytes;
	driver->buffer_count--;
	buffer->process->pool_bytes -= buffer->bytes;
	szd_process_drop(driver, buffer->process);
	if (buffer->memory)
		szd_os_memory_free(buffer->memory);
	szd_os_free(buffer);
}

void szd_pool_drop(struct szd_driver *driver, struct szd_buffer *buffer)
{
	buffer->handle = 0;
	szd_pool_let_go(driver, buffer);
}

static struct szd_buffer *szd_pool_find(struct szd_client *client, uint32_t handle)
{
	struct szd_buffer *buffer = client->buffers;

	while (buffer && (buffer->handle != handle || !buffer->memory))
		buffer = buffer->next;
	return handle ? buffer : NULL; /* the handle 0 is that of freed ones which are mapped */
}

struct szd_buffer *szd_pool_hold(struct szd_client *client, uint32_t handle, uint64_t bytes)
{
	struct szd_buffer *buffer = szd_pool_find(client, handle ? handle : client->last_handle);

	if (!buffer || buffer->bytes != bytes || buffer->refs == 0xFFFFFFFFU)
		return NULL;
	buffer->refs++;
	return buffer;
}

int szd_pool_free(struct szd_driver *driver, struct szd_client *client,
		  struct sashizu_pool_free *frame)
{
	struct szd_buffer *buffer;

	if (frame->reserved)
		return SASHIZU_E_INVALID;
	buffer = szd_pool_find(client, frame->handle);
	if (!buffer)
		return SASHIZU_E_MISSING;
	szd_pool_drop(driver, buffer);
	return SASHIZU_E_OK;
}

int szd_pool_map(struct szd_client *client, struct sashizu_pool_map *frame)
{
	struct szd_buffer *buffer = szd_pool_find(client, frame->handle);

	if (!buffer)
		return SASHIZU_E_MISSING;
	frame->bytes = buffer->bytes;
	frame->offset = 0;
	frame->pinned = 0;
	memset(frame->name, 0, sizeof(frame->name));
	szd_os_memory_place(buffer, frame);
	return SASHIZU_E_OK;
}

void szd_pool_close(struct szd_driver *driver, struct szd_client *client)
{
	while (client->buffers) {
		client->buffers->refs = 1; /* the layer closes a client after its mappings */
		szd_pool_drop(driver, client->buffers);
	}
}
