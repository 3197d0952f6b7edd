/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR Apache-2.0 */
/*
 * The interface of the sashizu driver, the same on Linux and on Windows. The only definition: what
 * Python, the Linux module and the Windows driver use is made or compiled from this file.
 *
 * Rules, which generate.py relies on:
 *  - little-endian, fixed widths, natural alignment without holes; no pointer, enum or bit field;
 *  - each struct begins with `size` and `abi`, which the caller fills in; what is marked [out] the
 *    driver fills in, everything else it leaves as it came; `reserved` is zero both ways;
 *  - an unknown flag, and anything but zero in `reserved`, is refused, so that both can get a
 *    meaning later; the upper half of `abi` must be equal, the lower half may differ;
 *  - text is UTF-8, ended and filled up with zero bytes.
 */
#ifndef SASHIZU_DRIVER_H
#define SASHIZU_DRIVER_H

#if defined(__KERNEL__)
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>
#else
#include <stddef.h>
#include <stdint.h>
#endif

#define SASHIZU_ABI 0x00010000U
#define SASHIZU_LINUX_TYPE 0xBBU
#define SASHIZU_WINDOWS_TYPE 0x8337U
#define SASHIZU_WINDOWS_BASE 0x800U
#define SASHIZU_LINUX_DEVICE "/dev/sashizu"
#define SASHIZU_WINDOWS_DEVICE "\\\\.\\Sashizu"

#define SASHIZU_READ 1U
#define SASHIZU_WRITE 2U
#define SASHIZU_BOTH 3U

/* name, number, access that the handle must have, struct (goes in and comes back) */
#define SASHIZU_FUNCTIONS(X) \
	X(VERSION, 0, READ, version) \
	X(GPU_SUBMIT, 1, WRITE, gpu) \
	X(GPU_READ, 2, READ, gpu) \
	X(PROCESS_SUBMIT, 3, WRITE, process_submit) \
	X(PROCESS_LIST, 4, READ, process_list) \
	X(POOL_ALLOC, 5, BOTH, pool_alloc) \
	X(POOL_FREE, 6, BOTH, pool_free) \
	X(POOL_MAP, 7, BOTH, pool_map) \
	X(POOL_STATUS, 8, READ, pool_status) \
	X(SCHED_STATUS, 9, READ, sched_status) \
	X(SLOT_WAIT, 10, BOTH, slot) \
	X(SLOT_DONE, 11, BOTH, slot) \
	X(HINT_SET, 12, BOTH, hint) \
	X(HINT_UNDO, 13, BOTH, hint) \
	X(RUNTIME_REGISTER, 14, BOTH, runtime) \
	X(GPU_PATH, 15, READ, gpu_path)

/* name, number inside the driver, errno on Linux, NTSTATUS, the Win32 error made from that */
#define SASHIZU_STATUSES(X) \
	X(OK, 0, 0, 0x00000000, 0) \
	X(UNKNOWN, 1, 25, 0xC0000010, 1) \
	X(SIZE, 2, 90, 0xC0000023, 122) \
	X(ABI, 3, 71, 0xC0000059, 1306) \
	X(INVALID, 4, 22, 0xC000000D, 87) \
	X(DENIED, 5, 1, 0xC0000022, 5) \
	X(MISSING, 6, 2, 0xC0000225, 1168) \
	X(QUOTA, 7, 122, 0xC0000044, 1816) \
	X(FULL, 8, 28, 0xC000009A, 1450) \
	X(MEMORY, 9, 12, 0xC0000017, 8) \
	X(NOT_READY, 10, 61, 0xC00000A3, 21) \
	X(BUSY, 11, 16, 0xC0000043, 32) \
	X(TIMEOUT, 12, 110, 0xC00000B5, 121) \
	X(CANCELLED, 13, 125, 0xC0000120, 995)

/* what a driver can do, in version.features; a function whose bit is missing answers UNKNOWN */
#define SASHIZU_FEATURE_GPU 0x01U
#define SASHIZU_FEATURE_PROCESSES 0x02U
#define SASHIZU_FEATURE_POOL 0x04U
#define SASHIZU_FEATURE_PINNED 0x08U
#define SASHIZU_FEATURE_SLOTS 0x10U
#define SASHIZU_FEATURE_HINTS 0x20U
#define SASHIZU_FEATURE_RUNTIMES 0x40U

#define SASHIZU_SYSTEM_LINUX 1U
#define SASHIZU_SYSTEM_WINDOWS 2U
#define SASHIZU_SYSTEM_TEST 3U

/* which values of a gpu are known; the others are zero and mean nothing */
#define SASHIZU_KNOWN_MEMORY_TOTAL 0x01U
#define SASHIZU_KNOWN_MEMORY_USED 0x02U
#define SASHIZU_KNOWN_UTILIZATION 0x04U
#define SASHIZU_KNOWN_TEMPERATURE 0x08U
#define SASHIZU_KNOWN_POWER 0x10U
#define SASHIZU_KNOWN_ALL 0x1FU

/* ways to compute: of a device, which it can serve; of a runtime, which it can use */
#define SASHIZU_PATH_CPU 0x01U
#define SASHIZU_PATH_DIRECTML 0x02U
#define SASHIZU_PATH_NPU 0x04U
#define SASHIZU_PATH_CUDA 0x08U
#define SASHIZU_PATH_ROCM 0x10U
#define SASHIZU_PATH_LEVEL_ZERO 0x20U
#define SASHIZU_PATH_ALL 0x3FU

#define SASHIZU_KIND_GPU 1U
#define SASHIZU_KIND_NPU 2U

/* whose memory it is that a device computes in */
#define SASHIZU_MEMORY_UNKNOWN 0U
#define SASHIZU_MEMORY_DEDICATED 1U
#define SASHIZU_MEMORY_UNIFIED 2U
#define SASHIZU_MEMORY_SHARED 3U

/* why gpu_path answered what it did */
#define SASHIZU_REASON_MOST_FREE 1U
#define SASHIZU_REASON_NO_DEVICE 2U
#define SASHIZU_REASON_STALE 3U
#define SASHIZU_REASON_NO_COMMON_PATH 4U
#define SASHIZU_REASON_MEMORY_UNKNOWN 5U
#define SASHIZU_REASON_NO_ROOM 6U

/* by which rule a process is listed; a name never is one */
#define SASHIZU_RULE_RUNTIME 0x01U
#define SASHIZU_RULE_GPU 0x02U
#define SASHIZU_RULE_POOL 0x04U

/* process_submit.flags: forget what was submitted for the device before */
#define SASHIZU_SUBMIT_BEGIN 0x01U

/* hint.nice lies between -MAX_RAISE and MAX_LOWER */
#define SASHIZU_MAX_RAISE 5U
#define SASHIZU_MAX_LOWER 19U

#define SASHIZU_ID_BYTES 64U
#define SASHIZU_NAME_BYTES 32U
#define SASHIZU_MAX_GPUS 16U
#define SASHIZU_MAX_GPU_PROCESSES 256U
#define SASHIZU_MAX_BUFFERS 1024U
#define SASHIZU_MAX_HINTS 64U
#define SASHIZU_MAX_TICKETS 64U
#define SASHIZU_MAX_PRIORITY 9U
#define SASHIZU_MAX_WAIT_MS 60000U
#define SASHIZU_STALE_NS 5000000000U
#define SASHIZU_BATCH 16U

struct sashizu_version {
	uint32_t size;
	uint32_t abi;
	uint32_t driver_abi; /* [out] */
	uint32_t system; /* [out] */
	uint64_t features; /* [out] */
	uint64_t pool_bytes; /* [out] */
	uint64_t client_bytes; /* [out] what one client may take of the pool */
	uint32_t granule; /* [out] bytes; sizes in the pool are multiples of it */
	uint32_t slots; /* [out] how many jobs may run at once */
};

/* GPU_SUBMIT: the collector's sample of one device. GPU_READ: the newest one of device `index`. */
struct sashizu_gpu {
	uint32_t size;
	uint32_t abi;
	uint32_t index;
	uint32_t count; /* [out] devices that the collector has submitted: 0..count-1 */
	uint32_t known;
	uint32_t paths;
	uint64_t memory_total; /* bytes */
	uint64_t memory_used; /* bytes */
	uint32_t utilization; /* thousandths of the last sampling period */
	int32_t temperature; /* thousandths of a degree Celsius */
	uint32_t power; /* milliwatts */
	uint32_t collector; /* [out] process id of who submitted it, 0 if not visible to the caller */
	uint64_t age_ns; /* how old the values are; at submission, what the collector knows of it */
	uint8_t id[64]; /* stable: UUID, PCI address or LUID */
	uint8_t name[64];
	uint8_t vendor[32]; /* empty: unknown */
	uint32_t kind;
	uint32_t memory;
	uint8_t reserved[24];
};

struct sashizu_gpu_process {
	uint32_t pid;
	uint32_t reserved;
	uint64_t bytes;
};

/* the processes that hold a context on device `index`, sixteen a call */
struct sashizu_process_submit {
	uint32_t size;
	uint32_t abi;
	uint32_t index;
	uint32_t flags;
	uint32_t count;
	uint32_t accepted; /* [out] processes that exist */
	uint64_t reserved;
	struct sashizu_gpu_process entries[16];
};

struct sashizu_process {
	uint64_t serial; /* of the entry; never used twice */
	uint32_t pid; /* as the caller sees it */
	uint32_t rules;
	uint32_t gpus; /* bit n: it was submitted for device n */
	uint32_t reserved;
	uint64_t gpu_bytes; /* on all of them together */
	uint64_t pool_bytes;
	uint8_t name[32]; /* for people: no rule looks at it */
};

/* the listed processes after `cursor` in the order of their serials; begin with 0 */
struct sashizu_process_list {
	uint32_t size;
	uint32_t abi;
	uint64_t cursor; /* [out] too: where to go on */
	uint32_t count; /* [out] */
	uint32_t more; /* [out] 1 if there are further ones */
	uint64_t age_ns; /* [out] of the oldest submission that gpu_bytes are from */
	struct sashizu_process entries[16]; /* [out] */
};

struct sashizu_pool_alloc {
	uint32_t size;
	uint32_t abi;
	uint64_t bytes; /* a multiple of version.granule */
	uint32_t flags; /* none yet */
	uint32_t handle; /* [out] */
};

/* gives the handle back; the memory stays as long as it is mapped, and counts until then */
struct sashizu_pool_free {
	uint32_t size;
	uint32_t abi;
	uint32_t handle;
	uint32_t reserved;
};

/*
 * Where to map a buffer: on Linux at `offset` of the device, and at 0 the newest one of the handle,
 * so that a handle with one buffer can be passed on like a file; on Windows the section `name`.
 */
struct sashizu_pool_map {
	uint32_t size;
	uint32_t abi;
	uint32_t handle;
	uint32_t pinned; /* [out] 1 if the pages cannot leave memory */
	uint64_t bytes; /* [out] */
	uint64_t offset; /* [out] */
	uint8_t name[64]; /* [out] */
};

struct sashizu_pool_status {
	uint32_t size;
	uint32_t abi;
	uint64_t total; /* [out] bytes */
	uint64_t used; /* [out] bytes, those still mapped after a free included */
	uint64_t mine; /* [out] bytes of this handle */
	uint64_t mine_limit; /* [out] bytes */
	uint32_t buffers; /* [out] */
	uint32_t clients; /* [out] open handles */
};

struct sashizu_sched_status {
	uint32_t size;
	uint32_t abi;
	uint32_t slots; /* [out] */
	uint32_t running; /* [out] */
	uint32_t waiting; /* [out] */
	uint32_t hints; /* [out] in force */
	uint64_t granted; /* [out] since the driver was loaded, as all below */
	uint64_t cancelled; /* [out] waits given up */
	uint64_t waited_ns; /* [out] sum over the granted */
	uint64_t longest_ns; /* [out] longest wait of a granted one */
};

/* SLOT_WAIT: wait for one of the slots, high priority first, then in order. SLOT_DONE: give it back. */
struct sashizu_slot {
	uint32_t size;
	uint32_t abi;
	uint32_t priority; /* 0..9, 9 first */
	uint32_t timeout_ms; /* 0: answer at once */
	uint64_t ticket; /* [out] of SLOT_WAIT; in for SLOT_DONE */
	uint64_t waited_ns; /* [out] */
};

/* ask for more or less processor time; put back by HINT_UNDO or when the handle closes */
struct sashizu_hint {
	uint32_t size;
	uint32_t abi;
	uint32_t pid; /* 0: the caller */
	int32_t nice; /* as POSIX has it, low is much; 0 for HINT_UNDO */
	int32_t before; /* [out] the system's own number: nice on Linux, priority class on Windows */
	int32_t after; /* [out] */
};

/* the runtime of the calling process, such as the Windows AI runtime; until the handle closes */
struct sashizu_runtime {
	uint32_t size;
	uint32_t abi;
	uint32_t paths; /* that it can use */
	uint32_t pid; /* [out] the caller, as the driver saw it */
	uint8_t name[32];
	uint8_t reserved[16];
};

/* the best way to compute for the registered runtime of this handle, from what was submitted */
struct sashizu_gpu_path {
	uint32_t size;
	uint32_t abi;
	uint64_t bytes; /* memory that the work needs; 0: unknown */
	uint32_t path; /* [out] SASHIZU_PATH_CPU unless a device is known to do better */
	uint32_t reason; /* [out] */
	uint32_t index; /* [out] device, 0xFFFFFFFF for none */
	uint32_t reserved;
	uint64_t free_bytes; /* [out] of that device when it was sampled */
	uint64_t age_ns; /* [out] of the sample */
};

/* made by generate.py from the text above and compared by every compiler that reads this file */
#define SASHIZU_SIZE(name, bytes) \
	_Static_assert(sizeof(struct sashizu_##name) == (bytes), "size of " #name)
#define SASHIZU_AT(name, field, at) \
	_Static_assert(offsetof(struct sashizu_##name, field) == (at), "place of " #name "." #field)
/* LAYOUT BEGIN */
SASHIZU_SIZE(version, 48);
SASHIZU_AT(version, size, 0);
SASHIZU_AT(version, abi, 4);
SASHIZU_AT(version, driver_abi, 8);
SASHIZU_AT(version, system, 12);
SASHIZU_AT(version, features, 16);
SASHIZU_AT(version, pool_bytes, 24);
SASHIZU_AT(version, client_bytes, 32);
SASHIZU_AT(version, granule, 40);
SASHIZU_AT(version, slots, 44);
SASHIZU_SIZE(gpu, 256);
SASHIZU_AT(gpu, size, 0);
SASHIZU_AT(gpu, abi, 4);
SASHIZU_AT(gpu, index, 8);
SASHIZU_AT(gpu, count, 12);
SASHIZU_AT(gpu, known, 16);
SASHIZU_AT(gpu, paths, 20);
SASHIZU_AT(gpu, memory_total, 24);
SASHIZU_AT(gpu, memory_used, 32);
SASHIZU_AT(gpu, utilization, 40);
SASHIZU_AT(gpu, temperature, 44);
SASHIZU_AT(gpu, power, 48);
SASHIZU_AT(gpu, collector, 52);
SASHIZU_AT(gpu, age_ns, 56);
SASHIZU_AT(gpu, id, 64);
SASHIZU_AT(gpu, name, 128);
SASHIZU_AT(gpu, vendor, 192);
SASHIZU_AT(gpu, kind, 224);
SASHIZU_AT(gpu, memory, 228);
SASHIZU_AT(gpu, reserved, 232);
SASHIZU_SIZE(gpu_process, 16);
SASHIZU_AT(gpu_process, pid, 0);
SASHIZU_AT(gpu_process, reserved, 4);
SASHIZU_AT(gpu_process, bytes, 8);
SASHIZU_SIZE(process_submit, 288);
SASHIZU_AT(process_submit, size, 0);
SASHIZU_AT(process_submit, abi, 4);
SASHIZU_AT(process_submit, index, 8);
SASHIZU_AT(process_submit, flags, 12);
SASHIZU_AT(process_submit, count, 16);
SASHIZU_AT(process_submit, accepted, 20);
SASHIZU_AT(process_submit, reserved, 24);
SASHIZU_AT(process_submit, entries, 32);
SASHIZU_SIZE(process, 72);
SASHIZU_AT(process, serial, 0);
SASHIZU_AT(process, pid, 8);
SASHIZU_AT(process, rules, 12);
SASHIZU_AT(process, gpus, 16);
SASHIZU_AT(process, reserved, 20);
SASHIZU_AT(process, gpu_bytes, 24);
SASHIZU_AT(process, pool_bytes, 32);
SASHIZU_AT(process, name, 40);
SASHIZU_SIZE(process_list, 1184);
SASHIZU_AT(process_list, size, 0);
SASHIZU_AT(process_list, abi, 4);
SASHIZU_AT(process_list, cursor, 8);
SASHIZU_AT(process_list, count, 16);
SASHIZU_AT(process_list, more, 20);
SASHIZU_AT(process_list, age_ns, 24);
SASHIZU_AT(process_list, entries, 32);
SASHIZU_SIZE(pool_alloc, 24);
SASHIZU_AT(pool_alloc, size, 0);
SASHIZU_AT(pool_alloc, abi, 4);
SASHIZU_AT(pool_alloc, bytes, 8);
SASHIZU_AT(pool_alloc, flags, 16);
SASHIZU_AT(pool_alloc, handle, 20);
SASHIZU_SIZE(pool_free, 16);
SASHIZU_AT(pool_free, size, 0);
SASHIZU_AT(pool_free, abi, 4);
SASHIZU_AT(pool_free, handle, 8);
SASHIZU_AT(pool_free, reserved, 12);
SASHIZU_SIZE(pool_map, 96);
SASHIZU_AT(pool_map, size, 0);
SASHIZU_AT(pool_map, abi, 4);
SASHIZU_AT(pool_map, handle, 8);
SASHIZU_AT(pool_map, pinned, 12);
SASHIZU_AT(pool_map, bytes, 16);
SASHIZU_AT(pool_map, offset, 24);
SASHIZU_AT(pool_map, name, 32);
SASHIZU_SIZE(pool_status, 48);
SASHIZU_AT(pool_status, size, 0);
SASHIZU_AT(pool_status, abi, 4);
SASHIZU_AT(pool_status, total, 8);
SASHIZU_AT(pool_status, used, 16);
SASHIZU_AT(pool_status, mine, 24);
SASHIZU_AT(pool_status, mine_limit, 32);
SASHIZU_AT(pool_status, buffers, 40);
SASHIZU_AT(pool_status, clients, 44);
SASHIZU_SIZE(sched_status, 56);
SASHIZU_AT(sched_status, size, 0);
SASHIZU_AT(sched_status, abi, 4);
SASHIZU_AT(sched_status, slots, 8);
SASHIZU_AT(sched_status, running, 12);
SASHIZU_AT(sched_status, waiting, 16);
SASHIZU_AT(sched_status, hints, 20);
SASHIZU_AT(sched_status, granted, 24);
SASHIZU_AT(sched_status, cancelled, 32);
SASHIZU_AT(sched_status, waited_ns, 40);
SASHIZU_AT(sched_status, longest_ns, 48);
SASHIZU_SIZE(slot, 32);
SASHIZU_AT(slot, size, 0);
SASHIZU_AT(slot, abi, 4);
SASHIZU_AT(slot, priority, 8);
SASHIZU_AT(slot, timeout_ms, 12);
SASHIZU_AT(slot, ticket, 16);
SASHIZU_AT(slot, waited_ns, 24);
SASHIZU_SIZE(hint, 24);
SASHIZU_AT(hint, size, 0);
SASHIZU_AT(hint, abi, 4);
SASHIZU_AT(hint, pid, 8);
SASHIZU_AT(hint, nice, 12);
SASHIZU_AT(hint, before, 16);
SASHIZU_AT(hint, after, 20);
SASHIZU_SIZE(runtime, 64);
SASHIZU_AT(runtime, size, 0);
SASHIZU_AT(runtime, abi, 4);
SASHIZU_AT(runtime, paths, 8);
SASHIZU_AT(runtime, pid, 12);
SASHIZU_AT(runtime, name, 16);
SASHIZU_AT(runtime, reserved, 48);
SASHIZU_SIZE(gpu_path, 48);
SASHIZU_AT(gpu_path, size, 0);
SASHIZU_AT(gpu_path, abi, 4);
SASHIZU_AT(gpu_path, bytes, 8);
SASHIZU_AT(gpu_path, path, 16);
SASHIZU_AT(gpu_path, reason, 20);
SASHIZU_AT(gpu_path, index, 24);
SASHIZU_AT(gpu_path, reserved, 28);
SASHIZU_AT(gpu_path, free_bytes, 32);
SASHIZU_AT(gpu_path, age_ns, 40);
/* LAYOUT END */

#define SASHIZU_NUMBER(name, number, access, layout) SASHIZU_FN_##name = (number),
enum { SASHIZU_FUNCTIONS(SASHIZU_NUMBER) SASHIZU_FN_COUNT };
#undef SASHIZU_NUMBER
#define SASHIZU_NUMBER(name, number, error, ntstatus, win32) SASHIZU_E_##name = (number),
enum { SASHIZU_STATUSES(SASHIZU_NUMBER) SASHIZU_E_COUNT };
#undef SASHIZU_NUMBER

/* codes: of Linux from _IOC, of Windows from CTL_CODE with METHOD_BUFFERED */
#define SASHIZU_LINUX_CODE(number, layout) \
	(3U << 30 | (unsigned int)sizeof(struct sashizu_##layout) << 16 | SASHIZU_LINUX_TYPE << 8 | (number))
#define SASHIZU_WINDOWS_CODE(number, access) \
	(SASHIZU_WINDOWS_TYPE << 16 | SASHIZU_##access << 14 | (SASHIZU_WINDOWS_BASE + (number)) << 2)

#endif
