// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* Who may run: so many at once, high priority first, then in the order they came. */
#include "core.h"

static void szd_ticket_remove(struct szd_driver *driver, struct szd_ticket *ticket)
{
	struct szd_ticket **at = &driver->tickets;

	while (*at != ticket)
		at = &(*at)->next;
	*at = ticket->next;
	if (ticket->state == SZD_RUNNING)
		driver->running--;
	else
		driver->waiting--;
	ticket->client->ticket_count--;
	szd_os_free(ticket);
}

static void szd_ticket_grant(struct szd_driver *driver, struct szd_ticket *ticket)
{
	ticket->state = SZD_RUNNING;
	ticket->waited_ns = szd_os_now() - ticket->since_ns;
	driver->running++;
	driver->granted++;
	driver->waited_ns += ticket->waited_ns;
	if (ticket->waited_ns > driver->longest_ns)
		driver->longest_ns = ticket->waited_ns;
}

static struct szd_ticket *szd_ticket_next(const struct szd_driver *driver)
{
	struct szd_ticket *ticket, *best = NULL;

	for (ticket = driver->tickets; ticket; ticket = ticket->next)
		if (ticket->state == SZD_WAITING && (!best || ticket->priority > best->priority))
			best = ticket;
	return best;
}

static void szd_slots_fill(struct szd_driver *driver)
{
	struct szd_ticket *ticket;

	while (driver->running < driver->slots && (ticket = szd_ticket_next(driver))) {
		if (szd_os_granted(ticket->waiter)) {
			driver->waiting--;
			szd_ticket_grant(driver, ticket);
		} else {
			driver->cancelled++;
			szd_ticket_remove(driver, ticket);
		}
	}
}

int szd_slot_enter(struct szd_driver *driver, struct szd_client *client, struct sashizu_slot *frame,
		   void *waiter, struct szd_ticket **made)
{
	struct szd_ticket *ticket, **at = &driver->tickets;

	if (frame->priority > SASHIZU_MAX_PRIORITY || frame->timeout_ms > SASHIZU_MAX_WAIT_MS)
		return SASHIZU_E_INVALID;
	if (client->ticket_count == SASHIZU_MAX_TICKETS)
		return SASHIZU_E_QUOTA;
	if (driver->running == driver->slots && !frame->timeout_ms)
		return SASHIZU_E_BUSY;
	ticket = szd_os_alloc(sizeof(*ticket));
	if (!ticket)
		return SASHIZU_E_MEMORY;
	ticket->client = client;
	ticket->waiter = waiter;
	ticket->number = ++driver->last_ticket;
	ticket->since_ns = szd_os_now();
	ticket->priority = frame->priority;
	while (*at)
		at = &(*at)->next;
	*at = ticket;
	client->ticket_count++;
	*made = ticket;
	if (driver->running < driver->slots) { /* then nobody waits */
		szd_ticket_grant(driver, ticket);
		return SASHIZU_E_OK;
	}
	ticket->state = SZD_WAITING;
	driver->waiting++;
	return SZD_PENDING;
}

int szd_slot_cancel(struct szd_driver *driver, struct szd_ticket *ticket)
{
	if (ticket->state == SZD_RUNNING)
		return 0;
	driver->cancelled++;
	szd_ticket_remove(driver, ticket);
	return 1;
}

void szd_slot_answer(const struct szd_ticket *ticket, struct sashizu_slot *frame)
{
	frame->ticket = ticket->number;
	frame->waited_ns = ticket->waited_ns;
}

int szd_slot_done(struct szd_driver *driver, struct szd_client *client, struct sashizu_slot *frame)
{
	struct szd_ticket *ticket;

	if (frame->priority || frame->timeout_ms)
		return SASHIZU_E_INVALID;
	for (ticket = driver->tickets; ticket; ticket = ticket->next) {
		if (ticket->number != frame->ticket || ticket->client != client ||
		    ticket->state != SZD_RUNNING)
			continue;
		frame->waited_ns = ticket->waited_ns;
		szd_ticket_remove(driver, ticket);
		szd_slots_fill(driver);
		return SASHIZU_E_OK;
	}
	return SASHIZU_E_MISSING;
}

void szd_slot_close(struct szd_driver *driver, struct szd_client *client)
{
	struct szd_ticket *ticket, *next;

	for (ticket = driver->tickets; ticket; ticket = next) {
		next = ticket->next;
		if (ticket->client != client)
			continue;
		if (ticket->state == SZD_WAITING)
			driver->cancelled++;
		szd_ticket_remove(driver, ticket);
	}
	szd_slots_fill(driver);
}
