// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* The device: handles, and frames in and out. */
#include "layer.h"

#define SZD_MIB (1024U * 1024U)

struct szd_driver szd_driver;
static KEVENT szd_free; /* set: nobody is in the core */

const NTSTATUS szd_statuses[SASHIZU_E_COUNT] = {
#define SZD_NTSTATUS(name, number, error, ntstatus, win32) [number] = (NTSTATUS)ntstatus,
	SASHIZU_STATUSES(SZD_NTSTATUS)
#undef SZD_NTSTATUS
};

static const ULONG szd_codes[SASHIZU_FN_COUNT] = {
#define SZD_CODE(name, number, access, layout) [number] = SASHIZU_WINDOWS_CODE(number, access),
	SASHIZU_FUNCTIONS(SZD_CODE)
#undef SZD_CODE
};

void szd_enter(void)
{
	KeEnterCriticalRegion();
	KeWaitForSingleObject(&szd_free, Executive, KernelMode, FALSE, NULL);
}

void szd_leave(void)
{
	KeSetEvent(&szd_free, IO_NO_INCREMENT, FALSE);
	KeLeaveCriticalRegion();
}

NTSTATUS szd_complete(PIRP irp, NTSTATUS status, ULONG_PTR bytes)
{
	irp->IoStatus.Status = status;
	irp->IoStatus.Information = bytes;
	IoCompleteRequest(irp, IO_NO_INCREMENT);
	return status;
}

static NTSTATUS NTAPI szd_on_create(PDEVICE_OBJECT device, PIRP irp)
{
	PFILE_OBJECT file = IoGetCurrentIrpStackLocation(irp)->FileObject;

	UNREFERENCED_PARAMETER(device);
	szd_enter();
	file->FsContext = szd_open(&szd_driver);
	szd_leave();
	return szd_complete(irp, file->FsContext ? STATUS_SUCCESS : STATUS_NO_MEMORY, 0);
}

/* Of CLEANUP, when the last handle is closed, and of CLOSE, where the first never came. */
static NTSTATUS NTAPI szd_on_close(PDEVICE_OBJECT device, PIRP irp)
{
	PFILE_OBJECT file = IoGetCurrentIrpStackLocation(irp)->FileObject;

	UNREFERENCED_PARAMETER(device);
	szd_enter();
	if (file->FsContext) {
		szd_waits_forget(file->FsContext);
		szd_close(&szd_driver, file->FsContext);
		file->FsContext = NULL;
		szd_waits_settle();
	}
	szd_leave();
	return szd_complete(irp, STATUS_SUCCESS, 0);
}

static int szd_alloc(struct szd_client *client, struct sashizu_pool_alloc *frame)
{
	struct szd_section *section;
	struct szd_buffer *buffer;
	int status = szd_pool_charge(&szd_driver, client, frame, &buffer);

	if (status != SASHIZU_E_OK)
		return status;
	section = szd_section_make(frame->bytes);
	if (!section) {
		szd_pool_drop(&szd_driver, buffer);
		return SASHIZU_E_MEMORY;
	}
	szd_pool_ready(buffer, section);
	return SASHIZU_E_OK;
}

static NTSTATUS szd_serve(PIRP irp, struct szd_client *client, ULONG function, void *frame)
{
	size_t bytes = szd_frame_bytes(function);
	int status;

	if (function == SASHIZU_FN_SLOT_WAIT)
		return szd_wait(client, irp, frame);
	status = function == SASHIZU_FN_POOL_ALLOC ? szd_alloc(client, frame) :
						     szd_call(&szd_driver, client, function, frame);
	szd_waits_settle();
	return szd_complete(irp, szd_statuses[status], status == SASHIZU_E_OK ? bytes : 0);
}

static NTSTATUS NTAPI szd_on_control(PDEVICE_OBJECT device, PIRP irp)
{
	PIO_STACK_LOCATION place = IoGetCurrentIrpStackLocation(irp);
	ULONG code = place->Parameters.DeviceIoControl.IoControlCode, function;
	ULONG in = place->Parameters.DeviceIoControl.InputBufferLength;
	ULONG out = place->Parameters.DeviceIoControl.OutputBufferLength;
	void *frame = irp->AssociatedIrp.SystemBuffer;
	NTSTATUS result;
	int status = SASHIZU_E_UNKNOWN;

	UNREFERENCED_PARAMETER(device);
	for (function = 0; function < SASHIZU_FN_COUNT; function++)
		if (szd_codes[function] == code)
			break;
	if (function < SASHIZU_FN_COUNT)
		status = frame && in == out ? szd_check(function, frame, in) : SASHIZU_E_SIZE;
	if (status != SASHIZU_E_OK)
		return szd_complete(irp, szd_statuses[status], 0);
	szd_enter();
	if (place->FileObject->FsContext)
		result = szd_serve(irp, place->FileObject->FsContext, function, frame);
	else /* the handle is being closed */
		result = szd_complete(irp, szd_statuses[SASHIZU_E_CANCELLED], 0);
	szd_leave();
	return result;
}

#ifndef SZD_WINE
/* System and administrators; nobody else, whatever the default of the machine is. */
static NTSTATUS szd_protect(PDEVICE_OBJECT device)
{
	SECURITY_DESCRIPTOR descriptor;
	UCHAR room[256];
	PACL list = (PACL)room;
	HANDLE handle;
	NTSTATUS status;

	RtlCreateSecurityDescriptor(&descriptor, SECURITY_DESCRIPTOR_REVISION);
	status = RtlCreateAcl(list, sizeof(room), ACL_REVISION);
	if (NT_SUCCESS(status))
		status = RtlAddAccessAllowedAce(list, ACL_REVISION, GENERIC_ALL,
						SeExports->SeLocalSystemSid);
	if (NT_SUCCESS(status))
		status = RtlAddAccessAllowedAce(list, ACL_REVISION, GENERIC_ALL,
						SeExports->SeAliasAdminsSid);
	if (NT_SUCCESS(status))
		status = RtlSetDaclSecurityDescriptor(&descriptor, TRUE, list, FALSE);
	if (NT_SUCCESS(status))
		status = ObOpenObjectByPointer(device, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC, NULL,
					       KernelMode, &handle);
	if (!NT_SUCCESS(status))
		return status;
	status = ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, &descriptor);
	ZwClose(handle);
	return status;
}
#else
static NTSTATUS szd_protect(PDEVICE_OBJECT device)
{
	UNREFERENCED_PARAMETER(device);
	return STATUS_SUCCESS;
}
#endif

static VOID NTAPI szd_unload(PDRIVER_OBJECT driver)
{
	UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\DosDevices\\Sashizu");

	IoDeleteSymbolicLink(&link);
	szd_waits_end();
	IoDeleteDevice(driver->DeviceObject);
}

static void szd_configure(void)
{
	szd_driver.pool_bytes = 256ULL * SZD_MIB;
	szd_driver.client_bytes = 128ULL * SZD_MIB;
	szd_driver.granule = 65536;
	szd_driver.slots = 1;
	szd_driver.system = SASHIZU_SYSTEM_WINDOWS;
	szd_driver.features = SASHIZU_FEATURE_GPU | SASHIZU_FEATURE_PROCESSES |
			      SASHIZU_FEATURE_POOL | SASHIZU_FEATURE_SLOTS |
			      SASHIZU_FEATURE_HINTS | SASHIZU_FEATURE_RUNTIMES;
	KeInitializeEvent(&szd_free, SynchronizationEvent, TRUE);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING registry)
{
	UNICODE_STRING name = RTL_CONSTANT_STRING(L"\\Device\\Sashizu");
	UNICODE_STRING link = RTL_CONSTANT_STRING(L"\\DosDevices\\Sashizu");
	PDEVICE_OBJECT device;
	NTSTATUS status;

	UNREFERENCED_PARAMETER(registry);
	szd_configure();
	driver->MajorFunction[IRP_MJ_CREATE] = szd_on_create;
	driver->MajorFunction[IRP_MJ_CLEANUP] = szd_on_close;
	driver->MajorFunction[IRP_MJ_CLOSE] = szd_on_close;
	driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = szd_on_control;
	driver->DriverUnload = szd_unload;
	status = IoCreateDevice(driver, 0, &name, SASHIZU_WINDOWS_TYPE, FILE_DEVICE_SECURE_OPEN,
				FALSE, &device);
	if (!NT_SUCCESS(status))
		return status;
	status = szd_protect(device);
	if (NT_SUCCESS(status))
		status = szd_waits_begin();
	if (NT_SUCCESS(status)) {
		status = IoCreateSymbolicLink(&link, &name);
		if (NT_SUCCESS(status))
			return STATUS_SUCCESS;
		szd_waits_end();
	}
	IoDeleteDevice(device);
	return status;
}
