// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Processor time: asked for by one client for a process, and put back by that client. */
#include "core.h"

static struct szd_hint *szd_hint_find(struct szd_client *client, const struct szd_process *process)
{
	struct szd_hint *hint = client->hints;

	while (hint && hint->process != process)
		hint = hint->next;
	return hint;
}

static int szd_hint_of_another(struct szd_driver *driver, const struct szd_client *client,
			       const struct szd_process *process)
{
	struct szd_client *other;

	for (other = driver->clients; other; other = other->next)
		if (other != client && szd_hint_find(other, process))
			return 1;
	return 0;
}

static void szd_hint_remove(struct szd_driver *driver, struct szd_client *client,
			    struct szd_hint *hint)
{
	struct szd_hint **at = &client->hints;

	while (*at != hint)
		at = &(*at)->next;
	*at = hint->next;
	szd_os_unhint(hint->process->system, hint->before, hint->after);
	szd_process_drop(driver, hint->process);
	client->hint_count--;
	driver->hint_count--;
	szd_os_free(hint);
}

static void szd_hint_prune(struct szd_driver *driver, struct szd_client *client)
{
	struct szd_hint *hint, *next;

	for (hint = client->hints; hint; hint = next) {
		next = hint->next;
		if (!szd_os_process_alive(hint->process->system))
			szd_hint_remove(driver, client, hint);
	}
}

static int szd_hint_add(struct szd_driver *driver, struct szd_client *client,
			struct szd_process *process, struct sashizu_hint *frame)
{
	struct szd_hint *hint = szd_hint_find(client, process);
	int status;

	if (hint)
		szd_hint_remove(driver, client, hint);
	if (szd_hint_of_another(driver, client, process))
		return SASHIZU_E_BUSY;
	szd_hint_prune(driver, client);
	if (client->hint_count == SASHIZU_MAX_HINTS)
		return SASHIZU_E_QUOTA;
	hint = szd_os_alloc(sizeof(*hint));
	if (!hint)
		return SASHIZU_E_MEMORY;
	status = szd_os_hint(process->system, frame->nice, &hint->before, &hint->after);
	if (status != SASHIZU_E_OK) {
		szd_os_free(hint);
		return status;
	}
	frame->before = hint->before;
	frame->after = hint->after;
	process->refs++;
	hint->process = process;
	hint->next = client->hints;
	client->hints = hint;
	client->hint_count++;
	driver->hint_count++;
	return SASHIZU_E_OK;
}

int szd_hint_set(struct szd_driver *driver, struct szd_client *client, struct sashizu_hint *frame)
{
	struct szd_process *process;
	int status;

	if (frame->nice < -(int32_t)SASHIZU_MAX_RAISE ||
	    frame->nice > (int32_t)SASHIZU_MAX_LOWER)
		return SASHIZU_E_INVALID;
	process = szd_process_hold(driver, frame->pid, &status);
	if (!process)
		return status;
	status = szd_hint_add(driver, client, process, frame);
	szd_process_drop(driver, process);
	return status;
}

int szd_hint_undo(struct szd_driver *driver, struct szd_client *client, struct sashizu_hint *frame)
{
	struct szd_process *process;
	struct szd_hint *hint;
	int status;

	if (frame->nice)
		return SASHIZU_E_INVALID;
	process = szd_process_hold(driver, frame->pid, &status);
	if (!process)
		return status;
	hint = szd_hint_find(client, process);
	status = SASHIZU_E_MISSING;
	if (hint) {
		frame->before = hint->after;
		frame->after = hint->before;
		szd_hint_remove(driver, client, hint);
		status = SASHIZU_E_OK;
	}
	szd_process_drop(driver, process);
	return status;
}

void szd_hint_close(struct szd_driver *driver, struct szd_client *client)
{
	while (client->hints)
		szd_hint_remove(driver, client, client->hints);
}
