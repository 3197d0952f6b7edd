/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Between the files of the Windows driver. Built with SZD_WINE for tests under Wine. */
#ifndef SASHIZU_LAYER_H
#define SASHIZU_LAYER_H

#include <ntifs.h>

#include "../core/core.h"

#define SZD_TAG 'hsaS'

struct szd_section { /* the memory of a buffer: a section with a name */
	HANDLE handle;
	uint8_t name[64]; /* as a client opens it */
};

extern struct szd_driver szd_driver;
extern const NTSTATUS szd_statuses[SASHIZU_E_COUNT];

/* the lock around every szd_ call; PASSIVE_LEVEL inside */
void szd_enter(void);
void szd_leave(void);

struct szd_section *szd_section_make(uint64_t bytes);

/* waits for turns, all but szd_wait_thread under the lock */
NTSTATUS szd_waits_begin(void);
void szd_waits_end(void); /* without the lock */
NTSTATUS szd_wait(struct szd_client *client, PIRP irp, struct sashizu_slot *frame);
void szd_waits_settle(void); /* after each szd_ call: complete what was granted */
void szd_waits_forget(struct szd_client *client); /* before szd_close */
NTSTATUS szd_complete(PIRP irp, NTSTATUS status, ULONG_PTR bytes);

#endif
