// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/* What the core asks of Windows. A process is its EPROCESS, held by a reference. */
#include "layer.h"

#define SZD_SET_AND_QUERY (0x0200 | 0x0400) /* PROCESS_SET_INFORMATION, PROCESS_QUERY_INFORMATION */
#define SZD_PRIORITY_CLASS 18 /* ProcessPriorityClass */

enum { SZD_IDLE = 1, SZD_NORMAL = 2, SZD_BELOW_NORMAL = 5, SZD_ABOVE_NORMAL = 6 };

struct szd_priority { /* PROCESS_PRIORITY_CLASS */
	BOOLEAN foreground;
	UCHAR level;
};

NTKERNELAPI NTSTATUS NTAPI PsGetProcessExitStatus(PEPROCESS process);

void *szd_os_alloc(size_t bytes)
{
	void *memory = ExAllocatePoolWithTag(NonPagedPoolNx, bytes, SZD_TAG);

	if (memory)
		RtlZeroMemory(memory, bytes);
	return memory;
}

void szd_os_free(void *memory)
{
	ExFreePoolWithTag(memory, SZD_TAG);
}

uint64_t szd_os_now(void)
{
	LARGE_INTEGER frequency, ticks = KeQueryPerformanceCounter(&frequency);
	uint64_t whole = (uint64_t)ticks.QuadPart / (uint64_t)frequency.QuadPart;
	uint64_t rest = (uint64_t)ticks.QuadPart % (uint64_t)frequency.QuadPart;

	return whole * 1000000000U + rest * 1000000000U / (uint64_t)frequency.QuadPart;
}

void *szd_os_process_find(uint32_t pid)
{
	HANDLE number = pid ? (HANDLE)(ULONG_PTR)pid : PsGetCurrentProcessId();
	PEPROCESS process;

	if (!NT_SUCCESS(PsLookupProcessByProcessId(number, &process)))
		return NULL;
	if (!szd_os_process_alive(process)) {
		ObDereferenceObject(process);
		return NULL;
	}
	return process;
}

void szd_os_process_drop(void *process)
{
	ObDereferenceObject(process);
}

uint32_t szd_os_process_pid(void *process)
{
	return (uint32_t)(ULONG_PTR)PsGetProcessId(process);
}

#ifndef SZD_WINE
NTKERNELAPI PUCHAR NTAPI PsGetProcessImageFileName(PEPROCESS process); /* at most 15 letters */

int szd_os_process_alive(void *process)
{
	return PsGetProcessExitStatus(process) == STATUS_PENDING;
}

void szd_os_process_name(void *process, uint8_t *name)
{
	const uint8_t *image = PsGetProcessImageFileName(process);
	size_t at;

	for (at = 0; at < 15 && image[at]; at++)
		name[at] = image[at];
}
#else
int szd_os_process_alive(void *process)
{
	PEPROCESS found;

	if (!NT_SUCCESS(PsLookupProcessByProcessId(PsGetProcessId(process), &found)))
		return 0;
	ObDereferenceObject(found);
	return 1;
}

void szd_os_process_name(void *process, uint8_t *name)
{
	UNREFERENCED_PARAMETER(process);
	memcpy(name, "wine", 4);
}
#endif

static NTSTATUS szd_open_process(void *process, ULONG check, HANDLE *handle)
{
	OBJECT_ATTRIBUTES attributes;
	CLIENT_ID id = { PsGetProcessId(process), NULL };

	InitializeObjectAttributes(&attributes, NULL, OBJ_KERNEL_HANDLE | check, NULL, NULL);
	return ZwOpenProcess(handle, SZD_SET_AND_QUERY, &attributes, &id);
}

static UCHAR szd_class(int32_t nice)
{
	if (nice >= 10)
		return SZD_IDLE;
	if (nice > 0)
		return SZD_BELOW_NORMAL;
	return nice < 0 ? SZD_ABOVE_NORMAL : SZD_NORMAL;
}

/* The handle is opened as the caller could open it: with their rights, whoever we are. */
int szd_os_hint(void *process, int32_t nice, int32_t *before, int32_t *after)
{
	struct szd_priority priority = { 0 };
	HANDLE handle;
	NTSTATUS status = szd_open_process(process, OBJ_FORCE_ACCESS_CHECK, &handle);

	if (!NT_SUCCESS(status))
		return SASHIZU_E_DENIED;
	status = ZwQueryInformationProcess(handle, SZD_PRIORITY_CLASS, &priority, sizeof(priority),
					   NULL);
	*before = priority.level;
	*after = priority.level = szd_class(nice);
	if (NT_SUCCESS(status))
		status = ZwSetInformationProcess(handle, SZD_PRIORITY_CLASS, &priority,
						 sizeof(priority));
	ZwClose(handle);
	return NT_SUCCESS(status) ? SASHIZU_E_OK : SASHIZU_E_DENIED;
}

void szd_os_unhint(void *process, int32_t before, int32_t after)
{
	struct szd_priority priority = { 0 };
	HANDLE handle;

	if (!NT_SUCCESS(szd_open_process(process, 0, &handle)))
		return;
	if (NT_SUCCESS(ZwQueryInformationProcess(handle, SZD_PRIORITY_CLASS, &priority,
						 sizeof(priority), NULL)) &&
	    priority.level == after) {
		priority.level = (UCHAR)before;
		ZwSetInformationProcess(handle, SZD_PRIORITY_CLASS, &priority, sizeof(priority));
	}
	ZwClose(handle);
}

static void szd_spell(struct szd_section *section, WCHAR *path, uint64_t number)
{
	static const char client[] = "Global\\SashizuPool-";
	static const WCHAR kernel[] = L"\\BaseNamedObjects\\SashizuPool-";
	size_t length = sizeof(client) - 1, at = RTL_NUMBER_OF(kernel) - 1, digit;

	memcpy(section->name, client, length);
	memcpy(path, kernel, sizeof(kernel));
	for (digit = 0; digit < 16; digit++) {
		uint8_t letter = (uint8_t)"0123456789abcdef"[number >> (60 - 4 * digit) & 15];

		section->name[length + digit] = letter;
		path[at + digit] = letter;
	}
	path[at + digit] = 0;
}

/*
 * Made in the context of the caller: its default rights count, so that no other user can open it.
 * A name that is taken is refused by the system. Pages are zeroed by it, and are its own to reuse.
 */
struct szd_section *szd_section_make(uint64_t bytes)
{
	static uint64_t number;
	struct szd_section *section = szd_os_alloc(sizeof(*section));
	OBJECT_ATTRIBUTES attributes;
	LARGE_INTEGER size;
	UNICODE_STRING name;
	WCHAR path[64];
	NTSTATUS status;

	if (!section)
		return NULL;
	number = (number + 1) ^ szd_os_now() * 2654435761U;
	szd_spell(section, path, number);
	RtlInitUnicodeString(&name, path);
	InitializeObjectAttributes(&attributes, &name, OBJ_CASE_INSENSITIVE | OBJ_KERNEL_HANDLE,
				   NULL, NULL);
	size.QuadPart = (LONGLONG)bytes;
	status = ZwCreateSection(&section->handle, SECTION_ALL_ACCESS, &attributes, &size,
				 PAGE_READWRITE, SEC_COMMIT, NULL);
	if (NT_SUCCESS(status))
		return section;
	szd_os_free(section);
	return NULL;
}

void szd_os_memory_free(void *memory)
{
	struct szd_section *section = memory;

	ZwClose(section->handle); /* views that clients have live on */
	szd_os_free(section);
}

void szd_os_memory_place(struct szd_buffer *buffer, struct sashizu_pool_map *map)
{
	const struct szd_section *section = buffer->memory;

	memcpy(map->name, section->name, sizeof(map->name));
}
