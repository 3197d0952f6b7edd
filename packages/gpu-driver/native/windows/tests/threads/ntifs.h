/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What the layer asks of the kernel of Windows, made of threads of this machine, so that sanitizers
 * can watch how requests are granted, cancelled and completed at the same time. Only what
 * driver.c and waits.c use, and only as far as they use it.
 */
#ifndef SASHIZU_THREADS_NTIFS_H
#define SASHIZU_THREADS_NTIFS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <wchar.h>

#define NTAPI
#define VOID void
#define TRUE 1
#define FALSE 0
#define IO_NO_INCREMENT 0
#define FILE_DEVICE_SECURE_OPEN 0x100
#define THREAD_ALL_ACCESS 0
#define SYNCHRONIZE 0
#define UNREFERENCED_PARAMETER(one) ((void)(one))
#define NT_SUCCESS(status) ((status) >= 0)
#define STATUS_SUCCESS ((NTSTATUS)0)
#define STATUS_PENDING ((NTSTATUS)0x103)
#define STATUS_NO_MEMORY ((NTSTATUS)0xC0000017)
#define STATUS_CANCELLED ((NTSTATUS)0xC0000120)
#define RTL_CONSTANT_STRING(text) { sizeof(text) - sizeof(WCHAR), sizeof(text), (WCHAR *)(text) }
#define CONTAINING_RECORD(at, type, field) ((type *)((char *)(at)-offsetof(type, field)))

typedef int32_t NTSTATUS, LONG;
typedef uint32_t ULONG;
typedef uintptr_t ULONG_PTR;
typedef uint8_t BOOLEAN, KIRQL;
typedef wchar_t WCHAR;
typedef void *PVOID, *HANDLE;
typedef pthread_mutex_t KSPIN_LOCK;

enum { Executive, KernelMode, SynchronizationEvent };
enum { IRP_MJ_CREATE, IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_COUNT };

typedef union {
	int64_t QuadPart;
} LARGE_INTEGER;

typedef struct {
	uint16_t Length, MaximumLength;
	WCHAR *Buffer;
} UNICODE_STRING, *PUNICODE_STRING;

typedef struct LIST_ENTRY {
	struct LIST_ENTRY *Flink, *Blink;
} LIST_ENTRY, *PLIST_ENTRY;

typedef struct KEVENT { /* resets itself when one has been let through; or a thread */
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	int set, is_thread;
	pthread_t thread;
	void (*run)(PVOID);
} KEVENT, *PKTHREAD;

typedef struct IRP *PIRP;
typedef struct DEVICE_OBJECT {
	int exists;
} *PDEVICE_OBJECT;
typedef VOID DRIVER_CANCEL(PDEVICE_OBJECT device, PIRP irp);
typedef NTSTATUS DRIVER_DISPATCH(PDEVICE_OBJECT device, PIRP irp);

typedef struct FILE_OBJECT {
	void *FsContext;
} *PFILE_OBJECT;

typedef struct IO_STACK_LOCATION {
	struct {
		struct {
			ULONG IoControlCode, InputBufferLength, OutputBufferLength;
		} DeviceIoControl;
	} Parameters;
	PFILE_OBJECT FileObject;
} IO_STACK_LOCATION, *PIO_STACK_LOCATION;

struct IRP {
	struct {
		NTSTATUS Status;
		ULONG_PTR Information;
	} IoStatus;
	struct {
		void *SystemBuffer;
	} AssociatedIrp;
	struct {
		struct {
			void *DriverContext[4];
		} Overlay;
	} Tail;
	IO_STACK_LOCATION place;
	_Atomic(BOOLEAN) Cancel;
	_Atomic(DRIVER_CANCEL *) routine;
	KIRQL CancelIrql;
	int pending;
	struct request *request; /* whose it is */
};

typedef struct DRIVER_OBJECT {
	DRIVER_DISPATCH *MajorFunction[IRP_MJ_COUNT];
	VOID (*DriverUnload)(struct DRIVER_OBJECT *driver);
	PDEVICE_OBJECT DeviceObject;
} *PDRIVER_OBJECT;

static inline VOID InitializeListHead(PLIST_ENTRY head)
{
	head->Flink = head->Blink = head;
}

static inline BOOLEAN IsListEmpty(const LIST_ENTRY *head)
{
	return head->Flink == head;
}

static inline VOID InsertTailList(PLIST_ENTRY head, PLIST_ENTRY entry)
{
	entry->Flink = head;
	entry->Blink = head->Blink;
	head->Blink->Flink = entry;
	head->Blink = entry;
}

static inline VOID RemoveEntryList(PLIST_ENTRY entry)
{
	entry->Blink->Flink = entry->Flink;
	entry->Flink->Blink = entry->Blink;
}

static inline PIO_STACK_LOCATION IoGetCurrentIrpStackLocation(PIRP irp)
{
	return &irp->place;
}

static inline DRIVER_CANCEL *IoSetCancelRoutine(PIRP irp, DRIVER_CANCEL *routine)
{
	return atomic_exchange(&irp->routine, routine);
}

static inline VOID IoMarkIrpPending(PIRP irp)
{
	irp->pending = 1;
}

static inline VOID KeInitializeSpinLock(KSPIN_LOCK *lock)
{
	pthread_mutex_init(lock, NULL);
}

static inline VOID KeAcquireSpinLock(KSPIN_LOCK *lock, KIRQL *before)
{
	*before = 0;
	pthread_mutex_lock(lock);
}

static inline VOID KeReleaseSpinLock(KSPIN_LOCK *lock, KIRQL before)
{
	(void)before;
	pthread_mutex_unlock(lock);
}

#define KeEnterCriticalRegion() ((void)0)
#define KeLeaveCriticalRegion() ((void)0)
#define ObDereferenceObject(one) ((void)(one))

VOID KeInitializeEvent(KEVENT *event, int kind, BOOLEAN set);
LONG KeSetEvent(KEVENT *event, int boost, BOOLEAN wait);
NTSTATUS KeWaitForSingleObject(KEVENT *event, int why, int mode, BOOLEAN alert, LARGE_INTEGER *until);
NTSTATUS PsCreateSystemThread(HANDLE *handle, ULONG access, void *attributes, HANDLE process, void *id,
			      void (*run)(PVOID), PVOID context);
NTSTATUS PsTerminateSystemThread(NTSTATUS status);
NTSTATUS ObReferenceObjectByHandle(HANDLE handle, ULONG access, void *type, int mode, PVOID *object,
				   void *more);
NTSTATUS ZwClose(HANDLE handle);
VOID IoCompleteRequest(PIRP irp, int boost);
VOID IoReleaseCancelSpinLock(KIRQL before);
NTSTATUS IoCreateDevice(PDRIVER_OBJECT driver, ULONG more, PUNICODE_STRING name, ULONG type, ULONG flags,
			BOOLEAN exclusive, PDEVICE_OBJECT *device);
VOID IoDeleteDevice(PDEVICE_OBJECT device);
NTSTATUS IoCreateSymbolicLink(PUNICODE_STRING link, PUNICODE_STRING name);
NTSTATUS IoDeleteSymbolicLink(PUNICODE_STRING link);

#endif
