// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/*
 * The layer of the Windows driver with many handles that wait, are granted, time out, are cancelled
 * and closed at the same time. Built with the thread sanitizer or the address sanitizer:
 *
 *     waits SEED ROUNDS
 */
#include "../../driver.c"
#include "../../waits.c"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CALLERS 6

struct request { /* what the I/O manager knows of an IRP; it may be cancelled at any time */
	pthread_mutex_t mutex; /* recursive: a cancel completes */
	KEVENT done;
	PIRP irp; /* NULL: completed */
	NTSTATUS status;
	int completions;
};

static pthread_mutex_t cancels = PTHREAD_MUTEX_INITIALIZER; /* the cancel spin lock */
static struct request requests[CALLERS];
static struct DRIVER_OBJECT driver;
static struct DEVICE_OBJECT the_device;
static _Atomic int allocated, callers, outcomes[3]; /* granted, out of time, cancelled */
static int rounds;

static void expect(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "not so: %s\n", what);
	abort();
}

/* --- the system --------------------------------------------------------------------------------- */

VOID KeInitializeEvent(KEVENT *event, int kind, BOOLEAN set)
{
	(void)kind;
	memset(event, 0, sizeof(*event));
	pthread_mutex_init(&event->mutex, NULL);
	pthread_cond_init(&event->changed, NULL);
	event->set = set;
}

LONG KeSetEvent(KEVENT *event, int boost, BOOLEAN wait)
{
	(void)boost, (void)wait;
	pthread_mutex_lock(&event->mutex);
	event->set = 1;
	pthread_cond_signal(&event->changed);
	pthread_mutex_unlock(&event->mutex);
	return 0;
}

NTSTATUS KeWaitForSingleObject(KEVENT *event, int why, int mode, BOOLEAN alert, LARGE_INTEGER *until)
{
	struct timespec last;
	int late = 0;

	(void)why, (void)mode, (void)alert;
	if (event->is_thread)
		return pthread_join(event->thread, NULL);
	clock_gettime(CLOCK_REALTIME, &last);
	last.tv_nsec += until ? -until->QuadPart * 100 : 0; /* below a second */
	last.tv_sec += last.tv_nsec / 1000000000;
	last.tv_nsec %= 1000000000;
	pthread_mutex_lock(&event->mutex);
	while (!event->set && late != ETIMEDOUT)
		late = until ? pthread_cond_timedwait(&event->changed, &event->mutex, &last) :
			       pthread_cond_wait(&event->changed, &event->mutex);
	event->set = 0;
	pthread_mutex_unlock(&event->mutex);
	return 0;
}

static void *run(void *argument)
{
	KEVENT *thread = argument;

	thread->run(NULL);
	return NULL;
}

NTSTATUS PsCreateSystemThread(HANDLE *handle, ULONG access, void *attributes, HANDLE process, void *id,
			      void (*function)(PVOID), PVOID context)
{
	static KEVENT thread;

	(void)access, (void)attributes, (void)process, (void)id, (void)context;
	thread.is_thread = 1;
	thread.run = function;
	*handle = &thread;
	return pthread_create(&thread.thread, NULL, run, &thread) ? STATUS_NO_MEMORY : STATUS_SUCCESS;
}

NTSTATUS PsTerminateSystemThread(NTSTATUS status)
{
	return status;
}

NTSTATUS ObReferenceObjectByHandle(HANDLE handle, ULONG access, void *type, int mode, PVOID *object,
				   void *more)
{
	(void)access, (void)type, (void)mode, (void)more;
	*object = handle;
	return STATUS_SUCCESS;
}

NTSTATUS ZwClose(HANDLE handle)
{
	(void)handle;
	return STATUS_SUCCESS;
}

VOID IoCompleteRequest(PIRP irp, int boost)
{
	struct request *request = irp->request;

	(void)boost;
	pthread_mutex_lock(&request->mutex);
	expect(request->irp == irp, "a request is completed once");
	expect(!irp->routine, "a request that is completed has no cancel routine any more");
	request->irp = NULL;
	request->status = irp->IoStatus.Status;
	request->completions++;
	pthread_mutex_unlock(&request->mutex);
	free(irp); /* who looks at it from here on is found by the sanitizer */
	KeSetEvent(&request->done, 0, FALSE);
}

VOID IoReleaseCancelSpinLock(KIRQL before)
{
	(void)before;
	pthread_mutex_unlock(&cancels);
}

static void cancel(struct request *request)
{
	DRIVER_CANCEL *routine;
	PIRP irp;

	pthread_mutex_lock(&request->mutex);
	irp = request->irp;
	if (irp) {
		pthread_mutex_lock(&cancels);
		irp->Cancel = TRUE;
		routine = IoSetCancelRoutine(irp, NULL);
		if (routine)
			routine(&the_device, irp);
		else
			pthread_mutex_unlock(&cancels);
	}
	pthread_mutex_unlock(&request->mutex);
}

NTSTATUS IoCreateDevice(PDRIVER_OBJECT of, ULONG more, PUNICODE_STRING name, ULONG type, ULONG flags,
			BOOLEAN exclusive, PDEVICE_OBJECT *device)
{
	(void)more, (void)name, (void)type, (void)flags, (void)exclusive;
	of->DeviceObject = *device = &the_device;
	the_device.exists = 1;
	return STATUS_SUCCESS;
}

VOID IoDeleteDevice(PDEVICE_OBJECT device)
{
	device->exists = 0;
}

NTSTATUS IoCreateSymbolicLink(PUNICODE_STRING link, PUNICODE_STRING name)
{
	(void)link, (void)name;
	return STATUS_SUCCESS;
}

NTSTATUS IoDeleteSymbolicLink(PUNICODE_STRING link)
{
	(void)link;
	return STATUS_SUCCESS;
}

/* --- what the core asks of it; one process ------------------------------------------------------ */

void *szd_os_alloc(size_t bytes)
{
	allocated++;
	return calloc(1, bytes);
}

void szd_os_free(void *memory)
{
	allocated--;
	free(memory);
}

uint64_t szd_os_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

void *szd_os_process_find(uint32_t pid)
{
	return pid ? NULL : &the_device;
}

void szd_os_process_drop(void *process)
{
	(void)process;
}

uint32_t szd_os_process_pid(void *process)
{
	return process != NULL;
}

int szd_os_process_alive(void *process)
{
	return process != NULL;
}

void szd_os_process_name(void *process, uint8_t *name)
{
	(void)process, (void)name;
}

int szd_os_hint(void *process, int32_t nice, int32_t *before, int32_t *after)
{
	(void)process, (void)nice, (void)before, (void)after;
	return SASHIZU_E_DENIED;
}

void szd_os_unhint(void *process, int32_t before, int32_t after)
{
	(void)process, (void)before, (void)after;
}

struct szd_section *szd_section_make(uint64_t bytes)
{
	(void)bytes;
	return NULL;
}

void szd_os_memory_free(void *memory)
{
	(void)memory;
}

void szd_os_memory_place(struct szd_buffer *buffer, struct sashizu_pool_map *map)
{
	(void)buffer, (void)map;
}

/* --- callers ------------------------------------------------------------------------------------ */

static void send(struct request *request, PFILE_OBJECT file, int major, ULONG code, void *frame,
		 ULONG bytes)
{
	PIRP irp = calloc(1, sizeof(*irp));
	NTSTATUS status;

	irp->place.FileObject = file;
	irp->place.Parameters.DeviceIoControl.IoControlCode = code;
	irp->place.Parameters.DeviceIoControl.InputBufferLength = bytes;
	irp->place.Parameters.DeviceIoControl.OutputBufferLength = bytes;
	irp->AssociatedIrp.SystemBuffer = frame;
	irp->request = request;
	pthread_mutex_lock(&request->mutex);
	request->irp = irp;
	request->completions = 0;
	pthread_mutex_unlock(&request->mutex);
	status = driver.MajorFunction[major](&the_device, irp);
	if (status != STATUS_PENDING)
		expect(request->completions == 1 && request->status == status,
		       "what is not pending is completed with what is returned");
}

static NTSTATUS answer(struct request *request)
{
	KeWaitForSingleObject(&request->done, Executive, KernelMode, FALSE, NULL);
	expect(request->completions == 1, "a request is completed");
	return request->status;
}

static void end(struct request *request, PFILE_OBJECT file, uint64_t ticket)
{
	struct sashizu_slot frame = { .size = sizeof(frame), .abi = SASHIZU_ABI, .ticket = ticket };

	send(request, file, IRP_MJ_DEVICE_CONTROL, szd_codes[SASHIZU_FN_SLOT_DONE], &frame,
	     sizeof(frame));
	expect(answer(request) == STATUS_SUCCESS, "a turn can be given back");
}

static void pause_below(unsigned int *chance, long nanoseconds)
{
	struct timespec pause = { 0, rand_r(chance) % nanoseconds };

	nanosleep(&pause, NULL);
}

static int outcome(NTSTATUS status)
{
	if (status == STATUS_SUCCESS)
		return 0;
	return status == STATUS_CANCELLED ? 2 : 1;
}

/* One handle: it waits, perhaps is closed meanwhile by another thread of its program, and ends. */
static void live(struct request *request, struct request *closing, unsigned int *chance)
{
	static const uint32_t times[] = { 0, 1, 30, 60000 };
	struct sashizu_slot frame = { .size = sizeof(frame), .abi = SASHIZU_ABI };
	struct FILE_OBJECT file = { 0 };
	int early = rand_r(chance) % 4 == 0;
	NTSTATUS status;

	frame.timeout_ms = times[rand_r(chance) % 4];
	frame.priority = (uint32_t)rand_r(chance) % 10;
	send(request, &file, IRP_MJ_CREATE, 0, NULL, 0);
	expect(answer(request) == STATUS_SUCCESS, "a handle is opened");
	send(request, &file, IRP_MJ_DEVICE_CONTROL, szd_codes[SASHIZU_FN_SLOT_WAIT], &frame,
	     sizeof(frame));
	if (early) {
		send(closing, &file, IRP_MJ_CLEANUP, 0, NULL, 0);
		answer(closing);
	}
	status = answer(request);
	outcomes[outcome(status)]++;
	if (status == STATUS_SUCCESS && !early)
		pause_below(chance, 2000000);
	if (status == STATUS_SUCCESS && !early && rand_r(chance) % 2)
		end(request, &file, frame.ticket);
	send(closing, &file, IRP_MJ_CLOSE, 0, NULL, 0);
	answer(closing);
}

static void begin(struct request *request)
{
	pthread_mutexattr_t kind;

	pthread_mutexattr_init(&kind);
	pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
	pthread_mutex_init(&request->mutex, &kind);
	KeInitializeEvent(&request->done, SynchronizationEvent, FALSE);
}

static void *call(void *argument)
{
	struct request *request = argument, closing = { 0 };
	unsigned int chance = (unsigned int)(request - requests) + (unsigned int)rounds;
	int round;

	begin(&closing);
	for (round = 0; round < rounds; round++)
		live(request, &closing, &chance);
	callers--;
	return NULL;
}

int main(int count, char **words)
{
	unsigned int chance = count == 3 ? (unsigned int)atoi(words[1]) : 0;
	pthread_t threads[CALLERS];
	int at;

	expect(count == 3 && (rounds = atoi(words[2])) > 0, "SEED and ROUNDS are given");
	expect(DriverEntry(&driver, NULL) == STATUS_SUCCESS, "the driver starts");
	callers = CALLERS;
	for (at = 0; at < CALLERS; at++)
		begin(&requests[at]);
	for (at = 0; at < CALLERS; at++)
		pthread_create(&threads[at], NULL, call, &requests[at]);
	while (callers) {
		cancel(&requests[rand_r(&chance) % CALLERS]);
		pause_below(&chance, 500000);
	}
	for (at = 0; at < CALLERS; at++)
		pthread_join(threads[at], NULL);
	driver.DriverUnload(&driver);
	expect(!allocated && !szd_driver.clients && !szd_driver.tickets, "nothing is left");
	expect(!szd_driver.running && !szd_driver.waiting, "nobody runs or waits");
	printf("granted %d, out of time %d, cancelled %d\n", outcomes[0], outcomes[1], outcomes[2]);
	return 0;
}
