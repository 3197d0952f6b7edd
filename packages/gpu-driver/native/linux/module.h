/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Between the files of the Linux module. */
#ifndef SASHIZU_MODULE_H
#define SASHIZU_MODULE_H

#include <linux/fs.h>
#include <linux/mutex.h>

#include "../core/core.h"

struct szd_pages { /* the memory of a buffer */
	size_t count;
	struct page *page[];
};

extern struct szd_driver szd_driver;
extern struct mutex szd_lock; /* around every szd_ call; taken inside of mmap_lock */

struct szd_pages *szd_pages_get(u64 bytes); /* zeroed, not movable; may sleep long */
int szd_mmap(struct file *file, struct vm_area_struct *vma);

#endif
