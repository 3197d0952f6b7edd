// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * Calls that wait for a turn: IRPs that pend until they are granted, cancelled, or out of time.
 *
 * A waiter is in the list from szd_wait until szd_waits_settle frees it. Whoever takes the cancel
 * routine off its IRP (or is that routine) completes the IRP, and clears `irp` under the spin lock.
 */
#include "layer.h"

#define SZD_TICK_100NS (20 * 10000LL)

struct szd_waiter {
	LIST_ENTRY entry;
	PIRP irp; /* NULL: completed by the cancel routine or with the handle */
	struct szd_ticket *ticket; /* NULL: the core has none any more */
	struct szd_client *client;
	uint64_t deadline_ns;
	int granted;
};

static LIST_ENTRY szd_waiters; /* changed under the lock of the core */
static KSPIN_LOCK szd_irps; /* around `irp` of every waiter */
static KEVENT szd_wake;
static PKTHREAD szd_thread;
static int szd_ending; /* changed under the lock of the core */

static PIRP szd_take(struct szd_waiter *waiter) /* the IRP, if it is ours to complete */
{
	PIRP irp = NULL;
	KIRQL before;

	KeAcquireSpinLock(&szd_irps, &before);
	if (waiter->irp && IoSetCancelRoutine(waiter->irp, NULL)) {
		irp = waiter->irp;
		waiter->irp = NULL;
	}
	KeReleaseSpinLock(&szd_irps, before);
	return irp;
}

static int szd_is_gone(struct szd_waiter *waiter)
{
	KIRQL before;
	int gone;

	KeAcquireSpinLock(&szd_irps, &before);
	gone = !waiter->irp;
	KeReleaseSpinLock(&szd_irps, before);
	return gone;
}

static VOID NTAPI szd_on_cancel(PDEVICE_OBJECT device, PIRP irp)
{
	struct szd_waiter *waiter = irp->Tail.Overlay.DriverContext[0];
	KIRQL before;

	UNREFERENCED_PARAMETER(device);
	IoReleaseCancelSpinLock(irp->CancelIrql);
	KeAcquireSpinLock(&szd_irps, &before);
	waiter->irp = NULL; /* from here on it may be freed */
	KeReleaseSpinLock(&szd_irps, before);
	szd_complete(irp, STATUS_CANCELLED, 0);
	KeSetEvent(&szd_wake, IO_NO_INCREMENT, FALSE);
}

int szd_os_granted(void *argument)
{
	struct szd_waiter *waiter = argument;
	KIRQL before;

	KeAcquireSpinLock(&szd_irps, &before);
	waiter->granted = waiter->irp && IoSetCancelRoutine(waiter->irp, NULL);
	KeReleaseSpinLock(&szd_irps, before);
	if (!waiter->granted)
		waiter->ticket = NULL; /* the core drops it */
	return waiter->granted;
}

static void szd_answer(struct szd_waiter *waiter)
{
	PIRP irp = waiter->irp;
	struct sashizu_slot *frame = irp->AssociatedIrp.SystemBuffer;

	szd_slot_answer(waiter->ticket, frame);
	waiter->irp = NULL;
	waiter->ticket = NULL; /* it is the client's now */
	szd_complete(irp, STATUS_SUCCESS, sizeof(*frame));
}

static void szd_time_out(struct szd_waiter *waiter)
{
	PIRP irp = szd_os_now() >= waiter->deadline_ns ? szd_take(waiter) : NULL;

	if (irp)
		szd_complete(irp, szd_statuses[SASHIZU_E_TIMEOUT], 0);
}

void szd_waits_settle(void)
{
	PLIST_ENTRY at = szd_waiters.Flink;

	while (at != &szd_waiters) {
		struct szd_waiter *waiter = CONTAINING_RECORD(at, struct szd_waiter, entry);

		at = at->Flink;
		if (waiter->granted && waiter->ticket)
			szd_answer(waiter);
		else
			szd_time_out(waiter);
		if (!szd_is_gone(waiter))
			continue;
		if (waiter->ticket)
			szd_slot_cancel(&szd_driver, waiter->ticket);
		RemoveEntryList(&waiter->entry);
		szd_os_free(waiter);
	}
}

void szd_waits_forget(struct szd_client *client)
{
	PLIST_ENTRY at;

	for (at = szd_waiters.Flink; at != &szd_waiters; at = at->Flink) {
		struct szd_waiter *waiter = CONTAINING_RECORD(at, struct szd_waiter, entry);
		PIRP irp = waiter->client == client ? szd_take(waiter) : NULL;

		if (irp)
			szd_complete(irp, STATUS_CANCELLED, 0);
		if (waiter->client == client) {
			if (waiter->ticket)
				szd_slot_cancel(&szd_driver, waiter->ticket);
			waiter->ticket = NULL;
			waiter->client = NULL;
		}
	}
}

/* The IRP is pending from here on; a cancel that came before is found by IoSetCancelRoutine. */
static void szd_pend(struct szd_waiter *waiter, PIRP irp)
{
	int cancelled = 0;
	KIRQL before;

	irp->Tail.Overlay.DriverContext[0] = waiter;
	IoMarkIrpPending(irp);
	InsertTailList(&szd_waiters, &waiter->entry);
	KeAcquireSpinLock(&szd_irps, &before);
	waiter->irp = irp;
	IoSetCancelRoutine(irp, szd_on_cancel);
	if (irp->Cancel && IoSetCancelRoutine(irp, NULL)) {
		waiter->irp = NULL;
		cancelled = 1;
	}
	KeReleaseSpinLock(&szd_irps, before);
	if (cancelled)
		szd_complete(irp, STATUS_CANCELLED, 0);
	KeSetEvent(&szd_wake, IO_NO_INCREMENT, FALSE);
}

NTSTATUS szd_wait(struct szd_client *client, PIRP irp, struct sashizu_slot *frame)
{
	struct szd_waiter *waiter = szd_os_alloc(sizeof(*waiter));
	struct szd_ticket *ticket;
	int status;

	szd_waits_settle(); /* those that have left shall not stand before us */
	if (!waiter)
		return szd_complete(irp, szd_statuses[SASHIZU_E_MEMORY], 0);
	status = szd_slot_enter(&szd_driver, client, frame, waiter, &ticket);
	if (status == SZD_PENDING) {
		waiter->ticket = ticket;
		waiter->client = client;
		waiter->deadline_ns = szd_os_now() + (uint64_t)frame->timeout_ms * 1000000U;
		szd_pend(waiter, irp);
		return STATUS_PENDING;
	}
	szd_os_free(waiter);
	if (status != SASHIZU_E_OK)
		return szd_complete(irp, szd_statuses[status], 0);
	szd_slot_answer(ticket, frame);
	return szd_complete(irp, STATUS_SUCCESS, sizeof(*frame));
}

static VOID NTAPI szd_wait_thread(PVOID context)
{
	LARGE_INTEGER tick;
	int waiting = 0, ending = 0;

	UNREFERENCED_PARAMETER(context);
	tick.QuadPart = -SZD_TICK_100NS;
	while (!ending) {
		KeWaitForSingleObject(&szd_wake, Executive, KernelMode, FALSE,
				      waiting ? &tick : NULL);
		szd_enter();
		szd_waits_settle();
		waiting = !IsListEmpty(&szd_waiters);
		ending = szd_ending;
		szd_leave();
	}
	PsTerminateSystemThread(STATUS_SUCCESS);
}

NTSTATUS szd_waits_begin(void)
{
	HANDLE handle;
	NTSTATUS status;

	szd_ending = 0;
	InitializeListHead(&szd_waiters);
	KeInitializeSpinLock(&szd_irps);
	KeInitializeEvent(&szd_wake, SynchronizationEvent, FALSE);
	status = PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, NULL,
				      szd_wait_thread, NULL);
	if (!NT_SUCCESS(status))
		return status;
	status = ObReferenceObjectByHandle(handle, SYNCHRONIZE, NULL, KernelMode,
					   (PVOID *)&szd_thread, NULL);
	ZwClose(handle);
	return status;
}

void szd_waits_end(void)
{
	szd_enter();
	szd_ending = 1;
	szd_leave();
	KeSetEvent(&szd_wake, IO_NO_INCREMENT, FALSE);
	KeWaitForSingleObject(szd_thread, Executive, KernelMode, FALSE, NULL);
	ObDereferenceObject(szd_thread);
}
